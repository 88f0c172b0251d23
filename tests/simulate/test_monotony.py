"""What may not make a machine slower."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import layers
from runs import PHASES, run

from workloads import Layer

STEADY = {
    "mapping.kind": "planar",  # the same plan on all machines that are compared
    "array.pe_rows": 2,
    "array.pe_cols": 2,
    "dram.preset": "ideal",
    "network.operand_bytes_per_cycle": 0,
    "pe.accumulator_banks": 5,
    "pe.accumulator_entries": 300,
    "pe.bank_queue_depth": 1,
    "policy.barrier": "group",
    "drain.overlap": False,
    "dataflow.wgrad": "cartesian",
}


@pytest.mark.parametrize("phase", PHASES)
@settings(max_examples=20)
@given(layer=layers())
def test_more_of_what_limits_is_never_slower(phase: str, layer: Layer) -> None:
    """Each change takes waiting away and adds none: a deeper queue, no barrier, ..."""
    base = run(layer, phase, STEADY, 3).cycles
    for change in (
        {"pe.bank_queue_depth": 2},
        {"pe.bank_queue_depth": 1000},
        {"policy.barrier": "none"},
        {"drain.overlap": True},
        {"drain.entries_per_cycle": 0},
    ):
        assert run(layer, phase, STEADY | change, 3).cycles <= base, change
    for change in (
        {"dram.preset": "lpddr4"},
        {"dram.preset": "gddr5x-484"},
        {"network.operand_bytes_per_cycle": 2},
        {"pe.bank_queue_depth": 0},
    ):
        assert run(layer, phase, STEADY | change, 3).cycles >= base, change


@pytest.mark.parametrize("phase", ["forward", "dgrad"])
@settings(max_examples=40)
@given(layer=layers(side=9), barrier=st.sampled_from(("group", "none")))
def test_a_deeper_fifo_is_never_slower(phase: str, layer: Layer, barrier: str) -> None:
    """From one list at a time, as with a barrier after every channel, to all of a round."""
    steady = STEADY | {"policy.barrier": barrier}
    limited = steady | {"policy.drift": "fifo"}
    cycles = [
        run(layer, phase, limited | {"pe.streamed_fifo_entries": depth}, 3).cycles
        for depth in (1, 2, 5, 9, 20, 60, 1 << 20)
    ]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] == run(layer, phase, steady, 3).cycles
    if barrier == "group":
        channel = steady | {"policy.barrier": "input_channel"}
        assert cycles[0] == run(layer, phase, channel, 3).cycles
