"""Two runs beside each other: identities, and cases whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import gscn_sim
import workloads
from gscn_sim.compare.document import run_document
from gscn_sim.report.differences import CAUSES, Difference
from gscn_sim.report.sources import source_of_run
from workloads import GscnError

BASE = {"array.pe_rows": 2, "array.pe_cols": 2, "dram.preset": "ideal"}


@pytest.fixture(scope="module")
def trace():
    rng = np.random.default_rng(3)

    def sparse(density: float, *shape: int) -> np.ndarray:
        return ((rng.random(shape) < density) * 1.0).astype(np.float32)

    layers = [
        workloads.layer_from_arrays(
            name,
            activation=sparse(0.5, 2, 8, 8, 8),
            weight=sparse(1.0, 8, 8, 3, 3),
            gradient=sparse(density, 2, 8, 8, 8),
            padding=(1, 1),
        )
        for name, density in (("one", 0.1), ("two", 0.4))
    ]
    return workloads.Trace(network="pair", batch_size=2, layers=layers)


def run(trace, phases=("dgrad", "wgrad"), batch_size=None, **changes):
    config = gscn_sim.load_config("gscn-ideal").replace(
        BASE | {key.replace("__", "."): value for key, value in changes.items()}
    )
    found = gscn_sim.simulate(trace, config, phases, gpu=None, workers=0, batch_size=batch_size)
    return source_of_run(run_document(found))


@pytest.fixture(scope="module")
def base(trace):
    return run(trace)


def test_causes_add_up_to_the_difference(trace, base):
    difference = Difference(
        a=base, b=run(trace, pe__accumulator_banks=8, dram__preset="ddr4-2400", array__pe_rows=3)
    )
    layers, causes = difference.layers, difference.causes
    assert list(layers["layer"] + layers["phase"]) == [
        *("onedgrad", "onewgrad", "twodgrad", "twowgrad")
    ]
    parts = layers[[f"{cause}_seconds" for cause in CAUSES]]
    assert parts.sum(axis=1).to_numpy() == pytest.approx(
        (layers["b_seconds"] - layers["a_seconds"]).to_numpy(), rel=1e-9
    )
    for side, source in (("a", difference.a), ("b", difference.b)):
        assert causes[f"{side}_seconds"].sum() == pytest.approx(source.layers["seconds"].sum())
    whole = difference.phases.set_index("phase").loc["all"]
    assert causes["difference_seconds"].sum() == pytest.approx(whole["difference_seconds"])
    by_phase = causes[["dgrad", "wgrad"]].sum(axis=1).to_numpy()
    assert by_phase == pytest.approx(causes["difference_seconds"].to_numpy(), rel=1e-9, abs=1e-20)
    pd.testing.assert_series_equal(
        layers["speedup"], layers["a_seconds"] / layers["b_seconds"], check_names=False
    )


def test_a_clock_twice_as_fast_halves_every_cause(base, trace):
    fast = run(trace, array__clock_ghz=2 * float(base.config["array.clock_ghz"]))
    difference = Difference(a=base, b=fast)
    assert difference.layers["speedup"].to_numpy() == pytest.approx(2.0)
    causes = difference.causes
    assert causes["b_seconds"].to_numpy() == pytest.approx(causes["a_seconds"].to_numpy() / 2)
    assert difference.keys["key"].tolist() == ["array.clock_ghz"]
    assert difference.cautions == []  # as many multipliers, and both memories without an end


def test_the_largest_cause_is_in_the_direction_of_the_difference(trace, base):
    difference = Difference(a=base, b=run(trace, pe__accumulator_banks=4))
    assert set(difference.layers["cause"]) == {"bank_conflict"}
    assert (difference.layers["difference_seconds"] > 0).all()
    back = Difference(a=difference.b, b=base)
    assert set(back.layers["cause"]) == {"bank_conflict"}
    assert (back.layers["bank_conflict_seconds"] < 0).all()


def test_equal_runs_do_not_differ(base):
    difference = Difference(a=base, b=base)
    assert (difference.layers["difference_seconds"] == 0).all()
    assert set(difference.layers["cause"]) == {""}
    assert difference.keys.empty
    assert difference.cautions == []
    assert (difference.sizes["ratio"] == 1).all()


def test_unlike_sizes_are_said(trace, base):
    larger = run(trace, array__pe_rows=4, dram__preset="ddr4-2400")
    difference = Difference(a=run(trace, dram__preset="hbm2"), b=larger)
    sizes = difference.sizes.set_index("size")["ratio"]
    assert sizes["multipliers"] == 2.0
    assert 1 < sizes["area"] < 2
    (said,) = difference.cautions
    assert said.startswith("designs of unlike size: B has 2 times the multipliers, ")
    assert "times the DRAM bandwidth" in said
    bandwidth = Difference(a=larger, b=base).sizes.set_index("size")["ratio"]["DRAM bandwidth"]
    assert bandwidth == float("inf")


def test_unlike_work_is_said(trace, base):
    other = dataclasses.replace(trace, layers=list(trace.layers)[:1])
    said = Difference(a=base, b=run(other, batch_size=4)).cautions
    assert said == [
        "not the same trace",
        "not the same batch size: 2 and 4",
        "2 layer-phases that only A has are left out",
    ]


def test_nothing_in_common(trace):
    with pytest.raises(GscnError, match="no layer and phase is in both"):
        Difference(a=run(trace, ("dgrad",)), b=run(trace, ("wgrad",)))
