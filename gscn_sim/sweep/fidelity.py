"""How a point's figures are found: by simulation, by estimate, or as bounds.

``exact`` simulates. ``bound`` gives what no simulation can be better than, ``estimate`` what the
planner expects, both without forming a product; figures that they know nothing of are left out.
``auto`` simulates designs that may be on the front of the objectives, and gives bounds of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gscn_sim.sweep.search import Search, make_search
from workloads import Trace

if TYPE_CHECKING:
    from gscn_sim.run.memo import Cache
    from gscn_sim.sweep.points import Point
    from gscn_sim.sweep.runner import Plan

FIDELITIES = ("exact", "auto", "estimate", "bound")


def open_search(plan: Plan) -> Search:
    """The search of a plan.

    Raises:
        SpaceError: an unknown search, one that the plan lacks something for, or no optuna.
    """
    if plan.search == "exact":
        from gscn_sim.sweep.proof import ExactSearch

        return ExactSearch(plan.space, plan.workloads, plan.setting, plan.objectives, plan.budget)
    search = make_search(
        plan.search,
        plan.space,
        budget=plan.budget,
        objectives=plan.objectives,
        seed=plan.seed,
    )
    if plan.fidelity == "auto":
        from gscn_sim.sweep.screening import Screened

        return Screened(search, plan.workloads, plan.setting, plan.objectives)
    return search


def quick_metrics(point: Point, trace: Trace, cache: Cache) -> dict[str, float | str]:
    """The metrics of a point that is not simulated, each at its better end.

    Those that bounds or estimates know nothing of are missing.
    """
    from gscn_sim.run.estimate import estimated_phases
    from gscn_sim.sweep.bounded import BoundedWorkload, columns_of, needs_of

    assert point.config is not None
    columns = columns_of([point.config])
    own = point.workload.batch_size == trace.batch_size
    batch = None if own else point.workload.batch_size
    work = BoundedWorkload.of(trace, batch, point.setting, needs_of(columns), cache)
    if point.fidelity == "estimate":
        phases = work.network.phases
        cycles = estimated_phases(trace, point.config, phases, batch_size=batch, cache=cache)
        intervals = work.times({phase: np.array([cycles[phase]]) for phase in phases}, columns)
    else:
        intervals = work.intervals(columns)
    found = {
        name: float(np.ravel(high if "speedup" in name else low)[0])
        for name, (low, high) in intervals.items()
    }
    return {**found, "scope": work.scope or "longest", "fidelity": point.fidelity}
