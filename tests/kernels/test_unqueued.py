"""Steps counted in registers against steps that queue at banks, with queues of no depth."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gscn_sim.kernels.machine import Machine
from gscn_sim.kernels.pairing import (
    COUNTED_BANKS,
    COUNTED_PAIRS,
    CYCLES,
    N_COUNTERS,
    STEPS,
    StationaryLists,
    StreamedLists,
    pair_all,
    pair_unqueued,
)

SPAN, OUTPUTS, POSITIONS = 12, 5, 6


def lists(rng: np.random.Generator, count: int, longest: int, top: int) -> tuple[np.ndarray, ...]:
    """Bounds, entries (placeholders among them) and non-placeholders of random lists."""
    ptr = np.concatenate([[0], np.cumsum(rng.integers(0, longest + 1, count))]).astype(np.int64)
    idx = rng.integers(0, top, ptr[-1]).astype(np.int32)
    idx[rng.random(len(idx)) < 0.1] = 2 * SPAN  # reaches nothing
    real = np.array([(idx[a:b] < 2 * SPAN).sum() for a, b in pairwise(ptr)])
    return ptr, idx, real.astype(np.int64)


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_as_with_queues_of_no_depth(data: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    banks = data.draw(st.sampled_from((1, 3, 32, COUNTED_BANKS)))
    vector_i = data.draw(st.integers(1, 8))
    vector_f = data.draw(st.integers(1, COUNTED_PAIRS // vector_i))
    groups, streams = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    sta_ptr, sta_idx, sta_real = lists(rng, groups, 9, SPAN)
    str_ptr, str_idx, str_real = lists(rng, streams, 20, SPAN)
    str_offset = (rng.integers(0, OUTPUTS, len(str_idx)) * POSITIONS).astype(np.int32)
    str_of = rng.integers(0, streams, groups)
    position_of = rng.integers(-1, POSITIONS, 4 * SPAN + 1).astype(np.int32)
    position_of[2 * SPAN :] = -1
    bank_of = rng.integers(0, banks, OUTPUTS * POSITIONS).astype(np.uint16)
    found = []
    fields = dict.fromkeys(Machine._fields, 0)
    sizes = {"vector_i": vector_i, "vector_f": vector_f, "num_banks": banks}
    machine = Machine(**{**fields, **sizes})
    stationary = StationaryLists(sta_ptr, sta_idx, sta_real)
    streamed = StreamedLists(str_ptr, str_idx, str_offset, str_real, str_of)
    for pair in (pair_all, pair_unqueued):
        group_cycles, counters = np.zeros(groups, np.int64), np.zeros(N_COUNTERS, np.int64)
        pair(stationary, streamed, position_of, bank_of, machine, group_cycles, counters)
        assert group_cycles.sum() == counters[CYCLES] >= counters[STEPS]
        found.append((group_cycles.tolist(), counters.tolist()))
    assert found[0] == found[1]
