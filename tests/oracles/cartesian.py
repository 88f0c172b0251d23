"""One accumulator group on one tile under the Cartesian dataflows, in loops over plain lists.

Written from the convolution's definition, phase by phase: input h meets output p at filter row r
when h + pad = p * stride + r * dilation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from oracles.banks import bank_of
from oracles.queues import Empty, Group, Rules, Step, Wait, run_queues

from workloads import LayerShape

Entry = tuple[int, int, int] | None  # (y, x, output channel); None is a placeholder
Region = tuple[int, int, int, int]


@dataclass
class Machine:
    """What the rules depend on."""

    stationary_vector: int
    streamed_vector: int
    banks: int
    depth: int
    bank_hash: str
    index_bits: int
    anticipator_vectors: int = 1
    ports: int = 0
    adder_stages: int = 1
    gather: int = 0
    visits: int = 0
    bubble: int = 0
    fifo: int = 0

    @property
    def rules(self) -> Rules:
        return Rules(
            depth=self.depth,
            ports=self.ports,
            adder_stages=self.adder_stages,
            visits=self.visits,
            bubble=self.bubble,
            gather=self.gather,
        )


@dataclass
class Cost:
    """What the twins answer, and the kernels too."""

    cycles: int = 0
    steps: int = 0
    useful: int = 0
    pairs: int = 0
    real_pairs: int = 0
    wait_cycles: int = 0
    stationary_entries: int = 0
    stationary_reads: int = 0
    streamed_entries: int = 0
    resent: int = 0
    channel_cycles: tuple[int, ...] = ()


def compress(bits: list[int], entries: list[Entry], index_bits: int) -> list[Entry]:
    """Non-zeros in order; a run of 2 ** index_bits zeros before one costs a placeholder."""
    out: list[Entry] = []
    zeros = 0
    for bit, entry in zip(bits, entries, strict=True):
        if not bit:
            zeros += 1
            continue
        out += [None] * (zeros // 2**index_bits)
        out.append(entry)
        zeros = 0
    return out


class Convolution:
    """The three phases, written out separately."""

    def __init__(
        self,
        shape: LayerShape,
        phase: str,
        stationary: np.ndarray,
        gradient: np.ndarray | None,
        weight: np.ndarray,
    ) -> None:
        self.shape, self.phase = shape, phase
        self.stationary, self.gradient, self.weight = stationary, gradient, weight
        divisor = {"forward": shape.stride, "dgrad": (1, 1), "wgrad": shape.dilation}
        self.divisor = divisor[phase]

    def stationary_list(
        self, c: int, cls: tuple[int, int], region: Region, bits: int
    ) -> list[Entry]:
        """Non-zeros of a channel that can meet streamed ones of the same class, row by row."""
        pad = (0, 0) if self.phase == "dgrad" else self.shape.padding
        marks, entries = [], []
        for y in range(region[0], region[1]):
            for x in range(region[2], region[3]):
                own = (y + pad[0]) % self.divisor[0], (x + pad[1]) % self.divisor[1]
                if own == cls:
                    marks.append(int(self.stationary[c, y, x]))
                    entries.append((y, x, -1))
        return compress(marks, entries, bits)

    def streamed_list(
        self, c: int, cls: tuple[int, int], region: Region, outputs: tuple[int, int], bits: int
    ) -> list[Entry]:
        """What channel c meets: filters or gradients, position by position, outputs innermost."""
        s = self.shape
        from_gradient = self.phase == "dgrad"
        group = c // ((s.K if from_gradient else s.C) // s.groups)
        per_output = (s.C if from_gradient else s.K) // s.groups
        factor = s.stride if self.phase == "wgrad" else s.dilation
        marks, entries = [], []
        for y in range(region[0], region[1]):
            for x in range(region[2], region[3]):
                own = y * factor[0] % self.divisor[0], x * factor[1] % self.divisor[1]
                if own != cls:
                    continue
                for o in range(group * per_output, (group + 1) * per_output):
                    if not outputs[0] <= o < outputs[1]:
                        continue
                    if self.phase == "forward":
                        mark = self.weight[o, c % (s.C // s.groups), y, x]
                    elif from_gradient:
                        mark = self.weight[c, o % per_output, y, x]
                    else:
                        mark = self.gradient[o, y, x]
                    marks.append(int(mark))
                    entries.append((y, x, o))
        return compress(marks, entries, bits)

    def meets(self, cls: tuple[int, int], region: Region) -> bool:
        """Whether a class has streamed coordinates at all."""
        factor = self.shape.stride if self.phase == "wgrad" else self.shape.dilation
        return any(
            (y * factor[0] % self.divisor[0], x * factor[1] % self.divisor[1]) == cls
            for y in range(region[0], region[1])
            for x in range(region[2], region[3])
        )

    def land(self, a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int]:
        """Output position of a product."""
        return self.land_axis(0, a[0], b[0]), self.land_axis(1, a[1], b[1])

    def land_axis(self, axis: int, i: int, j: int) -> int:
        """Output coordinate of stationary i and streamed j, whose classes agree."""
        s = self.shape
        value = {
            "forward": i + s.padding[axis] - j * s.dilation[axis],
            "dgrad": i * s.stride[axis] - s.padding[axis] + j * s.dilation[axis],
            "wgrad": i + s.padding[axis] - j * s.stride[axis],
        }[self.phase]
        assert value % self.divisor[axis] == 0
        return value // self.divisor[axis]


def cartesian_group(
    conv: Convolution,
    channels: tuple[int, int],
    outputs: tuple[int, int],
    stationary: Region,
    streamed: Region,
    held: Region,
    machine: Machine,
    anticipated: bool = False,
) -> Cost:
    """Cost of an accumulator group that holds the outputs of ``held``."""
    cost = Cost()
    program: list[object] = []
    seen: set[tuple[int, tuple[int, int]]] = set()
    groups = conv.shape.groups
    per_group = conv.stationary.shape[0] // groups
    width = held[3] - held[2]
    n_positions = (held[1] - held[0]) * width
    classes = [(y, x) for y in range(conv.divisor[0]) for x in range(conv.divisor[1])]

    def add(step: Step, entry: tuple[int, int, int], y: int, x: int) -> None:
        o = entry[2] - outputs[0]
        address = o * n_positions + (y - held[0]) * width + x - held[2]
        bank = bank_of(
            machine.bank_hash, machine.banks, o=o, address=address, channel=entry[2], y=y, x=x
        )
        step.banks.append(bank)
        step.outputs.append(address)

    def inside(y: int, x: int) -> bool:
        return held[0] <= y < held[1] and held[2] <= x < held[3]

    for c in range(*channels):
        program.append(None)
        for cls in classes:
            sta = conv.stationary_list(c, cls, stationary, machine.index_bits)
            stream = conv.streamed_list(c, cls, streamed, outputs, machine.index_bits)
            cost.stationary_entries += len(sta)
            cost.stationary_reads += len(sta)
            list_of = c if conv.phase != "wgrad" else c // per_group
            if (list_of, cls) not in seen:
                seen.add((list_of, cls))
                cost.streamed_entries += len(stream)
            vectors_i = _cut(sta, machine.stationary_vector)
            vectors_f = _cut(stream, machine.streamed_vector)
            if not vectors_f or not vectors_i:
                if conv.meets(cls, streamed):
                    program.append(Empty())
                continue
            program.append(Group())
            for a in vectors_i:
                if machine.fifo and len(stream) > machine.fifo and a is not vectors_i[0]:
                    cost.resent += len(stream)
                program.append(Wait(0))
                for b in vectors_f:
                    if anticipated and not _may_hit(conv, a, b, held):
                        continue
                    step = Step(pairs=len(a) * len(b))
                    for i in a:
                        for j in b:
                            if i is None or j is None:
                                continue
                            step.real_pairs += 1
                            y, x = conv.land(i, j)
                            if inside(y, x):
                                add(step, j, y, x)
                    program.append(step)
                if anticipated:
                    program.append(Wait(-(-len(vectors_f) // machine.anticipator_vectors)))
    outcome = run_queues(program, machine.banks, machine.rules)
    for item in program:
        if isinstance(item, Step):
            cost.useful += len(item.banks)
            cost.pairs += item.pairs
            cost.real_pairs += item.real_pairs
    cost.cycles, cost.steps = outcome.cycles, outcome.steps
    cost.wait_cycles = outcome.wait_cycles
    ends = [*outcome.marks[1:], outcome.cycles]
    cost.channel_cycles = tuple(b - a for a, b in zip(outcome.marks, ends, strict=True))
    return cost


def _cut(entries: list[Entry], size: int) -> list[list[Entry]]:
    return [entries[i : i + size] for i in range(0, len(entries), size)]


def _may_hit(conv: Convolution, a: list[Entry], b: list[Entry], held: Region) -> bool:
    """Whether the ranges of two vectors' coordinates leave a hit possible."""
    real_a = [e for e in a if e is not None]
    real_b = [e for e in b if e is not None]
    if not real_a or not real_b:
        return False
    for axis in range(2):
        corners = [
            conv.land_axis(axis, i, j)
            for i in (min(e[axis] for e in real_a), max(e[axis] for e in real_a))
            for j in (min(e[axis] for e in real_b), max(e[axis] for e in real_b))
        ]
        if max(corners) < held[2 * axis] or min(corners) >= held[2 * axis + 1]:
            return False
    return True
