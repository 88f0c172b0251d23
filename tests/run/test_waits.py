"""Waiting for operands by cause: the charges add up, and each goes to the one that is at fault."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gscn_sim
from gscn_sim.errors import ConfigError
from gscn_sim.fabric.top import run_fabric
from gscn_sim.run.pipeline import prepare_phase
from gscn_sim.run.waits import CAUSES, REST, operand_waits, own_fills
from workloads import Phase, Trace, layer_from_arrays

SMALL = {"array.pe_rows": 2, "array.pe_cols": 2}
PHASES = ("forward", "dgrad", "wgrad")


@pytest.fixture(scope="module")
def trace() -> Trace:
    rng = np.random.default_rng(4)
    layer = layer_from_arrays(
        "conv",
        activation=rng.random((3, 8, 9, 9)) < 0.6,
        weight=np.ones((8, 8, 3, 3)),
        gradient=rng.random((3, 8, 9, 9)) < 0.2,
        padding=(1, 1),
    )
    return Trace(network="toy", batch_size=3, layers=[layer])


def shares(trace: Trace, **changes: object) -> dict[str, float]:
    config = gscn_sim.load_config("gscn-ideal", SMALL | changes)
    table = operand_waits(trace, config, PHASES)
    assert table["cause"].tolist() == [*CAUSES, REST, "all"]
    return dict(zip(table["cause"], table["wait_share"], strict=True))


def test_charges_add_up_to_the_run_s_waiting(trace: Trace) -> None:
    found = shares(trace)
    assert sum(found[name] for name in (*CAUSES, REST)) == pytest.approx(found["all"])
    config = gscn_sim.load_config("gscn-ideal", SMALL)
    records = gscn_sim.simulate(trace, config, PHASES, gpu=None).records
    waiting = sum(record.slots.operand_wait for record in records)
    assert found["all"] == pytest.approx(waiting / sum(record.slots.total for record in records))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"dram.controller_ns": 9000.0}, "DRAM latency"),
        ({"dram.channels": 1, "dram.transfers_gtps": 0.05}, "DRAM bandwidth"),
        ({"dram.preset": "ideal", "network.operand_bytes_per_cycle": 1}, "network"),
    ],
)
def test_the_one_at_fault_is_charged(trace: Trace, changes: dict[str, object], cause: str) -> None:
    found = shares(trace, **changes)
    assert found[cause] > 0.4  # the rest waits for outputs, which come late too
    assert found[cause] > 0.8 * found["all"]


def test_an_ideal_memory_and_network_leave_the_pes_to_each_other(trace: Trace) -> None:
    found = shares(trace, **{"dram.preset": "ideal", "network.operand_bytes_per_cycle": 0})
    assert found["DRAM latency"] == found["DRAM bandwidth"] == found["network"] == 0


def test_a_shared_fill_becomes_one_a_gang(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn-ideal", SMALL)
    before = prepare_phase(trace.layers[0], Phase.FORWARD, config, 3).schedule
    after = own_fills(before)
    used = [set(gang.fill.tolist()) for gang in after.gangs]
    assert sum(map(len, used)) == len(set().union(*used)) == len(after.fill_bytes)
    for old, new in zip(before.gangs, after.gangs, strict=True):
        assert before.fill_bytes[old.fill].tolist() == after.fill_bytes[new.fill].tolist()
    assert after.fill_dram_bytes.sum() == before.fill_dram_bytes.sum()
    assert run_fabric(after, config).cycles > 0


def test_a_phase_that_no_layer_has_is_refused(trace: Trace) -> None:
    blind = replace(trace, layers=[replace(trace.layers[0], gradient=None)])
    with pytest.raises(ConfigError, match="no layer of trace 'toy' can run dgrad"):
        operand_waits(blind, gscn_sim.load_config("gscn-ideal", SMALL), ("dgrad",))
