"""A second look: the least that any legal plan takes, plan by plan.

Dearer than :mod:`gscn_sim.bounds.cycles`, which knows no plan, and nearer: lists are cut as plans
cut them, PEs are as busy as the busiest, and the last sums are drained when all is computed. What
is not covered (convolution groups, sparse weights, other dataflows) has no bound here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from gscn_sim.config.view import key
from gscn_sim.dataflows.base import Dataflow, Floats
from gscn_sim.dataflows.cartesian import CARTESIAN
from gscn_sim.dataflows.fewest import fewest_of_sums, stationary_by_class, window_sums
from gscn_sim.dataflows.positional import POSITIONAL
from gscn_sim.mapping.counts import Counts, gradient_maps, integral, region_counts
from gscn_sim.mapping.deal import deal
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.mapping.legal import all_plans
from gscn_sim.mapping.plan import Plan
from gscn_sim.mapping.tiles import cut, reach
from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.units import ceil_div


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedMachine:
    """All of a machine's configuration that these bounds read beside :class:`MappingSpace`.

    Neither clock nor memory is in it: designs that differ in these only share a bound.
    """

    streamed_vector: int = key("pe.streamed_vector")
    stationary_vector: int = key("pe.stationary_vector")
    drain_entries_per_cycle: int = key("drain.entries_per_cycle")
    drain_overlap: bool = key("drain.overlap")
    partial_sums_per_cycle: int = key("network.partial_sums_per_cycle")
    knowledge: str = key("policy.knowledge")

    def drain_cycles(self, sums: float) -> float:
        """Cycles in which a PE post-processes so many sums; 0 if that never limits."""
        return sums / self.drain_entries_per_cycle if self.drain_entries_per_cycle else 0.0


class PlannedBounds:
    """The bound of one layer-phase for many machines; what plans have in common is counted once.

    ``counts`` of the operands as they are.
    """

    def __init__(self, problem: Problem, counts: Counts) -> None:
        self.problem, self.counts = problem, counts
        samples = counts.operands.samples
        self.times = np.bincount(np.arange(problem.batch_size) % samples, minlength=samples)

    def cycles(
        self,
        space: MappingSpace,
        machine: PlannedMachine,
        dataflows: Sequence[Dataflow],
    ) -> float:
        """What the fastest legal plan takes at least; 0 if nothing is known."""
        problem, operands = self.problem, self.counts.operands
        if problem.groups > 1 or space.tile_rule != "exact":
            return 0.0
        if problem.is_reduction:
            known = {POSITIONAL.name, CARTESIAN.name} if machine.knowledge == "oracle" else set()
            is_sorted = space.load_balance != "static"
            of_plan = partial(self._sums, machine=machine, is_sorted=is_sorted)
        else:
            known = {CARTESIAN.name} if operands.dense_weights else set()
            of_plan = partial(self._maps, machine=machine)
        if not {flow.name for flow in dataflows} <= known:
            return 0.0
        different = {
            (plan.dataflow, plan.shape_of_work): plan
            for plan in all_plans(problem, space, tuple(dataflows))
        }
        least = min((of_plan(plan) for plan in different.values()), default=0.0)
        return float(np.ceil(least * (1 - 1e-9)))

    def _maps(self, plan: Plan, *, machine: PlannedMachine) -> float:
        """Steps of the busiest PE, and what it drains last."""
        problem = self.problem
        vectors = self.counts.of(
            vectors_of_pes, plan.samples, plan.rows, plan.cols, plan.passes,
            machine.stationary_vector, problem.batch_size,
        )  # fmt: skip
        own = ceil_div(problem.output_channels, plan.outputs)
        full, rest = divmod(own, plan.block_outputs)
        weights = np.array([weight for _, weight in self.counts.of(stationary_by_class)])
        streamed = full * -(-plan.block_outputs * weights // machine.streamed_vector)
        streamed += -(-rest * weights // machine.streamed_vector)
        busiest = float((vectors @ streamed).max(initial=0))
        sums = (rest or plan.block_outputs) * _last_reached(plan)
        last = machine.drain_cycles(sums)
        # Without overlap its sums of every visit leave in other cycles; these of the last one do.
        every = machine.drain_cycles(own * _last_reached(plan))
        return busiest + (last if machine.drain_overlap else every)

    def _sums(self, plan: Plan, *, machine: PlannedMachine, is_sorted: bool) -> float:
        """Steps of the mean PE and what it drains last, or all that it drains."""
        problem = self.problem
        kernel = problem.output_plane[0] * problem.output_plane[1]
        splits = plan.samples * plan.rows * plan.cols
        steps = self._steps(plan, machine, is_sorted) / (splits * plan.outputs * plan.inputs)
        # A sum is exchanged by all splits but one, then drained.
        each = (splits - 1) / (splits * machine.partial_sums_per_cycle) + machine.drain_cycles(1)
        k = _last_block(problem.output_channels, plan.outputs, plan.block_outputs)
        c = _last_block(problem.stationary_channels, plan.inputs, plan.block_inputs)
        last = k * c * kernel * each
        pairs = problem.output_channels * problem.stationary_channels
        drained = pairs * kernel / (plan.outputs * plan.inputs) * each
        if not machine.drain_overlap:
            steps += max(0.0, drained - last)
        return max(steps + last, drained)

    def _steps(self, plan: Plan, machine: PlannedMachine, is_sorted: bool) -> float:
        """Steps of all PEs."""
        streamed, stationary = machine.streamed_vector, machine.stationary_vector
        if plan.dataflow == CARTESIAN.name:
            return float(self.counts.of(fewest_of_sums, streamed, stationary) @ self.times)
        of_k = plan.outputs, plan.block_outputs, streamed, is_sorted
        of_c = plan.inputs, plan.block_inputs, stationary, is_sorted
        k, c = self.counts.of(gradient_vectors, *of_k), self.counts.of(activation_vectors, *of_c)
        return float(np.einsum("np,np->n", k, c) @ self.times)


def _last_block(channels: int, parts: int, block: int) -> int:
    """Channels of the smallest last block of any of the parts that channels are split into."""
    sizes = {channels // parts, ceil_div(channels, parts)} - {0}
    return min((size - 1) % block + 1 for size in sizes)


def _last_reached(plan: Plan) -> int:
    """Most sums of an output channel that a PE holds in the last pass over its tile."""
    most = 1
    for axis, (parts, passes) in enumerate(
        ((plan.rows, plan.passes[0]), (plan.cols, plan.passes[1]))
    ):
        spans = []
        for part in range(parts):
            low, high = cut(plan.problem, "exact", axis, parts * passes, part * passes + passes - 1)
            first, last = reach(plan.problem, axis, low, high)
            spans.append(last - first)
        most *= max(spans)
    return most


def vectors_of_pes(
    counts: Counts,
    samples: int,
    rows: int,
    cols: int,
    passes: tuple[int, int],
    vector: int,
    batch: int,
) -> Floats:
    """[PEs, classes] stationary vectors of a PE in all its visits, over its channels."""
    found = []
    for sums, _ in counts.of(integrals_by_class):
        y, x = sums.places
        cuts = [
            [(int(below[a]), int(below[b])) for a, b in _cuts(counts.problem, axis, parts)]
            for axis, (below, parts) in enumerate(((y, rows * passes[0]), (x, cols * passes[1])))
        ]
        entries = region_counts(sums.integral, *cuts)
        of_tile = (-(-entries // vector)).sum(1)  # [n, rows, cols]
        n = len(of_tile)
        of_pe = of_tile.reshape(n, rows, passes[0], cols, passes[1]).sum((2, 4)).reshape(n, -1)
        numbers = np.arange(batch)
        runs = np.zeros((samples, n))
        np.add.at(runs, (numbers % samples, numbers % n), 1)
        found.append((runs @ of_pe).reshape(-1))
    if not found:
        return np.zeros((1, 0))
    return np.stack(found, axis=1)


@dataclass(frozen=True, kw_only=True)
class ClassSums:
    """:func:`integral` of one class, and how many of its coordinates lie below each, by axis."""

    integral: np.ndarray
    places: tuple[Ints, Ints]


def integrals_by_class(counts: Counts) -> list[tuple[ClassSums, int]]:
    """For each class its sums, and the weights of an output channel that it meets."""
    found = []
    for (y, x), weights in counts.of(stationary_by_class):
        mask = counts.operands.stationary[:, :, y][..., x]
        below_y, below_x = (np.concatenate([[0], np.cumsum(each)]) for each in (y, x))
        found.append((ClassSums(integral=integral(mask), places=(below_y, below_x)), weights))
    return found


def _cuts(problem: Problem, axis: int, parts: int) -> list[tuple[int, int]]:
    return [cut(problem, "exact", axis, parts, i) for i in range(parts)]


def gradient_vectors(
    counts: Counts, parts: int, block: int, vector: int, is_sorted: bool
) -> Floats:
    """[n, positions] vectors of the gradients at a position, over all blocks of output channels."""
    maps = gradient_maps(counts.operands)
    order = deal(counts.operands.streamed_work, parts) if is_sorted else np.arange(maps.shape[1])
    return _vectors(maps, order, parts, block, vector)


def activation_vectors(
    counts: Counts, parts: int, block: int, vector: int, is_sorted: bool
) -> Floats:
    """[n, positions] vectors of a window, over all blocks of stationary channels."""
    windows, work = counts.of(window_sums), counts.operands.stationary_work
    order = deal(work, parts) if is_sorted else np.arange(len(work))
    return _vectors(windows, order, parts, block, vector)


def _vectors(maps: np.ndarray, order: Ints, parts: int, block: int, vector: int) -> Floats:
    """[n, positions] vectors over the blocks of each part of channels in an order."""
    channels = len(order)
    bounds = [i * channels // parts for i in range(parts + 1)]
    starts = [s for a, b in pairwise(bounds) for s in range(a, b, block)]
    flat = maps.reshape(*maps.shape[:2], -1)[:, order]
    entries = np.add.reduceat(flat, starts, axis=1, dtype=np.int32)
    found: Floats = (-(-entries // vector)).sum(1, dtype=np.float64)
    return found
