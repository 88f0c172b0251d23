"""Depthwise layers on CUDA cores, NCHW: a thread an output, by the framework's own kernels.

Counted in instructions of a lane, so that the rule holds for any card; measured on the H100
(``conv_depthwise2d_*``), where one coefficient of it is fitted.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.gpu.device import Device
from gscn_sim.gpu.layers import Array, Layers

TAP_INSTRUCTIONS = 14.0
"""Instructions a lane spends on a tap: the H100's, for devices whose depthwise layers were not
measured."""
START = 13.0
"""What one output costs beside its taps, in taps: index arithmetic."""
DGRAD = 36.0
"""What one input costs in dgrad, in taps: every tap is tested whether it meets an output."""
WGRAD = 3.6
"""What one tap costs in wgrad, in taps of forward: each is a pass over all outputs."""


def depthwise_ms(layers: Layers, phase: str, device: Device, tap_instructions: float) -> Array:
    """Instructions of all taps over all lanes."""
    taps = layers.R * layers.S
    if phase == "forward":
        steps = layers.output_elements * (taps + START)
    elif phase == "dgrad":
        steps = layers.input_elements * DGRAD
    else:
        steps = layers.output_elements * taps * WGRAD
    return np.asarray(steps * tap_instructions / device.lanes_per_ms)
