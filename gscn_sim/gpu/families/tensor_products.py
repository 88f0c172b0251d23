"""Time of a convolution's products on tensor cores: tiles in waves over the SMs.

A tile's step takes 128 bytes of each row of both operands; it lasts as long as its multiply-adds or
as bringing its operands from L2, whichever is longer.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.gpu.coefficients import Cudnn9Tensor
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.families.base import is_pointwise
from gscn_sim.gpu.families.gemm import Tiles, busiest_waves, ceil_div, grid
from gscn_sim.gpu.layers import Array, Layers

TILES: Tiles = (
    *((64, 32), (64, 64), (128, 32), (128, 64), (64, 128)),
    *((128, 128), (256, 64), (64, 256), (256, 128), (128, 256)),
)
WGRAD_TILES: Tiles = (
    *((64, 32), (32, 64), (64, 64), (128, 64)),
    *((64, 128), (128, 128), (256, 128), (128, 256)),
)
PIXEL_SPLITS = (1, 2, 4)
LEAST_STEPS = 8
"""Fewest steps that a split of forward or dgrad leaves to a tile. Assumed."""
SPLITS = (1, 2, 4, 8, 16, 32, 64, 128)
STEP_BYTES = 128
"""Bytes of each operand row that a step of a tile takes: the width of a swizzled TMA box."""
STEP_OVERLAP = 4.0
"""The same for a tile's loads and multiply-adds. Assumed."""
STAGES = 4
"""Steps whose operands a tile fetches ahead: a shorter reduction has a shorter prologue. Assumed.
"""
LATER_PROLOGUE = 0.5
"""Part of a prologue that the wave before does not hide. Assumed."""
DGRAD_LOADS = 1.3
"""Loads of dgrad, whose filters are transposed, against forward's. Assumed."""
FEW_CHANNELS = 4
"""Layers of at most so many channels have no tensor-core kernel without padding or folding."""


def waves_ms(waves: Array, steps: Array, step_ms: Array, prologue_ms: float) -> Array:
    """Time of tiles in waves; from the second on, the wave before hides part of a prologue."""
    filled = np.minimum(steps / STAGES, 1.0)
    started = prologue_ms * filled * (1 + LATER_PROLOGUE * (waves - 1))
    return np.asarray(waves * steps * step_ms + started)


def tile_step_ms(
    rows: Array, columns: Array, device: Device, rate: float, operand_gb_s: float
) -> Array:
    """One step of one tile, ``rate`` being the part of the peak that multiply-adds reach."""
    depth = STEP_BYTES / device.element_bytes
    multiply = 2 * rows * columns * depth / (device.peak_flops_per_ms * rate / device.sms)
    load = (rows + columns) * STEP_BYTES / (operand_gb_s * 1e6 / device.sms)
    return np.asarray((multiply**STEP_OVERLAP + load**STEP_OVERLAP) ** (1 / STEP_OVERLAP))


def pixel_product_ms(
    layers: Layers, phase: str, device: Device, c: Cudnn9Tensor, *, prologue_ms: float
) -> Array:
    """Forward or dgrad as [pixels x channels] by [channels x filters], taps one after the other.

    A strided dgrad is one such product a phase of the stride, all in one kernel. With groups a tile
    multiplies all channels that its filters' groups touch.
    """
    made, used = (layers.K, layers.C) if phase == "forward" else (layers.C, layers.K)
    pixels, taps = layers.N * layers.P * layers.Q, layers.R * layers.S
    phases = np.ones(len(layers))
    if phase == "dgrad":
        phases = np.where(is_pointwise(layers), 1.0, layers.stride_h * layers.stride_w)
        high, wide = ceil_div(layers.H, layers.stride_h), ceil_div(layers.W, layers.stride_w)
        pixels, taps = layers.N * high * wide, taps / phases
    loads = DGRAD_LOADS if phase == "dgrad" else 1.0
    rows, columns, split = grid(TILES, PIXEL_SPLITS)
    touched = np.maximum(used / layers.groups, np.minimum(used, columns * used / made))
    steps = taps * ceil_div(touched, STEP_BYTES / device.element_bytes)
    tiles = ceil_div(pixels, rows) * ceil_div(made, columns) * phases
    step_ms = tile_step_ms(rows, columns, device, c.mma_efficiency, c.operand_gb_s / loads)
    waves = busiest_waves(tiles * split, device)
    time_ms = waves_ms(waves, ceil_div(steps, split), step_ms, prologue_ms)
    sums_ms = 8.0 * split * pixels * phases * made / (c.operand_gb_s * 1e6)
    time_ms = time_ms + np.where(split > 1, sums_ms, 0.0)
    allowed = (split == 1) | (steps >= LEAST_STEPS * split)
    return np.asarray(np.where(allowed, time_ms, np.inf).min(axis=0))


def filter_product_ms(
    layers: Layers, device: Device, c: Cudnn9Tensor, *, prologue_ms: float, reduction_us: float
) -> Array:
    """wgrad as [channels x pixels] by [pixels x filters] for each tap, the reduction split.

    Each part adds its sums to memory, and a second kernel adds the parts up. With groups a tile of
    channels meets the filters of all its groups.
    """
    depth = STEP_BYTES / device.element_bytes
    steps = ceil_div(layers.N * layers.P * layers.Q, depth)
    taps = layers.R * layers.S
    rows, columns, split = grid(WGRAD_TILES, SPLITS)
    together = np.maximum(layers.C / layers.groups, np.minimum(layers.C, rows))
    grouped = layers.C / together * np.maximum(1.0, together * layers.K / layers.C / columns)
    dense = ceil_div(layers.C, rows) * ceil_div(layers.K, columns)
    tiles = taps * np.where(layers.groups > 1, grouped, dense)
    step_ms = tile_step_ms(rows, columns, device, c.wgrad_mma_efficiency, c.wgrad_operand_gb_s)
    waves = busiest_waves(tiles * split, device)
    time_ms = waves_ms(waves, ceil_div(steps, split), step_ms, prologue_ms)
    sums_ms = 8.0 * split * layers.weight_elements / (c.operand_gb_s * 1e6) + reduction_us / 1e3
    time_ms = time_ms + np.where(split > 1, sums_ms, 0.0)
    return np.asarray(np.where(steps >= split, time_ms, np.inf).min(axis=0))
