"""Points that are not simulated: bounds or estimates as metrics."""

from __future__ import annotations

import numpy as np

from gscn_sim.run.estimate import estimated_phases
from gscn_sim.run.memo import Cache
from gscn_sim.sweep.bounded import BoundedWorkload, columns_of, needs_of
from gscn_sim.sweep.points import Point
from workloads import Trace


def quick_metrics(point: Point, trace: Trace, cache: Cache) -> dict[str, float | str]:
    """The metrics of a point that is not simulated, each at its better end.

    Those that bounds or estimates know nothing of are missing.
    """
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
