"""A plan: which PE works on which samples, tile and channels, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from gscn_sim.mapping.tiles import Tile, held_outputs, make_tile
from gscn_sim.problem.geometry import Ints, Problem, make_problem
from gscn_sim.units import ceil_div


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
    last is 1 but where outputs are summed. ``passes`` cut each PE's tile again in time when it does
    not fit. ``block_outputs`` and ``block_inputs`` are the channels of one accumulator group.
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
    def of_one_sample(self) -> Plan:
        """The plan without what the cost of a block on a tile does not depend on."""
        problem = make_problem(self.problem.shape, self.problem.phase, 1)
        return replace(self, problem=problem, samples=1, kind="", reason="")

    @property
    def label(self) -> str:
        """Short text for tables: ``n16 2x7 o2`` is 16 samples, 2x7 tiles, 2 output-channel parts.

        ``i4`` adds 4 input-channel parts (wgrad), ``p2`` 2 passes over each PE's tile.
        """
        parts = [f"n{self.samples}", f"{self.rows}x{self.cols}", f"o{self.outputs}"]
        if self.problem.is_reduction:
            parts.append(f"i{self.inputs}")
        if self.passes != (1, 1):
            parts.append(f"p{self.passes[0] * self.passes[1]}")
        return " ".join(parts)

    @property
    def shape_of_work(self) -> tuple[int, ...]:
        """What a PE does: plans that differ in the rest only take the same time."""
        parts = self.samples, self.rows, self.cols, self.outputs, self.inputs, *self.passes
        return *parts, self.block_outputs, self.block_inputs

    @cached_property
    def held_outputs(self) -> int:
        """Accumulator entries that one output channel needs in the largest tile."""
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
        rounds = self._summed_rounds if self.problem.is_reduction else self._map_rounds
        return [rounds(split) for split in range(self.outputs)]

    @cached_property
    def distinct_blocks(self) -> list[Block]:
        """Every block once, those of one range of stationary channels together."""
        if self.problem.is_reduction:
            return [
                Block(o0=o0, o1=o1, c0=c0, c1=c1)
                for group in range(self.problem.groups)
                for (c0, c1), (o0, o1) in product(
                    self.input_ranges(group), self.output_ranges(group)
                )
            ]
        blocks = {b for split in self.blocks_of_split for row in split for b in row if b}
        return sorted(blocks, key=attrgetter("c0", "c1", "o0", "o1"))

    def input_columns(self, group: int) -> list[tuple[int, int]]:
        """Stationary channels of each input split in a convolution group (summed outputs)."""
        per_input = self._channels_of_group[1]
        base, parts = group * per_input, self.inputs
        return [
            (base + part * per_input // parts, base + (part + 1) * per_input // parts)
            for part in range(parts)
        ]

    def input_ranges(self, group: int) -> list[tuple[int, int]]:
        """Stationary channels of the accumulator groups of a convolution group, in order."""
        return [
            (c0, min(c0 + self.block_inputs, last))
            for first, last in self.input_columns(group)
            for c0 in range(first, last, self.block_inputs)
        ]

    def input_range_of_step(self, group: int) -> Ints:
        """[steps, inputs] which of a group's input ranges an input split takes in turn, else -1."""
        counts = [ceil_div(b - a, self.block_inputs) for a, b in self.input_columns(group)]
        steps = np.arange(max(counts))[:, None]
        first = np.cumsum([0, *counts[:-1]])
        found: Ints = np.where(steps < np.array(counts), first + steps, -1)
        return found

    def output_ranges(self, group: int, split: int | None = None) -> list[tuple[int, int]]:
        """Output channels of the accumulator groups of a convolution group, in order.

        Those of one output split, or of all.
        """
        by_split = self._output_ranges[group]
        if split is not None:
            return by_split.get(split, [])
        return [each for ranges in by_split.values() for each in ranges]

    @cached_property
    def _output_ranges(self) -> list[dict[int, list[tuple[int, int]]]]:
        """[convolution group] -> output split -> output channels of its accumulator groups."""
        per_output = self._channels_of_group[0]
        found: list[dict[int, list[tuple[int, int]]]] = [{} for _ in range(self.problem.groups)]
        for split in range(self.outputs):
            first, last = self.outputs_of(split)
            for group in self.groups_of(split):
                low, high = max(first, group * per_output), min(last, (group + 1) * per_output)
                found[group][split] = [
                    (o0, min(o0 + self.block_outputs, high))
                    for o0 in range(low, high, self.block_outputs)
                ]
        return found

    @property
    def _channels_of_group(self) -> tuple[int, int]:
        """Output and stationary channels of a convolution group."""
        problem = self.problem
        groups = problem.groups
        return problem.output_channels // groups, problem.stationary_channels // groups

    def outputs_of(self, split: int) -> tuple[int, int]:
        """Output channels first..last of an output split."""
        channels = self.problem.output_channels
        return split * channels // self.outputs, (split + 1) * channels // self.outputs

    def _map_rounds(self, split: int) -> list[list[Block | None]]:
        """Rounds of an output split: each meets all channels of its groups."""
        first, last = self.outputs_of(split)
        per_output, per_input = self._channels_of_group
        rounds: list[list[Block | None]] = []
        for o0 in range(first, last, self.block_outputs):
            o1 = min(o0 + self.block_outputs, last)
            c0 = o0 // per_output * per_input
            c1 = ((o1 - 1) // per_output + 1) * per_input
            rounds.append([Block(o0=o0, o1=o1, c0=c0, c1=c1)])
        return rounds

    def groups_of(self, split: int) -> range:
        """Convolution groups that an output split has channels of."""
        (first, last), per_output = self.outputs_of(split), self._channels_of_group[0]
        return range(first // per_output, ceil_div(last, per_output))

    def _summed_rounds(self, split: int) -> list[list[Block | None]]:
        """Rounds of an output split, for one range of input channels after another."""
        rounds: list[list[Block | None]] = []
        for group in self.groups_of(split):
            columns = self.input_columns(group)
            steps = max(ceil_div(b - a, self.block_inputs) for a, b in columns)
            for step, (o0, o1) in product(range(steps), self.output_ranges(group, split)):
                row: list[Block | None] = []
                for a, b in columns:
                    c0 = a + step * self.block_inputs
                    block = Block(o0=o0, o1=o1, c0=c0, c1=min(c0 + self.block_inputs, b))
                    row.append(block if c0 < b else None)
                rounds.append(row)
        return rounds
