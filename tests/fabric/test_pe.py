"""The PEs of a gang as vectors against a process for each PE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.pes import OneByOne
from schedules import make_gang, make_schedule, schedules

from gscn_sim.config import Config, load_config
from gscn_sim.errors import DeadlockError
from gscn_sim.fabric import array, top
from gscn_sim.results.timeline import Timeline
from gscn_sim.schedule.model import Schedule

policies = st.fixed_dictionaries(
    {
        "array.pe_rows": st.just(3),
        "array.pe_cols": st.just(3),
        "pe.streamed_fifo_entries": st.integers(1, 16),
        "pe.round_latency": st.sampled_from((0, 0, 1, 5)),
        "network.dispatch_latency": st.sampled_from((0, 0, 1, 4)),
        "drain.staging_rounds": st.integers(1, 3),
        "drain.overlap": st.booleans(),
        "policy.barrier": st.sampled_from(("input_channel", "group", "none")),
        "policy.halo": st.sampled_from(("serial", "overlapped")),
    }
)
limits = st.fixed_dictionaries(
    {
        "dram.preset": st.sampled_from(("ideal", "gddr5x-484", "ddr4-2400", "lpddr4")),
        "network.operand_bytes_per_cycle": st.sampled_from((0, 1, 7)),
    }
)
NO_LIMITS = {"dram.preset": "ideal", "network.operand_bytes_per_cycle": 0}


def run(schedule: Schedule, config: Config) -> tuple[top.FabricResult, dict[str, Any]]:
    """The result, and all spans of the timeline by track."""
    timeline = Timeline(clock_ghz=1.0, num_pes=config.num_pes)
    result = top.run_fabric(schedule, config, timeline)
    return result, {track: lanes for track, lanes in timeline._tracks.items() if lanes}


def check(schedule: Schedule, config: Config) -> None:
    got = run(schedule, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array, "ProcessingElements", OneByOne)
        assert got == run(schedule, config)


@settings(max_examples=200, deadline=None)
@given(schedule=schedules(listed=True), policy=policies)
def test_as_one_by_one(schedule: Schedule, policy: dict[str, Any]) -> None:
    check(schedule, load_config("gscn-ideal", policy | NO_LIMITS))


@settings(max_examples=200, deadline=None)
@given(schedule=schedules(uneven=True, listed=True), policy=policies, limit=limits)
def test_as_one_by_one_with_limits(
    schedule: Schedule, policy: dict[str, Any], limit: dict[str, Any]
) -> None:
    """What contends is served in the same order.

    The model does not say which of two gangs asks first in one cycle, so they do not meet here.
    """
    check(schedule, load_config("gscn-ideal", policy | limit))


def events_of(pes: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """SimPy events of ten rounds on a gang, all PEs at a different pace."""
    rng = np.random.default_rng(1)
    busy = rng.integers(1, 99, (pes, 10)).tolist()
    gang = make_gang(0, busy, stream_bytes=[9] * 10, output_bytes=[9] * 10)
    steps = 0

    class Counting(simpy.Environment):
        def step(self) -> None:
            nonlocal steps
            steps += 1
            super().step()

    monkeypatch.setattr(top.simpy, "Environment", Counting)
    top.run_fabric(make_schedule([gang], [64]), load_config("gscn-ideal"))
    return steps


def test_the_number_of_events_does_not_depend_on_the_pes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert events_of(1, monkeypatch) <= 40
    assert events_of(200, monkeypatch) <= 40


def test_a_gang_that_waits_forever_is_named_by_its_pes() -> None:
    gang = make_gang(0, [[2, 2, 2]] * 3, fill=[2, 1, 0])
    schedule = make_schedule([gang], [4, 4, 4], fills_held=1)
    with pytest.raises(DeadlockError, match=r"waiting forever: pe\[0-2\], buffer"):
        top.run_fabric(schedule, load_config("gscn-ideal", NO_LIMITS))
