"""Which of the legal mappings of a layer-phase are worth a try: the cheapest by estimate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

from gscn_sim.errors import ConfigError
from gscn_sim.mapping.choose_sums import EstimatedDataflow, rank_sums
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.estimate import EstimatedMachine, map_cycles, rough_map_cycles
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.mapping.legal import all_plans, least_entries
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.geometry import Problem

SHORTLIST = 24  # plans of forward and dgrad that are estimated tile by tile
TRIED = 3  # of these, whose steps are counted
NEAR = 1.15  # times the best estimate; plans beyond are not tried
SHORTLIST_EACH = 4  # of these with the same number of output-channel parts


def shortlist(
    problem: Problem,
    counts: Counts,
    space: MappingSpace,
    machine: EstimatedMachine,
    dataflows: tuple[EstimatedDataflow, ...],
) -> tuple[Plan, ...]:
    """The legal plans that may be the fastest, the best by estimate first, each with its reason.

    One for maps, whose estimate is near; some for summed outputs, where it is not.

    Raises:
        ConfigError: no legal plan; the message says what does not fit.
    """
    flows = {dataflow.name: dataflow for dataflow in dataflows}
    plans = _legal(problem, space, dataflows)
    if len(plans) == 1:
        return (_taken(plans[0], flows, "the only legal mapping"),)
    rank = rank_sums if problem.is_reduction else _rank_maps
    ranked = rank(plans, counts, machine, flows)
    return tuple(
        _taken(plan, flows, f"best of {len(plans)} by estimate ({cycles:.0f} cycles)")
        for cycles, plan in ranked
    )


def estimated_cycles(
    problem: Problem,
    counts: Counts,
    space: MappingSpace,
    machine: EstimatedMachine,
    dataflows: tuple[EstimatedDataflow, ...],
) -> float:
    """Cycles of the best plan by estimate. Arguments and errors are those of :func:`shortlist`."""
    flows = {dataflow.name: dataflow for dataflow in dataflows}
    rank = rank_sums if problem.is_reduction else _rank_maps
    return rank(_legal(problem, space, dataflows), counts, machine, flows)[0][0]


def _legal(
    problem: Problem, space: MappingSpace, dataflows: tuple[EstimatedDataflow, ...]
) -> Sequence[Plan]:
    plans = all_plans(problem, space, dataflows)
    if not plans:
        raise ConfigError(
            f"no tile fits: pe.accumulator_entries must be at least "
            f"{least_entries(problem, space)} to hold one output channel of the smallest tile, "
            f"got {space.accumulator_entries}"
        )
    return plans


def _rank_maps(
    plans: Sequence[Plan],
    counts: Counts,
    machine: EstimatedMachine,
    flows: dict[str, EstimatedDataflow],
) -> list[tuple[float, Plan]]:
    """The plans of a phase whose outputs are maps that may be the fastest, with their estimates."""
    estimates = [
        (map_cycles(plan, counts, machine), plan) for plan in _promising(plans, counts, machine)
    ]
    estimates = sorted(estimates, key=itemgetter(0))[:TRIED]
    return [each for each in estimates if each[0] <= NEAR * estimates[0][0]]


def _taken(plan: Plan, flows: dict[str, EstimatedDataflow], why: str) -> Plan:
    """The plan with its reason, checked."""
    flows[plan.dataflow].check(plan)
    return replace(plan, reason=f"{plan.kind}, {why}")


def _promising(plans: Sequence[Plan], counts: Counts, machine: EstimatedMachine) -> Sequence[Plan]:
    """The plans of maps worth a closer look.

    The best few for each number of output-channel parts, which trade even work for shorter vectors.
    """
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
