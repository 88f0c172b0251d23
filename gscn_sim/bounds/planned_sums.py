"""The least that plans of a phase with summed outputs (wgrad) take.

First the cycles of all PEs over their number, quickly. Then, for plans that may be the fastest,
block by block: in each round the PEs of a gang wait for those whose block takes longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np

from gscn_sim.bounds.planned_machine import PlannedMachine
from gscn_sim.dataflows.base import Floats
from gscn_sim.dataflows.cartesian import CARTESIAN, entries_of_tiles
from gscn_sim.dataflows.fewest import fewest_of_sums, window_sums, windows_of
from gscn_sim.dataflows.positional import ENDLESS
from gscn_sim.mapping.counts import Counts, classes, gradient_maps
from gscn_sim.mapping.deal import deal
from gscn_sim.mapping.plan import Plan
from gscn_sim.mapping.tiles import cut, window
from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.problem.operands import Operands
from gscn_sim.units import ceil_div


def least_of_sums(
    counts: Counts,
    times: Ints,
    machine: PlannedMachine,
    dealt: Operands | None,
    plans: Sequence[Plan],
) -> float:
    """Cycles that the fastest of some plans takes at least.

    ``times``: [n] how often the batch has each recorded sample. ``dealt``: the operands by whose
    non-zeros channels are dealt, None if they are in order.
    """
    each = [_PlanOfSums(counts, times, machine, dealt, plan) for plan in plans]
    quick = [plan.with_drain(plan.mean_cycles()) for plan in each]
    least = inf
    for number in np.argsort(quick, kind="stable").tolist():
        if quick[number] >= least:
            break
        nearer = each[number].with_drain(each[number].met_cycles())
        least = min(least, max(quick[number], nearer))
    return least


@dataclass(frozen=True)
class _PlanOfSums:
    """A plan, and what its bound depends on."""

    counts: Counts
    times: Ints
    machine: PlannedMachine
    dealt: Operands | None
    plan: Plan

    def with_drain(self, computed: float) -> float:
        """Computing, what rounds take beside it, and what is drained last; or all that is."""
        plan, machine, problem = self.plan, self.machine, self.plan.problem
        kernel = problem.output_plane[0] * problem.output_plane[1]
        rounds = ceil_div(problem.output_channels // plan.outputs, plan.block_outputs)
        rounds *= ceil_div(ceil_div(problem.stationary_channels, plan.inputs), plan.block_inputs)
        computed += rounds * machine.round_wait
        # A sum is exchanged by all splits but one, then drained.
        splits = self._splits
        each = (splits - 1) / (splits * machine.partial_sums_per_cycle) + machine.drain_cycles(1)
        k = _last_block(problem.output_channels, plan.outputs, plan.block_outputs)
        c = _last_block(problem.stationary_channels, plan.inputs, plan.block_inputs)
        last = k * c * kernel * each
        pairs = problem.output_channels * problem.stationary_channels
        drained = pairs * kernel / (plan.outputs * plan.inputs) * each
        if not machine.drain_overlap:
            computed += max(0.0, drained - last)
        return max(computed + last, drained)

    def mean_cycles(self) -> float:
        """Cycles of all PEs over their number."""
        machine, of = self.machine, self.counts.of
        blocks = len(self._k_parts) * len(self._c_sizes)
        vectors = machine.streamed_vector, machine.stationary_vector
        if self.plan.dataflow == CARTESIAN.name:
            steps = (
                self._in_all(*self._of_tiles) if self._is_exact else of(fewest_of_sums, *vectors)
            )
            groups = len(self._k_parts) * (
                self.plan.problem.stationary_channels - len(self._c_sizes)
            )
            cycles = self._cartesian(steps @ self.times, groups)
        else:
            found = [self._in_all(*lists) @ self.times for lists in self._at_positions]
            cycles = self._positional(blocks, *found)
        return float(cycles) / self.plan.num_pes_used

    def met_cycles(self) -> float:
        """Cycles of the busiest PEs, in each round if they meet; 0 if nothing nearer is known."""
        plan = self.plan
        if plan.dataflow != CARTESIAN.name:
            cycles = self._positional(1, *(self._by_block(*lists) for lists in self._at_positions))
        elif self._is_exact:
            cycles = self._cartesian(self._by_block(*self._of_tiles), self._c_sizes - 1)
        else:
            return 0.0
        # [K blocks, inputs, steps]: the C blocks of an input split, one after another.
        steps = plan.input_range_of_step(0).T
        of_round = np.where(steps < 0, 0, cycles[:, steps]) / self._splits
        meets = self.machine.barrier != "none"
        of_block = of_round.max(1).sum(1)[:, None] if meets else of_round.sum(2)
        return float(
            max(of_block[self._k_parts == part].sum(0).max() for part in range(plan.outputs))
        )

    def _positional(self, blocks: int, steps: Any, pairs: Any, gathered: Any) -> Any:
        """Cycles of positions: steps, bubbles, those without pairs; or the gathering of windows.

        ``pairs``: of lists that both have entries. ``blocks``: that these are of.
        """
        machine, batch = self.machine, self.plan.problem.batch_size
        cycles = steps + machine.group_bubble * np.maximum(pairs - self._tiles * blocks, 0)
        if machine.visits_per_cycle:
            positions = self.plan.problem.streamed_plane[0] * self.plan.problem.streamed_plane[1]
            cycles = cycles + (blocks * positions * batch - pairs) / machine.visits_per_cycle
        if machine.gather_fragments:
            cycles = np.maximum(cycles, gathered / machine.gather_fragments)
        return cycles

    def _cartesian(self, steps: Any, groups: Any) -> Any:
        """Cycles of channels: steps, bubbles or looks past one. ``groups``: all but the first."""
        machine = self.machine
        passed = 1 / machine.visits_per_cycle if machine.visits_per_cycle else 0
        return steps + self._tiles * groups * min(machine.group_bubble, passed)

    @property
    def _splits(self) -> int:
        return self.plan.samples * self.plan.rows * self.plan.cols

    @cached_property
    def _tiles(self) -> int:
        """Tiles of the batch that have positions, and windows that are not all padding."""
        plan = self.plan
        rows, cols = plan.rows * plan.passes[0], plan.cols * plan.passes[1]
        tiles = self.counts.of(parts_with_work, 0, rows) * self.counts.of(parts_with_work, 1, cols)
        return tiles * plan.problem.batch_size

    @cached_property
    def _is_exact(self) -> bool:
        """Whether ``cartesian`` forms all pairs of a tile: none that can never meet."""
        problem = self.plan.problem
        return classes(problem) == 1 and not self.counts.of(is_padded)

    @cached_property
    def _k_parts(self) -> Ints:
        """[K blocks] the output split of each."""
        plan = self.plan
        parts = _parts(plan.problem.output_channels, plan.outputs)
        return np.repeat(np.arange(plan.outputs), [ceil_div(p, plan.block_outputs) for p in parts])

    @cached_property
    def _c_sizes(self) -> Ints:
        """[C blocks] channels of each."""
        return np.array([b - a for a, b in self.plan.input_ranges(0)])

    @property
    def _of_tiles(self) -> tuple[Any, Any]:
        """Counts of the K and the C vectors of tiles."""
        plan, machine = self.plan, self.machine
        grid = plan.rows * plan.passes[0], plan.cols * plan.passes[1]
        k = (gradients_of_tiles, *grid, *self._k(machine.streamed_vector))
        return k, (windows_of_tiles, *grid, *self._c(machine.stationary_vector))

    @property
    def _at_positions(self) -> list[tuple[Any, Any]]:
        """Counts of K and C vectors, lists with entries, and fragments, at positions."""
        machine = self.machine
        k_lists = (gradient_vectors, *self._k(ENDLESS))
        return [
            (
                (gradient_vectors, *self._k(machine.streamed_vector)),
                (window_vectors, *self._c(machine.stationary_vector)),
            ),
            (k_lists, (window_vectors, *self._c(ENDLESS))),
            (k_lists, (window_fragments, *self._c(machine.stationary_vector))),
        ]

    def _k(self, vector: int) -> tuple[Any, ...]:
        return self.plan.outputs, self.plan.block_outputs, vector, self.dealt

    def _c(self, vector: int) -> tuple[Any, ...]:
        return self.plan.inputs, self.plan.block_inputs, vector, self.dealt

    def _in_all(self, k: Any, c: Any) -> Floats:
        """[n] sums of products of two counts, of all blocks, over the places where they meet."""
        found: Floats = np.einsum(
            "np,np->n", self.counts.of(over_blocks, *k), self.counts.of(over_blocks, *c)
        )
        return found

    def _by_block(self, k: Any, c: Any) -> Floats:
        """[K blocks, C blocks] the same of each two blocks, over the batch."""
        return self.counts.of(products_of_blocks, k, c, tuple(self.times.tolist()))


def over_blocks(counts: Counts, vectors: Any, *arguments: Any) -> Floats:
    """[n, places] a count of blocks, summed over these."""
    found: Floats = vectors(counts, *arguments).sum(1)
    return found


def products_of_blocks(counts: Counts, k: Any, c: Any, times: tuple[int, ...]) -> Floats:
    """[K blocks, C blocks] sums of products over places and samples, these so many ``times``."""
    weights = np.array(times, np.float64)[:, None, None]
    left, right = (vectors(counts, *arguments) for vectors, *arguments in (k, c))
    found: Floats = np.tensordot(left * weights, right, axes=((0, 2), (0, 2)))
    return found


def gradient_vectors(
    counts: Counts, parts: int, block: int, vector: int, dealt: Operands | None
) -> Floats:
    """[n, K blocks, positions] vectors of the gradients at a position."""
    return _vectors(
        gradient_maps(counts.operands), _outputs(counts, parts, dealt), parts, block, vector
    )


def window_vectors(
    counts: Counts, parts: int, block: int, vector: int, dealt: Operands | None
) -> Floats:
    """[n, C blocks, positions] vectors of the activations in a window."""
    return _vectors(counts.of(window_sums), _inputs(counts, parts, dealt), parts, block, vector)


def window_fragments(
    counts: Counts, parts: int, block: int, vector: int, dealt: Operands | None
) -> Floats:
    """[n, C blocks, positions] parts of pixels' lists, of at most a vector, in a window."""
    mask = counts.operands.stationary
    fragments = _vectors(mask, _inputs(counts, parts, dealt), parts, block, vector)
    shape = (*fragments.shape[:2], *mask.shape[2:])
    found: Floats = windows_of(counts.problem, fragments.reshape(shape))
    return found.reshape(*shape[:2], -1)


def gradients_of_tiles(
    counts: Counts,
    rows: int,
    cols: int,
    parts: int,
    block: int,
    vector: int,
    dealt: Operands | None,
) -> Floats:
    """[n, K blocks, tiles] vectors of the lists of all gradients of a block and tile."""
    _, grad = counts.of(entries_of_tiles, rows, cols, "exact")
    return _vectors(grad, _outputs(counts, parts, dealt), parts, block, vector)


def windows_of_tiles(
    counts: Counts,
    rows: int,
    cols: int,
    parts: int,
    block: int,
    vector: int,
    dealt: Operands | None,
) -> Floats:
    """[n, C blocks, tiles] vectors of a tile's activations, each channel's a list."""
    act, _ = counts.of(entries_of_tiles, rows, cols, "exact")
    order = _inputs(counts, parts, dealt)
    vectors = -(-act.reshape(*act.shape[:2], -1) // vector)
    return np.add.reduceat(vectors[:, order], _starts(len(order), parts, block), 1, np.float64)


def _vectors(maps: np.ndarray, order: Ints, parts: int, block: int, vector: int) -> Floats:
    """[n, blocks, places] vectors of each block's entries, of channels [n, C, ...] in an order."""
    flat = maps.reshape(*maps.shape[:2], -1)[:, order]
    entries = np.add.reduceat(flat, _starts(len(order), parts, block), axis=1, dtype=np.int32)
    return (-(-entries // vector)).astype(np.float64)


def _outputs(counts: Counts, parts: int, dealt: Operands | None) -> Ints:
    channels = counts.problem.output_channels
    return np.arange(channels) if dealt is None else deal(dealt.streamed_work, parts)


def _inputs(counts: Counts, parts: int, dealt: Operands | None) -> Ints:
    channels = counts.problem.stationary_channels
    return np.arange(channels) if dealt is None else deal(dealt.stationary_work, parts)


def _parts(channels: int, parts: int) -> list[int]:
    """How many channels each part has."""
    return [b - a for a, b in pairwise(i * channels // parts for i in range(parts + 1))]


def _starts(channels: int, parts: int, block: int) -> list[int]:
    """Where blocks begin: no block has channels of two parts."""
    bounds = pairwise(i * channels // parts for i in range(parts + 1))
    return [start for a, b in bounds for start in range(a, b, block)]


def _last_block(channels: int, parts: int, block: int) -> int:
    """Channels of the smallest last block of any of the parts that channels are split into."""
    sizes = {channels // parts, ceil_div(channels, parts)} - {0}
    return min((size - 1) % block + 1 for size in sizes)


def parts_with_work(counts: Counts, axis: int, parts: int) -> int:
    """Parts of the gradient's axis that have positions, and windows that are not all padding."""
    problem = counts.problem
    spans = [cut(problem, "exact", axis, parts, i) for i in range(parts)]
    windows = [window(problem, axis, *span) for span in spans if span[0] < span[1]]
    return sum(low < high for low, high in windows)


def is_padded(counts: Counts) -> bool:
    """Whether the window of some gradient is all padding."""
    problem: Problem = counts.problem
    spans = [
        window(problem, axis, p, p + 1)
        for axis in range(2)
        for p in range(problem.streamed_plane[axis])
    ]
    return any(low >= high for low, high in spans)
