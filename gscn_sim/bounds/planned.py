"""A second look: the least that any legal plan takes, plan by plan.

Dearer than :mod:`gscn_sim.bounds.cycles`, which knows no plan, and nearer: lists are cut as plans
cut them, PEs are as busy as the busiest, and the last sums are drained when all is computed. What
is not covered (convolution groups, sparse weights, other dataflows) has no bound here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gscn_sim.bounds.planned_machine import PlannedMachine
from gscn_sim.bounds.planned_sums import least_of_sums
from gscn_sim.dataflows.base import Dataflow
from gscn_sim.dataflows.cartesian import CARTESIAN
from gscn_sim.dataflows.fewest import (
    stationary_by_class,
)
from gscn_sim.dataflows.positional import POSITIONAL
from gscn_sim.mapping.counts import Counts, integral, region_counts
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.mapping.legal import all_plans
from gscn_sim.mapping.plan import Plan
from gscn_sim.mapping.tiles import cut, reach
from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.problem.operands import Operands
from gscn_sim.units import ceil_div

NEVER = 1e18
"""Cycles of a layer-phase that has no legal plan."""


class PlannedBounds:
    """The bound of one layer-phase for many machines; what plans have in common is counted once.

    ``counts`` of the operands as they are; ``known``: by ``policy.knowledge``, those by which
    channels are dealt.
    """

    def __init__(self, problem: Problem, counts: Counts, known: Callable[[str], Operands]) -> None:
        self.problem, self.counts, self.known = problem, counts, known
        samples = counts.operands.samples
        self.times = np.bincount(np.arange(problem.batch_size) % samples, minlength=samples)

    def cycles(
        self,
        space: MappingSpace,
        machine: PlannedMachine,
        dataflows: Sequence[Dataflow],
    ) -> float:
        """What the fastest legal plan takes at least; ``NEVER`` if none is, 0 if none is known."""
        problem, operands = self.problem, self.counts.operands
        if problem.groups > 1 or space.tile_rule != "exact":
            return 0.0
        if problem.is_reduction:
            known = {POSITIONAL.name, CARTESIAN.name}
            dealt = None if space.load_balance == "static" else self.known(machine.knowledge)
            of_plans = partial(least_of_sums, self.counts, self.times, machine, dealt)
        else:
            known = {CARTESIAN.name} if operands.dense_weights else set()
            of_plans = partial(self._maps, machine)
        if not {flow.name for flow in dataflows} <= known:
            return 0.0
        different = {
            (plan.dataflow, plan.shape_of_work): plan
            for plan in all_plans(problem, space, tuple(dataflows))
        }
        least = of_plans(list(different.values())) if different else NEVER
        return float(np.ceil(least * (1 - 1e-9)))

    def _maps(self, machine: PlannedMachine, plans: Sequence[Plan]) -> float:
        return min(self._map(plan, machine) for plan in plans)

    def _map(self, plan: Plan, machine: PlannedMachine) -> float:
        """Cycles of the busiest PE, in each round if PEs meet, and what it drains last."""
        problem = self.problem
        vectors, lists, groups = self.counts.of(
            vectors_of_visits, plan.samples, plan.rows, plan.cols, plan.passes,
            machine.stationary_vector, problem.batch_size,
        )  # fmt: skip
        own = ceil_div(problem.output_channels, plan.outputs)
        full, rest = divmod(own, plan.block_outputs)
        weights = np.array([weight for _, weight in self.counts.of(stationary_by_class)])
        waits = machine.waits(groups, lists)
        rounds = [
            times * (vectors @ -(-outputs * weights // machine.streamed_vector) + waits)
            for outputs, times in ((plan.block_outputs, full), (rest, min(rest, 1)))
        ]
        if machine.barrier == "none":
            busiest = float((rounds[0] + rounds[1]).sum(1).max(initial=0))
        else:
            busiest = float(sum(each.max(0, initial=0).sum() for each in rounds))
        busiest += machine.round_wait * vectors.shape[1] * (full + min(rest, 1))
        sums = (rest or plan.block_outputs) * _last_reached(plan)
        last = machine.drain_cycles(sums)
        # Without overlap its sums of every visit leave in other cycles; these of the last one do.
        every = machine.drain_cycles(own * _last_reached(plan))
        return busiest + (last if machine.drain_overlap else every)


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


def vectors_of_visits(
    counts: Counts,
    samples: int,
    rows: int,
    cols: int,
    passes: tuple[int, int],
    vector: int,
    batch: int,
) -> tuple[Ints, Ints, Ints]:
    """What PEs meet in each visit: a wave of samples on a pass.

    Returns:
        [PEs, visits, classes] stationary vectors, and [PEs, visits] pairing groups with stationary
        entries and in all.
    """
    numbers = np.arange(ceil_div(batch, samples) * samples)
    runs = (numbers % counts.operands.samples).reshape(-1, samples)
    live = (numbers < batch).reshape(-1, samples)[:, None, :, None]

    def of_pes(of_tile: Ints) -> Ints:
        """[n, tile rows, tile columns] as [PEs, visits], 0 where there is no sample."""
        n = len(of_tile)
        by_pe = of_tile.reshape(n, rows, passes[0], cols, passes[1]).transpose(0, 2, 4, 1, 3)
        by_pe = by_pe.reshape(n, passes[0] * passes[1], -1)[runs]  # [waves, samples, passes, PEs]
        found: Ints = by_pe.transpose(0, 2, 1, 3) * live
        return found.reshape(len(runs) * passes[0] * passes[1], -1).T

    by_class = counts.of(integrals_by_class)
    size = rows * passes[0], cols * passes[1]
    vectors = np.zeros(
        (samples * rows * cols, len(runs) * passes[0] * passes[1], len(by_class)), np.int64
    )
    lists = np.zeros(vectors.shape[:2], np.int64)
    for number, (sums, _) in enumerate(by_class):
        y, x = sums.places
        cuts = [
            [(int(below[a]), int(below[b])) for a, b in _cuts(counts.problem, axis, parts)]
            for axis, (below, parts) in enumerate(zip((y, x), size, strict=True))
        ]
        entries = region_counts(sums.integral, *cuts)
        vectors[..., number] = of_pes((-(-entries // vector)).sum(1))
        lists += of_pes((entries > 0).sum(1))
    each = counts.problem.stationary_channels * len(by_class)
    groups = of_pes(each * _has_positions(counts.problem, *size, counts.operands.samples))
    return vectors, lists, groups


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


def _has_positions(problem: Problem, rows: int, cols: int, samples: int) -> Ints:
    """[samples, rows, cols] whether a tile of maps has any position."""
    sizes = [
        np.array([low < high for low, high in _cuts(problem, axis, parts)], np.int64)
        for axis, parts in enumerate((rows, cols))
    ]
    return np.broadcast_to(np.outer(*sizes), (samples, rows, cols))
