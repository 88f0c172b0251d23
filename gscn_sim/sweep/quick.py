"""Points that are not simulated, or not as a whole: bounds or estimates as metrics."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil

import numpy as np

from gscn_sim.bounds.activity import LeastActivity
from gscn_sim.bounds.machine import BoundedMachine
from gscn_sim.bounds.network import Least
from gscn_sim.config.view import view
from gscn_sim.dataflows.registry import WantedDataflows
from gscn_sim.run.estimate import estimated_phases
from gscn_sim.run.memo import Cache
from gscn_sim.run.parts import records_of
from gscn_sim.sweep.bounded import BoundedWorkload, columns_of, needs_of
from gscn_sim.sweep.points import Point
from workloads import Phase, Trace


def quick_metrics(point: Point, trace: Trace, cache: Cache) -> dict[str, float | str]:
    """The metrics of a point that is not simulated as a whole, each at its better end.

    Those that bounds or estimates know nothing of are missing. A fidelity of "1/4" simulates a
    quarter of the layer-phases, those with the largest bounds; the rest are their bounds.
    """
    assert point.config is not None
    columns = columns_of([point.config])
    batch = point.workload.batch_of(trace)
    work = BoundedWorkload.of(trace, batch, point.setting, needs_of(columns), cache)
    fidelity = point.fidelity
    if fidelity == "estimate":
        phases = work.network.phases
        cycles = estimated_phases(trace, point.config, phases, batch_size=batch, cache=cache)
        intervals = work.times({phase: np.array([cycles[phase]]) for phase in phases}, columns)
    elif fidelity == "bound":
        intervals = work.intervals(columns)
    else:
        share, fidelity = Fraction(fidelity), "bound"
        intervals = work.intervals(columns, simulated=_simulated(point, trace, work, share, cache))
    found = {
        name: float(np.ravel(high if "speedup" in name else low)[0])
        for name, (low, high) in intervals.items()
    }
    return {**found, "scope": work.scope or "longest", "fidelity": fidelity}


def _simulated(
    point: Point, trace: Trace, work: BoundedWorkload, share: Fraction, cache: Cache
) -> Mapping[int, Least]:
    """What a share of a point's layer-phases take."""
    config = point.config
    assert config is not None
    network = work.network
    machine, wanted = view(BoundedMachine, config), view(WantedDataflows, config)
    bounds = [
        each.weight * float(each.least(machine, wanted).cycles) for each in network.layer_phases
    ]
    largest = np.argsort(bounds, kind="stable")[::-1][: ceil(share * len(bounds))].tolist()
    records = records_of(
        trace,
        config,
        [Phase(name) for name in point.setting.phases],
        batch_size=point.workload.batch_of(trace),
        cache=cache,
        wanted=frozenset(largest),
    )
    return {
        number: Least(cycles=np.array(record.cycles), activity=LeastActivity.of(record.activity))
        for number, record in records.items()
    }
