"""The plain roofline with launch overhead, for any device: no coefficient is fitted."""

from __future__ import annotations

import numpy as np

from gscn_sim.gpu.device import Device
from gscn_sim.gpu.estimate import BOUNDS, Estimate
from gscn_sim.gpu.layers import Layers


def roofline(layers: Layers, device: Device) -> Estimate:
    """Time of any one pass: one launch, then compute or DRAM traffic, whichever takes longer.

    Every operation counts (no Winograd), the peak is that of the boost clock, and each operand is
    moved once. Too kind to strided and 1x1 layers, too harsh on 3x3 ones.
    """
    compute_ms = layers.flops / device.peak_flops_per_ms
    memory_ms = layers.operand_bytes / device.bytes_per_ms
    launch_ms = np.full(len(layers), device.launch_overhead_us / 1e3)
    parts = np.stack([compute_ms, memory_ms, launch_ms])
    return Estimate(
        time_ms=launch_ms + np.maximum(compute_ms, memory_ms),
        algorithm=np.full(len(layers), "roofline", dtype=object),
        bound=np.array(BOUNDS, dtype=object)[parts.argmax(axis=0)],
    )
