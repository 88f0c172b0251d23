"""Time of a tiled matrix product on a GPU's SMs."""

from __future__ import annotations

import numpy as np

from gscn_sim.gpu.device import Device
from gscn_sim.gpu.layers import Array

Tiles = tuple[tuple[int, int], ...]
LARGE_TILE = 128 * 128
PARTIAL_WAVE = 0.5
"""Part of an unfilled last wave that is paid for: small tiles share an SM. Assumed."""
REDUCTION_STEP = 8
"""Reduction steps that a tile's loop takes at once: shorter reductions are padded."""
TAIL_TILES = 0.4
"""128x128 tiles' work by which an SM's last wave runs unfilled. Assumed; Pascal fits give 0.3-0.5.
"""
LEAST_SPLIT = 64
"""Shortest reduction that a split may leave to one tile."""


def ceil_div(numerator: Array | float, denominator: Array | float) -> Array:
    """Smallest whole numbers not below the quotients."""
    return np.asarray(np.ceil(np.asarray(numerator, dtype=float) / denominator))


def grid(tiles: Tiles, splits: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Rows and columns of a tile and parts of a reduction, for all choices: columns of numbers."""
    choices = np.array([(*tile, split) for tile in tiles for split in splits], dtype=float)
    rows, columns, split = choices.T[:, :, np.newaxis]
    return rows, columns, split


def busiest_waves(tiles: Array, device: Device) -> Array:
    """Waves of tiles over the SMs, at least one; a part of the last, unfilled one."""
    waves = tiles / device.sms
    filled = (1 - PARTIAL_WAVE) * waves + PARTIAL_WAVE * np.ceil(waves)
    return np.asarray(np.maximum(filled, 1.0))


def gemm_ms(
    device: Device,
    m: Array,
    n: Array,
    k: Array,
    *,
    tiles: Tiles,
    efficiency: float,
    prologue_steps: Array | float,
    load_cost: float,
    batch: Array | float = 1.0,
    outputs_per_entry: int = 1,
    atomic_bytes_per_ms: float | None = None,
    atomic_when_unsplit: bool = True,
    whole_waves: bool = False,
) -> Array:
    """Time of ``batch`` products of an m x k and a k x n matrix, by the best tile size.

    The busiest SM computes its share of tiles (at least one, padding included) and part of one more
    wave that does not fill it; with ``whole_waves`` it computes a whole number of tiles. A
    reduction step of a tile costs its multiply-adds and the loads of its two operands; a tile also
    costs its prologue. With ``atomic_bytes_per_ms`` the reduction may be split over 1, 2, 4, ...
    1024 tiles, each of which adds its outputs to memory atomically (without
    ``atomic_when_unsplit`` only where there are several).
    ``outputs_per_entry`` is for kernels that compute several products (Winograd's 16) in one tile.
    """
    rate_per_sm = device.peak_flops_per_ms / device.sms * efficiency
    powers = 11 if atomic_bytes_per_ms is not None else 1
    rows, columns, power = grid(tiles, tuple(range(powers)))
    split = np.minimum(2.0**power, np.maximum(1, np.floor(k / LEAST_SPLIT)))
    steps = ceil_div(k / split, REDUCTION_STEP) * REDUCTION_STEP + prologue_steps
    tiles_per_sm = ceil_div(m, rows) * ceil_div(n, columns) * batch * split / device.sms
    tail = 0.0 if whole_waves else TAIL_TILES * LARGE_TILE
    busiest = np.ceil(tiles_per_sm) if whole_waves else np.maximum(tiles_per_sm, 1)
    outputs = busiest * rows * columns * outputs_per_entry + tail
    slowdown = 1 + load_cost * (1 / rows + 1 / columns)
    time_ms = 2 * outputs * steps * slowdown / rate_per_sm
    if atomic_bytes_per_ms is not None:
        added_ms = 4 * m * n * batch * split / atomic_bytes_per_ms
        if not atomic_when_unsplit:
            added_ms = np.where(split > 1, added_ms, 0.0)
        time_ms = time_ms + added_ms
    return np.asarray(time_ms.min(axis=0))
