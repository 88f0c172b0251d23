"""Tables of records made by hand with a GPU beside them: every figure worked out on paper."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.records import SHAPE, FakeSimulation, record

import gscn_sim.compare.gpu_times
import workloads
from gscn_sim import load_config
from gscn_sim.compare.comparison import Comparison
from gscn_sim.compare.tables import LAYER_COLUMNS, SUMMARY_COLUMNS, layer_means, summarize
from gscn_sim.results.cautions import gpu_caution
from gscn_sim.results.record import PhaseRecord
from gscn_sim.results.tables import headline_row
from gscn_sim.run.simulate import simulate
from gscn_sim.sweep.table import COLUMNS
from workloads import Phase

IDEAL = {"dram.preset": "ideal", "network.operand_bytes_per_cycle": 0, "drain.entries_per_cycle": 0}
ROOT = Path(__file__).resolve().parents[2]


def run_of(records: tuple[PhaseRecord, ...], gpu: str | None = "gtx-1080ti") -> Comparison:
    simulation = FakeSimulation(tuple(records))
    return Comparison(simulation=simulation, gpu=gpu, gpu_model="roofline")


@pytest.fixture
def gpu_times(monkeypatch):
    """A GPU that needs 1 us forward, 2 us for dgrad, 3 us for wgrad, 20 % more or less."""

    def predict(layers, *, device, model):
        assert list(layers["N"]) == [4] * len(layers)
        times = {}
        for phase, milliseconds in (("forward", 1e-3), ("dgrad", 2e-3), ("wgrad", 3e-3)):
            times[f"{phase}_ms"] = milliseconds
            times[f"{phase}_low_ms"] = 0.8 * milliseconds
            times[f"{phase}_high_ms"] = 1.2 * milliseconds
        return layers.assign(gpu_note="", **times)

    monkeypatch.setattr(gscn_sim.compare.gpu_times, "predict", predict)
    gscn_sim.compare.gpu_times._predicted.cache_clear()
    yield
    gscn_sim.compare.gpu_times._predicted.cache_clear()


@pytest.mark.usefixtures("gpu_times")
def test_a_row_has_every_column_and_the_record_s_own_figures():
    run = run_of((record("dgrad"),))
    table = run.table
    assert tuple(table.columns) == LAYER_COLUMNS
    row = table.iloc[0]
    assert row["cycles"] == 10
    assert row["seconds"] == pytest.approx(10e-9)
    assert row["utilization"] == 0.5
    assert row["dram_read_bytes"] == 64
    assert row["gpu_seconds"] == pytest.approx(2e-6)
    assert row["speedup"] == pytest.approx(200)
    assert row["speedup_low"] == pytest.approx(160)
    assert row["speedup_high"] == pytest.approx(240)
    assert sum(row[name] for name in LAYER_COLUMNS if name.startswith("slots_")) == 40
    assert 0 < row["energy_dram_j"] < row["energy_j"]
    assert table["cycles"].dtype == "int64"


@pytest.mark.usefixtures("gpu_times")
def test_a_pre_phase_has_no_gpu_time_and_the_training_batch():
    row = run_of((record("pre_wgrad"),)).table.iloc[0]
    assert math.isnan(row["gpu_seconds"])
    assert math.isnan(row["speedup"])
    assert row["batch_size"] == 4


@pytest.mark.usefixtures("gpu_times")
def test_summary_adds_up_phases_and_keeps_the_gpu_of_the_backward_pass():
    run = run_of(
        (
            record("dgrad", cycles=10),
            record("wgrad", cycles=20),
            record("pre_dgrad", cycles=5, useful=10),
            record("pre_wgrad", cycles=15, useful=30),
            record("wgrad", cycles=20, layer="b"),
        )
    )
    summary = run.summary
    assert tuple(summary.columns) == SUMMARY_COLUMNS
    rows = {row["phase"]: row for _, row in summary.iterrows()}
    phases = ["dgrad", "wgrad", "pre_dgrad", "pre_wgrad"]
    assert list(rows) == [*phases, "backward", "backward_with_pre"]
    assert rows["backward"]["cycles"] == 50
    assert rows["backward_with_pre"]["cycles"] == 70
    assert rows["backward"]["layers"] == 2
    for name in ("backward", "backward_with_pre"):
        assert rows[name]["gpu_seconds"] == pytest.approx(2e-6 + 3e-6 + 3e-6)
    assert rows["backward"]["speedup"] == pytest.approx(8e-6 / 50e-9)
    assert rows["backward_with_pre"]["speedup_low"] == pytest.approx(0.8 * 8e-6 / 70e-9)
    assert rows["backward"]["utilization"] == pytest.approx(60 / 200)
    # Dense work is that of ordinary back-propagation: the pre-phases are work, not savings.
    assert rows["backward"]["work_reduction"] == pytest.approx(3 * 4096 / 60)
    assert rows["backward_with_pre"]["work_reduction"] == pytest.approx(3 * 4096 / 100)
    assert math.isnan(rows["pre_dgrad"]["work_reduction"])
    assert math.isnan(rows["pre_dgrad"]["speedup"])
    assert headline_row(summary)["phase"] == "backward_with_pre"


@pytest.mark.usefixtures("gpu_times")
@pytest.mark.parametrize(
    ("phases", "expected", "head"),
    [
        (("dgrad",), ["dgrad"], "dgrad"),
        (("forward", "dgrad"), ["forward", "dgrad"], "forward"),
        (("dgrad", "wgrad"), ["dgrad", "wgrad", "backward"], "backward"),
        (("wgrad", "pre_wgrad"), ["wgrad", "pre_wgrad"], "wgrad"),
    ],
)
def test_a_backward_row_needs_both_its_phases(phases, expected, head):
    summary = run_of(tuple(record(phase) for phase in phases)).summary
    assert list(summary["phase"]) == expected
    assert headline_row(summary)["phase"] == head


@pytest.mark.usefixtures("gpu_times")
def test_several_iterations_are_averaged_layer_by_layer():
    run = run_of(
        (
            record("dgrad", cycles=10, iteration=0),
            record("dgrad", cycles=20, iteration=5),
            record("dgrad", cycles=8, layer="b", iteration=0),
        )
    )
    means = layer_means(run.table)
    assert list(means["cycles"]) == [15, 8]
    assert list(means["iterations"]) == [2, 1]
    row = run.summary.iloc[0]
    assert row["cycles"] == 23
    assert row["iterations"] == 2
    assert row["gpu_seconds"] == pytest.approx(4e-6)


@pytest.mark.usefixtures("gpu_times")
def test_a_layer_that_changes_its_mapping_between_iterations_is_mixed():
    run = run_of((record("dgrad"), record("dgrad", iteration=1, mapping="channel")))
    means = layer_means(run.table)
    assert means.loc[0, "mapping"] == "mixed"
    assert means.loc[0, "dataflow"] == "cartesian"


@pytest.mark.usefixtures("gpu_times")
def test_a_saved_table_gives_the_same_summary(tmp_path):
    run = run_of((record("dgrad"), record("wgrad", cycles=31)))
    run.table.to_csv(tmp_path / "t.csv", index=False)
    again = summarize(pd.read_csv(tmp_path / "t.csv"))
    pd.testing.assert_frame_equal(again, run.summary)


def test_the_real_gpu_model_answers_for_every_phase_that_has_one():
    table = run_of(tuple(record(phase) for phase in Phase)).table
    known = table.set_index("phase")["gpu_seconds"].dropna()
    assert set(known.index) == {"forward", "dgrad", "wgrad"}
    assert (known > 0).all()


def test_every_column_is_defined_once_in_the_reference():
    text = (ROOT / "docs/reference/results.md").read_text(encoding="utf-8")
    defined = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert len(defined) == len(set(defined)), "a column is defined twice"
    expected = {*LAYER_COLUMNS, *SUMMARY_COLUMNS, *COLUMNS, "sweep", "point"}
    assert set(defined) == expected


def test_without_a_gpu_its_columns_are_empty_and_the_machine_s_are_as_ever():
    records = (record("dgrad"), record("wgrad", cycles=30))
    alone, beside = run_of(records, gpu=None), run_of(records)
    for left, right in ((alone.table, beside.table), (alone.summary, beside.summary)):
        gpu = [
            name
            for name in right.columns
            if name.startswith(("gpu_", "speedup")) and name != "speedup_over_dense"
        ]
        empty = left[gpu].replace({"gpu_note": {"": np.nan}})
        assert empty.isna().all(axis=None)
        pd.testing.assert_frame_equal(left.drop(columns=gpu), right.drop(columns=gpu))
    assert " than " in alone.headline
    assert "than gtx-1080ti" not in alone.headline


def test_the_dense_array_runs_the_same_convolutions_at_its_bound():
    """4,096 products on four multipliers at 1 GHz; pre-phases are no part of ordinary training."""
    run = run_of((record("dgrad"), record("pre_dgrad")))
    assert run.table["dense_seconds"].tolist()[0] == pytest.approx(1024e-9)
    assert run.table["speedup_over_dense"].tolist()[0] == pytest.approx(102.4)
    assert run.table[["dense_seconds", "speedup_over_dense"]].iloc[1].isna().all()


@pytest.mark.parametrize(
    ("metadata", "density", "said"),
    [
        ({"reuse_sparsity": 0.9}, 0.1, ""),
        ({"reuse_sparsity": 0.9}, 0.109, ""),
        ({"reuse_sparsity": 0.9}, 0.15, "; mind: gradients 15 % dense, 10 % wanted"),
        ({"reuse_sparsity": 0.9}, 0.05, "; mind: gradients 5 % dense, 10 % wanted"),
        ({}, 0.5, ""),
        ({"epoch": 3}, 0.5, ""),
        ({"epoch": 0}, 0.5, "; mind: first epoch of training (to iteration 70)"),
    ],
)
def test_a_headline_says_what_it_rests_on(metadata, density, said):
    records = (
        record("dgrad", gradient_density=density, iteration=50),
        record("dgrad", gradient_density=density, iteration=70),
    )
    simulation = FakeSimulation(records, trace_metadata=metadata)
    headline = Comparison(simulation=simulation, gpu="gtx-1080ti", gpu_model="roofline").headline
    assert headline.partition("; mind")[2] == said.partition("; mind")[2]


def test_density_in_a_headline_is_weighted_by_multiply_adds():
    few = record("dgrad", gradient_density=0.9, dense_macs=4096, layer="a")
    many = record("dgrad", gradient_density=0.1, dense_macs=40960, layer="b")
    simulation = FakeSimulation((few, many), trace_metadata={"reuse_sparsity": 0.9})
    headline = Comparison(simulation=simulation, gpu=None).headline
    assert headline.endswith("; mind: gradients 17.3 % dense, 10 % wanted")  # (0.9 + 10 * 0.1) / 11


def test_a_headline_says_which_layers_the_gpu_never_measured():
    assert gpu_caution([(3.0, ""), (1.0, "depthwise was not measured")]) == [
        "GPU not measured on the like of 1 of 2 layers (25 %)"
    ]
    assert gpu_caution([(3.0, "")]) == []
    wide = dataclasses.replace(SHAPE, C=100_000)
    run = Comparison(simulation=FakeSimulation((record("wgrad", shape=wide),)))
    assert run.headline.endswith("; mind: GPU not measured on the like of 1 of 1 layers (100 %)")


def test_each_iteration_has_its_own_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 4 and 2 on a GPU that takes a microsecond a sample: 3 samples, 3 us on average.

    The dense machine takes 16 outputs x 3 filters x 6 steps a sample (test_dense.py).
    """

    def predict(layers, *, device, model):
        return layers.assign(gpu_note="", forward_ms=1e-3 * layers["N"])

    monkeypatch.setattr(gscn_sim.compare.gpu_times, "predict", predict)
    gscn_sim.compare.gpu_times._predicted.cache_clear()
    layers = [
        workloads.layer_from_arrays(
            "layer",
            activation=np.ones((1, 10, 8, 8)),
            weight=np.ones((3, 10, 3, 3)),
            padding=(1, 1),
            iteration=iteration,
            batch_size=batch,
        )
        for iteration, batch in ((0, None), (1, 2))
    ]
    trace = workloads.Trace(network="toy", batch_size=4, layers=layers)
    config = load_config("dense", IDEAL | {"array.pe_rows": 2, "array.pe_cols": 2})
    own = Comparison(simulation=simulate(trace, config, ["forward"], workers=0))
    assert list(own.table["batch_size"]) == [4, 2]
    assert list(own.table["cycles"]) == [4 * 288, 2 * 288]
    assert list(own.table["gpu_seconds"]) == pytest.approx([4e-6, 2e-6])
    row = own.summary.iloc[0]
    assert (row["batch_size"], row["cycles"]) == (3, 3 * 288)
    assert row["gpu_seconds"] == pytest.approx(3e-6)
    assert own.batch_size == 3
    given = Comparison(simulation=simulate(trace, config, ["forward"], batch_size=8, workers=0))
    assert list(given.table["batch_size"]) == [8, 8]
    assert given.summary["batch_size"].dtype == "int64"
    assert given.summary["cycles"].iloc[0] == 8 * 288
    gscn_sim.compare.gpu_times._predicted.cache_clear()
