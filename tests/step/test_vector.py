"""The vector unit, by hand and in general."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gscn_sim.config import Config, load_config
from gscn_sim.fabric.vector import VectorWork, run_vector

SLOW_MEMORY = {
    "array.clock_ghz": 1.0,
    "dram.preset": "ddr4-2400",
    "dram.scheduler": "fcfs",
    "dram.transfers_gtps": 1.0,
    "dram.row_activate_ns": 10,
    "dram.column_ns": 5,
    "dram.activate_interval_ns": 1,
    "dram.controller_ns": 0,
    "dram.refresh_ns": 0,
    "dram.refresh_interval_ns": 100000,
}


def machine(**overrides: Any) -> Config:
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config("gscn-ideal", {"dram.preset": "ideal", "vector.lanes": 4, **changes})


def test_lanes_alone() -> None:
    """10 elements on 4 lanes take 3 cycles; 12 in two chunks of 6 take 2 each."""
    one, two = run_vector(
        [VectorWork(read_bytes=40, elements=10), VectorWork(read_bytes=128, elements=12)],
        machine(vector__chunk_bytes=64),
    )
    assert (one.cycles, one.busy_cycles) == (3, 3)
    assert (two.cycles, two.busy_cycles) == (4, 4)


def test_nothing_to_do_takes_no_time() -> None:
    (result,) = run_vector([VectorWork()], machine())
    assert (result.cycles, result.busy_cycles) == (0, 0)


def test_one_chunk_through_a_slow_memory() -> None:
    """8 bytes a cycle in bursts of 64, 10 + 5 cycles to open a row.

    The burst arrives at 23. 8 elements take 2 cycles on 4 lanes. The result's burst opens a row of
    its own at 25 and is there at 25 + 23.
    """
    (result,) = run_vector(
        [VectorWork(read_bytes=64, write_bytes=64, elements=8)], machine(**_slow())
    )
    assert (result.cycles, result.busy_cycles) == (25 + 23, 2)
    assert (result.dram_read_bytes, result.dram_write_bytes) == (64, 64)


def _slow() -> dict[str, Any]:
    return {key.replace(".", "__"): value for key, value in SLOW_MEMORY.items()}


works = st.builds(
    VectorWork,
    read_bytes=st.integers(0, 5000),
    write_bytes=st.integers(0, 5000),
    elements=st.integers(0, 3000),
)


@settings(max_examples=60)
@given(
    todo=st.lists(works, min_size=1, max_size=4),
    lanes=st.integers(1, 64),
    chunk=st.sampled_from((64, 256, 65536)),
    preset=st.sampled_from(("ideal", "ddr4-2400", "gddr5x-484")),
)
def test_bounds_and_accounts(todo: list[VectorWork], lanes: int, chunk: int, preset: str) -> None:
    """Never faster than lanes or memory; all bytes move, in whole bursts a chunk; lanes add up."""
    config = machine(vector__lanes=lanes, vector__chunk_bytes=chunk, dram__preset=preset)
    for work, result in zip(todo, run_vector(todo, config), strict=True):
        assert result.cycles >= result.busy_cycles >= -(-work.elements // lanes)
        assert result.dram_read_bytes >= work.read_bytes
        assert result.dram_write_bytes >= work.write_bytes
        assert result.cycles >= config.memory_cycles(work.read_bytes + work.write_bytes)


def test_work_is_not_negative() -> None:
    with pytest.raises(ValueError, match="work must not be negative"):
        VectorWork(elements=-1)
