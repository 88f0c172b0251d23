"""The time of a tiled product against a plain loop and cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gscn_sim.gpu.device import load_device
from gscn_sim.gpu.families.gemm import LARGE_TILE, TAIL_TILES, gemm_ms

GPU = load_device("gtx-1080ti")
TILES = ((128, 128), (128, 64), (32, 128))


def slow_ms(m: int, n: int, k: int, batch: int, atomic: float | None, whole: bool) -> float:
    """The rule of ``gemm_ms``, one candidate at a time in plain Python."""
    rate = 2 * 128 * GPU.boost_clock_ghz * 1e6 * 0.9
    times = []
    splits = {1.0}
    if atomic is not None:
        splits = {float(min(2**i, max(1, k // 64))) for i in range(11)}
    for split in splits:
        steps = math.ceil(k / split / 8) * 8 + 50
        for rows, columns in TILES:
            tiles = math.ceil(m / rows) * math.ceil(n / columns) * batch * split
            if whole:
                outputs = math.ceil(tiles / 28) * rows * columns
            else:
                outputs = max(tiles / 28, 1) * rows * columns + TAIL_TILES * LARGE_TILE
            time = 2 * outputs * steps * (1 + 12 / rows + 12 / columns) / rate
            times.append(time + (4 * m * n * batch * split / atomic if atomic else 0.0))
    return min(times)


@settings(max_examples=100, deadline=None)
@given(
    m=st.integers(1, 3000),
    n=st.integers(1, 30000),
    k=st.integers(1, 100000),
    batch=st.integers(1, 4),
    atomic=st.sampled_from([None, 2e8]),
    whole=st.booleans(),
)
def test_agrees_with_a_plain_loop(
    m: int, n: int, k: int, batch: int, atomic: float | None, whole: bool
) -> None:
    fast = gemm_ms(
        GPU,
        *(np.array([float(size)]) for size in (m, n, k)),
        batch=np.array([float(batch)]),
        tiles=TILES,
        efficiency=0.9,
        prologue_steps=50.0,
        load_cost=12.0,
        atomic_bytes_per_ms=atomic,
        whole_waves=whole,
    )
    assert fast[0] == pytest.approx(slow_ms(m, n, k, batch, atomic, whole))


def test_by_hand() -> None:
    """28 tiles of 128x128, one an SM, 1,000 steps, nothing but multiply-adds and the tail."""
    time_ms = gemm_ms(
        GPU,
        np.array([128.0]),
        np.array([28 * 128.0]),
        np.array([1000.0]),
        tiles=((128, 128),),
        efficiency=1.0,
        prologue_steps=0.0,
        load_cost=0.0,
    )
    macs_per_sm = (1 + TAIL_TILES) * 128 * 128 * 1000
    assert time_ms[0] == pytest.approx(macs_per_sm / (128 * 1.582e9) * 1e3)


def test_long_reductions_of_small_products_are_split() -> None:
    sizes = [np.array([v]) for v in (64.0, 64.0, 1e5)]
    kwargs = {"tiles": TILES, "efficiency": 1.0, "prologue_steps": 50.0, "load_cost": 12.0}
    whole = gemm_ms(GPU, *sizes, **kwargs)
    split = gemm_ms(GPU, *sizes, atomic_bytes_per_ms=2e8, **kwargs)
    assert split[0] < whole[0] / 5
