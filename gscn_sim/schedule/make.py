"""From a plan and what its blocks cost to the schedule that the fabric executes."""

from __future__ import annotations

from gscn_sim.dataflows.base import BlockCosts
from gscn_sim.mapping.deal import Dealt
from gscn_sim.mapping.plan import Plan
from gscn_sim.schedule.maps import map_schedule
from gscn_sim.schedule.model import Movement, Schedule
from gscn_sim.schedule.reduction import reduction_schedule


def make_schedule(
    plan: Plan, costs: BlockCosts, machine: Movement, dealt: Dealt | None, shares_inputs: bool
) -> Schedule:
    """Lay a plan's blocks out in rounds and work out what must move.

    ``dealt``: the units of each PE where outputs are summed, else None. ``shares_inputs``: of the
    dataflow.
    """
    if dealt is not None:
        return reduction_schedule(plan, costs, machine, dealt)
    return map_schedule(plan, costs, machine, shares_inputs=shares_inputs)
