"""wgrad of layers on single pixels: an outer product a sample, by a small kernel of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from gscn_sim.gpu.device import Device
from gscn_sim.gpu.families.base import Cost, Flags, is_single_pixel
from gscn_sim.gpu.layers import Layers

MOST_OPERATIONS = 1e8
"""Larger ones are plain matrix products."""
RATE = 0.004
"""Part of the CUDA cores' peak that it reaches, bound by latency. Assumed."""


class OuterProduct:
    """``wgrad2d_grouped_direct_kernel``, seen for the narrow layers of squeeze-and-excitation."""

    name = "outer_product"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return is_single_pixel(layers) & (phase == "wgrad") & (layers.flops <= MOST_OPERATIONS)

    def cost(self, layers: Layers, phase: str, device: Device, c: Any) -> Cost:
        return Cost(
            compute_ms=layers.flops / (device.cuda_flops_per_ms * RATE),
            memory_ms=device.element_bytes * layers.weight_elements / device.achieved_bytes_per_ms,
            launch_ms=np.full(len(layers), device.launch_overhead_us / 1e3),
            overlap=np.inf,
        )
