"""Lifting limits: what is kept, what must not cost, and a machine whose only limit is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gscn_sim
from gscn_sim.errors import ConfigError
from gscn_sim.run.limits import ALL, LIFTS, NONE, Lift, balanced, limits
from gscn_sim.run.pipeline import prepare_phase
from workloads import Phase, Trace, layer_from_arrays

SMALL = {"array.pe_rows": 2, "array.pe_cols": 2}
PHASES = ("dgrad", "wgrad")


@pytest.fixture(scope="module")
def trace() -> Trace:
    rng = np.random.default_rng(4)
    layers = [
        layer_from_arrays(
            "conv",
            activation=rng.random((3, 8, 9, 9)) < 0.6,
            weight=np.ones((8, 8, 3, 3)),
            gradient=rng.random((3, 8, 9, 9)) < density,
            padding=(1, 1),
            iteration=iteration,
        )
        for iteration, density in enumerate((0.1, 0.5))
    ]
    return Trace(network="toy", batch_size=3, layers=layers)


def test_nothing_lifted_is_the_run(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn-ideal", SMALL)
    table = limits(trace, config, PHASES).set_index("lifted")
    run = gscn_sim.simulate(trace, config, PHASES, gpu=None)
    whole = run.summary.set_index("phase").loc["backward", "seconds"]
    assert table.loc[NONE, "seconds"] == pytest.approx(whole)
    assert list(table.index) == [NONE, *LIFTS, ALL]
    saved = table["saved_seconds"]
    assert saved.tolist() == pytest.approx((whole - table["seconds"]).tolist())
    assert table["saved_share"].tolist() == pytest.approx((saved / whole).tolist())
    assert table.loc[ALL, "seconds"] == table["seconds"].min()
    waiting = sum(sum(r.pe_stalled_cycles) for r in run.records) / sum(
        4 * r.cycles for r in run.records
    )  # for operands or outputs
    assert 0 < table.loc[NONE, "operand_wait_share"] <= waiting


def test_the_limit_that_binds_is_the_one_that_saves(trace: Trace) -> None:
    """Memory of 0.3 GB/s takes nearly all the time; on an ideal one a slow network does."""
    slow = gscn_sim.load_config(
        "gscn-ideal", SMALL | {"dram.channels": 1, "dram.transfers_gtps": 0.075}
    )
    share = limits(trace, slow, PHASES).set_index("lifted")["saved_share"]
    assert share["DRAM bandwidth"] > 0.8
    assert share["DRAM"] >= share["DRAM bandwidth"]
    assert max(share[["network", "drain", "bank conflicts", "imbalance"]]) < 0.1
    far = gscn_sim.load_config(
        "gscn-ideal", SMALL | {"dram.preset": "ideal", "network.operand_bytes_per_cycle": 1}
    )
    share = limits(trace, far, PHASES).set_index("lifted")["saved_share"]
    assert share["network"] > 0.8
    assert max(share[["DRAM bandwidth", "DRAM latency", "DRAM"]]) == 0


def test_even_work_is_the_same_work(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn-ideal", SMALL)
    for phase in (Phase.DGRAD, Phase.WGRAD):
        before = prepare_phase(trace.layers[0], phase, config, 3).schedule
        after = balanced(before, config)
        total = sum(int(gang.busy_cycles.sum()) for gang in before.gangs)
        for old, new in zip(before.gangs, after.gangs, strict=True):
            assert new.busy_cycles.shape == old.busy_cycles.shape
            assert (new.busy_cycles >= 0).all()
            assert abs(new.busy_cycles.sum(1) - total / config.num_pes).max() <= 0.5
            assert np.ptp(new.busy_cycles, axis=0).max() == 0


def test_a_lift_is_an_entry(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn-ideal", SMALL)
    mine = {"clock": Lift(means="twice the clock", changes={"array.clock_ghz": 2 * 1.582})}
    table = limits(trace, config.replace({"dram.preset": "ideal"}), PHASES, lifts=mine)
    assert table["lifted"].tolist() == [NONE, "clock", ALL]
    assert table["saved_share"].tolist() == pytest.approx([0, 0.5, 0.5])


def test_pre_phases_and_batches_count(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn-ideal", SMALL)
    reusing = replace(trace, reuse_sparsity=0.9)
    table = limits(reusing, config, batch_size=6, lifts={})
    run = gscn_sim.simulate(reusing, config, batch_size=6, gpu=None)
    whole = run.summary.set_index("phase").loc["backward_with_pre", "seconds"]
    assert table["seconds"].iloc[0] == pytest.approx(whole)


def test_a_phase_that_no_layer_has_is_refused(trace: Trace) -> None:
    only_forward = replace(trace, layers=[replace(x, gradient=None) for x in trace.layers])
    with pytest.raises(ConfigError, match="no layer of trace 'toy' can run dgrad"):
        limits(only_forward, gscn_sim.load_config("gscn-ideal", SMALL), ("dgrad",))
