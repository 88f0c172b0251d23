"""A plan: which PE works on which samples, tile and channels, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.units import ceil_div


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One tile: regions y0, y1, x0, x1 of the stationary and streamed operands and the output.

    ``reached`` are the outputs that the tile's products can reach; ``owned`` the part of the output
    plane that it writes back. What is reached but not owned is halo.
    """

    stationary: tuple[int, int, int, int]
    streamed: tuple[int, int, int, int]
    reached: tuple[int, int, int, int]
    owned: tuple[int, int, int, int]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to multiply."""
        return area(self.stationary) == 0 or area(self.streamed) == 0

    @property
    def reached_outputs(self) -> int:
        """Output positions held in the accumulators."""
        return area(self.reached)

    @property
    def owned_outputs(self) -> int:
        """Output positions written back."""
        return area(self.owned)


class Block(NamedTuple):
    """An accumulator group: output channels o0..o1 fed by stationary channels c0..c1."""

    o0: int
    o1: int
    c0: int
    c1: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A legal mapping of a layer-phase.

    A PE is (sample split, tile row, tile column, output-channel split, input-channel split); the
    last is 1 but in wgrad. ``passes`` cut each PE's tile again in time when it does not fit.
    ``block_outputs`` and ``block_inputs`` are the channels of one accumulator group.
    """

    problem: Problem
    dataflow: str
    kind: str
    samples: int
    rows: int
    cols: int
    outputs: int
    inputs: int
    passes: tuple[int, int]
    block_outputs: int
    block_inputs: int
    tile_rule: str
    reason: str = ""

    @property
    def num_pes_used(self) -> int:
        """PEs that have work."""
        return self.samples * self.rows * self.cols * self.outputs * self.inputs

    @property
    def label(self) -> str:
        """Short text for tables: ``n16 2x7 o2`` is 16 samples, 2x7 tiles, 2 output-channel parts.

        ``i4`` adds 4 input-channel parts (wgrad), ``p2`` 2 passes over each PE's tile.
        """
        parts = [f"n{self.samples}", f"{self.rows}x{self.cols}", f"o{self.outputs}"]
        if self.problem.is_wgrad:
            parts.append(f"i{self.inputs}")
        if self.passes != (1, 1):
            parts.append(f"p{self.passes[0] * self.passes[1]}")
        return " ".join(parts)

    @cached_property
    def held_outputs(self) -> int:
        """Accumulator entries that one output channel needs in the largest tile."""
        if self.problem.is_wgrad:
            return self.problem.output_plane[0] * self.problem.output_plane[1]
        rows, cols = self.rows * self.passes[0], self.cols * self.passes[1]
        return held_outputs(self.problem, self.tile_rule, rows, cols)

    @cached_property
    def tiles(self) -> list[Tile]:
        """Tiles in the order (row, pass row, column, pass column)."""
        rows, cols = self.rows * self.passes[0], self.cols * self.passes[1]
        return [
            make_tile(self.problem, self.tile_rule, rows, cols, i, j)
            for i in range(rows)
            for j in range(cols)
        ]

    def tile_index(self, row: int, col: int, pass_index: int) -> int:
        """Index into ``tiles`` of a PE's tile in a pass."""
        pass_row, pass_col = divmod(pass_index, self.passes[1])
        i = row * self.passes[0] + pass_row
        return i * self.cols * self.passes[1] + col * self.passes[1] + pass_col

    @cached_property
    def blocks_of_split(self) -> list[list[list[Block | None]]]:
        """[output split][round] -> one block for each input split (None: nothing to do)."""
        return [self._rounds(split) for split in range(self.outputs)]

    @cached_property
    def distinct_blocks(self) -> list[Block]:
        """Every block once, those of one range of stationary channels together."""
        blocks = {b for split in self.blocks_of_split for row in split for b in row if b}
        return sorted(blocks, key=attrgetter("c0", "c1", "o0", "o1"))

    def _rounds(self, split: int) -> list[list[Block | None]]:
        problem = self.problem
        o_first = split * problem.output_channels // self.outputs
        o_last = (split + 1) * problem.output_channels // self.outputs
        per_output = problem.output_channels // problem.groups
        per_input = problem.stationary_channels // problem.groups
        rounds: list[list[Block | None]] = []
        if not problem.is_wgrad:
            for o0 in range(o_first, o_last, self.block_outputs):
                o1 = min(o0 + self.block_outputs, o_last)
                c0 = o0 // per_output * per_input
                c1 = ((o1 - 1) // per_output + 1) * per_input
                rounds.append([Block(o0=o0, o1=o1, c0=c0, c1=c1)])
            return rounds
        for group in range(o_first // per_output, ceil_div(o_last, per_output)):
            low, high = max(o_first, group * per_output), min(o_last, (group + 1) * per_output)
            columns = [
                (part * per_input // self.inputs, (part + 1) * per_input // self.inputs)
                for part in range(self.inputs)
            ]
            steps = max(ceil_div(b - a, self.block_inputs) for a, b in columns)
            for step in range(steps):
                for o0 in range(low, high, self.block_outputs):
                    o1 = min(o0 + self.block_outputs, high)
                    row: list[Block | None] = []
                    for a, b in columns:
                        c0 = a + step * self.block_inputs
                        c1 = min(c0 + self.block_inputs, b)
                        base = group * per_input
                        block = Block(o0=o0, o1=o1, c0=base + c0, c1=base + c1)
                        row.append(block if c0 < c1 else None)
                    rounds.append(row)
        return rounds


def make_tile(problem: Problem, rule: str, rows: int, cols: int, i: int, j: int) -> Tile:
    """Tile (i, j) of a rows x cols grid over the plane that is split.

    That plane is the stationary one, or the gradient's in wgrad. With rule ``exact`` it is cut into
    parts that differ by at most one position; with ``padded`` the padded plane is cut into equal
    parts, rounded up (only where the plane is the input).
    """
    stationary: list[int] = []
    streamed: list[int] = []
    reached: list[int] = []
    owned: list[int] = []
    for axis, (parts, index) in enumerate(((rows, i), (cols, j))):
        low, high = cut(problem, rule, axis, parts, index)
        output = problem.output_plane[axis]
        if problem.is_wgrad:
            streamed += [low, high]
            stationary += window(problem, axis, low, high)
            reached += [0, output]
            owned += [0, output]
        else:
            stationary += [low, high]
            streamed += [0, problem.streamed_plane[axis]]
            reached += reach(problem, axis, low, high)
            owned += [index * output // parts, (index + 1) * output // parts]
    return Tile(
        stationary=_four(stationary),
        streamed=_four(streamed),
        reached=_four(reached),
        owned=_four(owned),
    )


def tile_array(tiles: list[Tile]) -> Ints:
    """[T, 12] stationary, streamed and reached regions, as the kernels read them."""
    rows = [(*t.stationary, *t.streamed, *t.reached) for t in tiles]
    return np.array(rows, np.int64).reshape(-1, 12)


def padded_tile_size(problem: Problem, axis: int, parts: int) -> int:
    """Side of a tile of the padded plane."""
    pad = problem.shape.padding[axis]
    return ceil_div(problem.stationary_plane[axis] + 2 * pad, parts)


def cut(problem: Problem, rule: str, axis: int, parts: int, index: int) -> tuple[int, int]:
    """Part ``index`` of ``parts`` of the plane that is split, along one axis."""
    size = problem.streamed_plane[axis] if problem.is_wgrad else problem.stationary_plane[axis]
    if rule == "padded" and not problem.is_wgrad:
        side, pad = padded_tile_size(problem, axis, parts), problem.shape.padding[axis]
        low = min(max(index * side - pad, 0), size)
        return low, max(low, min((index + 1) * side - pad, size))
    return index * size // parts, (index + 1) * size // parts


def window(problem: Problem, axis: int, low: int, high: int) -> tuple[int, int]:
    """Input positions that gradients low..high can meet (wgrad)."""
    shape = problem.shape
    kernel = (shape.R, shape.S)[axis]
    size = problem.stationary_plane[axis]
    first = low * shape.stride[axis] - shape.padding[axis]
    last = (high - 1) * shape.stride[axis] - shape.padding[axis]
    last += (kernel - 1) * shape.dilation[axis]
    if high <= low:
        return 0, 0
    start = min(max(first, 0), size)
    return start, max(start, min(last + 1, size))


def reach(problem: Problem, axis: int, low: int, high: int) -> tuple[int, int]:
    """Outputs that stationary positions low..high can reach, clipped to the output."""
    if high <= low:
        return 0, 0
    alpha, beta, gamma, div, output = (int(v) for v in problem.axes[axis])
    ends = [gamma * r for r in (0, problem.streamed_plane[axis] - 1)]
    first = -(-(alpha * low + beta + min(ends)) // div)
    last = (alpha * (high - 1) + beta + max(ends)) // div
    start = min(max(first, 0), output)
    return start, max(start, min(last + 1, output))


def held_outputs(problem: Problem, rule: str, rows: int, cols: int) -> int:
    """Accumulator entries that one output channel needs in the largest tile of a grid."""
    tall, wide = (
        _held_side(
            tuple(problem.axes[axis].tolist()),
            problem.stationary_plane[axis],
            problem.streamed_plane[axis],
            rule,
            parts,
        )
        for axis, parts in enumerate((rows, cols))
    )
    return tall * wide


@lru_cache(maxsize=1 << 14)
def _held_side(axis: tuple[int, ...], stationary: int, streamed: int, rule: str, parts: int) -> int:
    """The part of :func:`held_outputs` along one axis."""
    alpha, beta, gamma, div, output = axis
    if rule == "padded":
        return ceil_div(output, parts)
    lows = np.arange(parts) * stationary // parts
    highs = np.arange(1, parts + 1) * stationary // parts
    ends = (0, gamma * (streamed - 1))
    first = -(-(alpha * lows + beta + min(ends)) // div)
    last = (alpha * (highs - 1) + beta + max(ends)) // div
    start = first.clip(0, output)
    spans = np.where(highs > lows, np.maximum(start, (last + 1).clip(max=output)) - start, 0)
    return max(1, int(spans.max()))


def reached_span(problem: Problem, tile: Tile) -> int:
    """Relative output positions, inside the output or not, that products of a tile can land on."""
    span = 1
    for axis in range(2):
        alpha, beta, gamma, div, _ = (int(v) for v in problem.axes[axis])
        y0, y1 = tile.stationary[2 * axis : 2 * axis + 2]
        r0, r1 = tile.streamed[2 * axis : 2 * axis + 2]
        own = (alpha * (y1 - 1) + beta) // div - (alpha * y0 + beta) // div
        other = abs(ceil_div(gamma * (r1 - 1), div) - ceil_div(gamma * r0, div))
        span *= own + other + 1
    return span


def area(region: tuple[int, int, int, int]) -> int:
    """Positions of a region y0, y1, x0, x1."""
    return max(0, region[1] - region[0]) * max(0, region[3] - region[2])


def _four(values: list[int]) -> tuple[int, int, int, int]:
    y0, y1, x0, x1 = values
    return (y0, y1, x0, x1)
