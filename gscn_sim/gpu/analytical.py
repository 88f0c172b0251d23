"""The analytical model: every family of algorithms, the fastest wins."""

from __future__ import annotations

import numpy as np

from gscn_sim.gpu.coefficients import Coefficients
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.estimate import BOUNDS, Estimate
from gscn_sim.gpu.families import families
from gscn_sim.gpu.layers import Layers, take


def analytical(layers: Layers, phase: str, device: Device, c: Coefficients) -> Estimate:
    """Time of one pass (``forward``, ``dgrad`` or ``wgrad``) by the fastest algorithm."""
    time_ms = np.full(len(layers), np.inf)
    algorithm = np.full(len(layers), "", dtype=object)
    bound = np.full(len(layers), "", dtype=object)
    for candidate in families(device.kernel_library):
        rows = np.flatnonzero(candidate.applies(layers, phase, device))
        if not rows.size:
            continue
        cost = candidate.cost(take(layers, rows), phase, device, c)
        faster = cost.time_ms < time_ms[rows]
        winners = rows[faster]
        time_ms[winners] = cost.time_ms[faster]
        algorithm[winners] = candidate.name
        bound[winners] = np.array(BOUNDS, dtype=object)[cost.bound[faster]]
    return Estimate(time_ms=time_ms, algorithm=algorithm, bound=bound)
