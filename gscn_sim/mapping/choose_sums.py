"""Which mappings of a phase with summed outputs (wgrad) are worth a try.

All legal ones are estimated, and the best handed on. Whether the largest fill fits a PE's buffer is
known only when units have been dealt: so half are the best if fills are about equal, and half the
best if they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from operator import itemgetter
from typing import Protocol

import numpy as np

from gscn_sim.mapping.counts import Counts, Floats
from gscn_sim.mapping.estimate import (
    EstimatedMachine,
    SummedCycles,
    evenly_shared,
    summed_cycles,
)
from gscn_sim.mapping.legal import MappedDataflow
from gscn_sim.mapping.plan import Plan

MOST_PES = 0.75  # of the PEs that any plan uses
TRIED = 6  # plans whose steps are counted
NEAR = 1.5  # times the best estimate; plans beyond are not tried


class EstimatedDataflow(MappedDataflow, Protocol):
    """What choosing needs to know of a dataflow (:class:`gscn_sim.dataflows.base.Dataflow`)."""

    def steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float: ...
    def least_steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float: ...
    def check(self, plan: Plan) -> None: ...


def rank_sums(
    plans: Sequence[Plan],
    counts: Counts,
    machine: EstimatedMachine,
    flows: dict[str, EstimatedDataflow],
) -> list[tuple[float, Plan]]:
    """The plans that may be the fastest, with their estimated cycles, the best first."""
    plans, steps = _sensible(plans, counts, machine, flows)
    cycles = summed_cycles(plans, counts, machine, steps)
    taken = _best(plans, cycles, TRIED)
    return sorted(((float(cycles.if_even[i]), plans[i]) for i in taken), key=itemgetter(0))


def _sensible(
    plans: Sequence[Plan],
    counts: Counts,
    machine: EstimatedMachine,
    flows: dict[str, EstimatedDataflow],
) -> tuple[list[Plan], Floats]:
    """Plans that use most of the PEs and form not too many pairs; steps of their slowest PEs."""
    most = max(plan.num_pes_used for plan in plans)
    different = {
        (plan.dataflow, plan.shape_of_work): plan
        for plan in plans
        if plan.num_pes_used >= MOST_PES * most
    }
    pes = machine.pe_rows * machine.pe_cols
    by_least: dict[float, list[Plan]] = {}
    for plan in different.values():
        least = flows[plan.dataflow].least_steps(plan, counts, machine)
        by_least.setdefault(least / pes, []).append(plan)
    found: list[Plan] = []
    steps: list[Floats] = []
    best = inf
    for least in sorted(by_least):
        if least > best:  # too many pairs even in full vectors on all PEs
            break
        group = by_least[least]
        in_all = [flows[plan.dataflow].steps(plan, counts, machine) for plan in group]
        shared = evenly_shared(group, counts, machine, np.array(in_all))
        best = min(best, summed_cycles(group, counts, machine, shared).if_even.min())
        found += group
        steps.append(shared)
    return found, np.concatenate(steps)


def _best(plans: Sequence[Plan], cycles: SummedCycles, wanted: int) -> list[int]:
    """Numbers of the best plans by either estimate.

    Estimates are often the same where memory is what limits: so one half is taken from plans that
    differ in how many parts channels are split into.
    """
    parts = [plan.outputs * plan.inputs for plan in plans]
    ranked = np.argsort(cycles.if_even, kind="stable").tolist()
    first_of_parts = {parts[i]: i for i in reversed(ranked)}
    differing = sorted(first_of_parts.values(), key=ranked.index)
    found: list[int] = []
    uneven = np.argsort(cycles.if_uneven, kind="stable").tolist()
    for each, estimates in ((differing, cycles.if_even), (uneven, cycles.if_uneven)):
        near = [i for i in each if estimates[i] <= NEAR * estimates.min()]
        found += [i for i in near if i not in found][: wanted // 2]
    return found
