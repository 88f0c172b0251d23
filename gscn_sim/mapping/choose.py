"""Which of the legal mappings of a layer-phase to take: the cheapest by estimate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from gscn_sim.errors import ConfigError
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.estimate import (
    EstimatedMachine,
    map_cycles,
    rough_map_cycles,
    summed_cycles,
)
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.mapping.legal import MappedDataflow, all_plans, least_entries
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.geometry import Problem

SHORTLIST = 24  # plans of forward and dgrad that are estimated tile by tile
MOST_PES = 0.75  # of the PEs that any plan with summed outputs uses
SHORTLIST_EACH = 4  # of these with the same number of output-channel parts


class EstimatedDataflow(MappedDataflow, Protocol):
    """What choosing needs to know of a dataflow (:class:`gscn_sim.dataflows.base.Dataflow`)."""

    def steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float: ...
    def least_steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float: ...
    def check(self, plan: Plan) -> None: ...


def choose_plan(
    problem: Problem,
    counts: Counts,
    space: MappingSpace,
    machine: EstimatedMachine,
    dataflows: tuple[EstimatedDataflow, ...],
) -> Plan:
    """The cheapest legal plan by estimate, with the reason.

    Raises:
        ConfigError: no legal plan; the message says what does not fit.
    """
    flows = {dataflow.name: dataflow for dataflow in dataflows}
    plans = all_plans(problem, space, dataflows)
    if not plans:
        raise ConfigError(
            f"no tile fits: pe.accumulator_entries must be at least "
            f"{least_entries(problem, space)} to hold one output channel of the smallest tile, "
            f"got {space.accumulator_entries}"
        )
    if len(plans) == 1:
        return _taken(plans[0], flows, "the only legal mapping")

    def cycles_of(plan: Plan) -> float:
        if not problem.is_reduction:
            return map_cycles(plan, counts, machine)
        return summed_cycles(
            plan, counts, machine, flows[plan.dataflow].steps(plan, counts, machine)
        )

    looked_at = _promising(plans, counts, machine)
    best, cycles = looked_at[0], cycles_of(looked_at[0])
    for plan in looked_at[1:]:
        if problem.is_reduction and _is_hopeless(plan, counts, machine, flows, cycles):
            continue
        estimate = cycles_of(plan)
        if estimate < cycles:
            best, cycles = plan, estimate
    return _taken(best, flows, f"best of {len(plans)} by estimate ({cycles:.0f} cycles)")


def _taken(plan: Plan, flows: dict[str, EstimatedDataflow], why: str) -> Plan:
    """The plan with its reason, checked.

    Its tiles and blocks are worked out, so that whoever keeps the plan knows its size.
    """
    flows[plan.dataflow].check(plan)
    taken = replace(plan, reason=f"{plan.kind}, {why}")
    assert taken.tiles
    assert taken.distinct_blocks
    return taken


def _is_hopeless(
    plan: Plan,
    counts: Counts,
    machine: EstimatedMachine,
    flows: dict[str, EstimatedDataflow],
    cycles: float,
) -> bool:
    """Whether a plan forms too many pairs to beat ``cycles``, even in full vectors on all PEs."""
    pes = machine.pe_rows * machine.pe_cols
    return flows[plan.dataflow].least_steps(plan, counts, machine) / pes > cycles


def _promising(plans: Sequence[Plan], counts: Counts, machine: EstimatedMachine) -> Sequence[Plan]:
    """The plans worth a closer look.

    Summed outputs: those that use most of the PEs that any plan uses. Maps: the best few for each
    number of output-channel parts, which trade even work for shorter vectors.
    """
    if plans[0].problem.is_reduction:
        most = max(plan.num_pes_used for plan in plans)
        return [plan for plan in plans if plan.num_pes_used >= MOST_PES * most]
    if len(plans) <= SHORTLIST:
        return plans
    chosen: list[Plan] = []
    taken: Counter[int] = Counter()
    ranked = sorted((rough_map_cycles(plan, counts, machine), i) for i, plan in enumerate(plans))
    for _, i in ranked:
        if taken[plans[i].outputs] < SHORTLIST_EACH and len(chosen) < SHORTLIST:
            taken[plans[i].outputs] += 1
            chosen.append(plans[i])
    return chosen
