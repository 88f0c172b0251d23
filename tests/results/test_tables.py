"""Tables of records made by hand, whose every figure can be worked out on paper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

import gscn_sim.results.tables
from gscn_sim.config import Config, load_config
from gscn_sim.results.record import Activity, PhaseRecord, Slots
from gscn_sim.results.tables import (
    LAYER_COLUMNS,
    SUMMARY_COLUMNS,
    headline_row,
    layer_means,
    layer_table,
    limited_by,
    summarize,
    summary_table,
)
from gscn_sim.sweep.table import COLUMNS
from workloads import LayerShape, Phase

ROOT = Path(__file__).resolve().parents[2]
SHAPE = LayerShape(C=8, H=4, W=4, K=8, R=1, S=1)
CONFIG = load_config(
    "gscn",
    {
        "array.pe_rows": 1,
        "array.pe_cols": 1,
        "array.clock_ghz": 1.0,
        "pe.streamed_vector": 2,
        "pe.stationary_vector": 2,
    },
)


@dataclass
class FakeRun:
    records: tuple[PhaseRecord, ...]
    config: Config = CONFIG
    batch_size: int = 4
    gpu: str = "gtx-1080ti"
    gpu_model: str = "roofline"


def record(phase: str, *, cycles: int = 10, useful: int = 20, layer: str = "a", **changes):
    """A record of one PE with four multipliers; what is not useful is imbalance."""
    slots = Slots(useful=useful, imbalance=4 * cycles - useful)
    values = {
        "network": "toy",
        "iteration": 0,
        "layer": layer,
        "phase": Phase(phase),
        "shape": SHAPE,
        "dataflow": "cartesian",
        "mapping": "planar",
        "mapping_reason": "asked for",
        "batch_size": 1 if phase.startswith("pre") else 4,
        "samples_recorded": 2,
        "num_pes": 1,
        "multipliers": 4,
        "cycles": cycles,
        "dense_macs": 4096,
        "useful_products": useful,
        "steps": 7,
        "slots": slots,
        "activity": Activity(multiplications=useful, dram_read_bytes=64, dram_write_bytes=32),
        "compute_bound_cycles": 5,
        "dram_bound_cycles": 2,
        "pe_busy_cycles": (6,),
    }
    made = PhaseRecord(**{**values, **changes})
    made.check()
    return made


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
        return layers.assign(**times)

    monkeypatch.setattr(gscn_sim.results.tables, "predict", predict)


@pytest.mark.usefixtures("gpu_times")
def test_a_row_has_every_column_and_the_record_s_own_figures():
    run = FakeRun((record("dgrad"),))
    table = layer_table(run)
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
    row = layer_table(FakeRun((record("pre_wgrad"),))).iloc[0]
    assert math.isnan(row["gpu_seconds"])
    assert math.isnan(row["speedup"])
    assert row["batch_size"] == 4


@pytest.mark.usefixtures("gpu_times")
def test_summary_adds_up_phases_and_keeps_the_gpu_of_the_backward_pass():
    run = FakeRun(
        (
            record("dgrad", cycles=10),
            record("wgrad", cycles=20),
            record("pre_dgrad", cycles=5, useful=10),
            record("pre_wgrad", cycles=15, useful=30),
            record("wgrad", cycles=20, layer="b"),
        )
    )
    summary = summary_table(run)
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
    summary = summary_table(FakeRun(tuple(record(phase) for phase in phases)))
    assert list(summary["phase"]) == expected
    assert headline_row(summary)["phase"] == head


@pytest.mark.usefixtures("gpu_times")
def test_several_iterations_are_averaged_layer_by_layer():
    run = FakeRun(
        (
            record("dgrad", cycles=10, iteration=0),
            record("dgrad", cycles=20, iteration=5),
            record("dgrad", cycles=8, layer="b", iteration=0),
        )
    )
    means = layer_means(layer_table(run))
    assert list(means["cycles"]) == [15, 8]
    assert list(means["iterations"]) == [2, 1]
    row = summary_table(run).iloc[0]
    assert row["cycles"] == 23
    assert row["iterations"] == 2
    assert row["gpu_seconds"] == pytest.approx(4e-6)


@pytest.mark.usefixtures("gpu_times")
def test_a_layer_that_changes_its_mapping_between_iterations_is_mixed():
    run = FakeRun((record("dgrad"), record("dgrad", iteration=1, mapping="channel")))
    means = layer_means(layer_table(run))
    assert means.loc[0, "mapping"] == "mixed"
    assert means.loc[0, "dataflow"] == "cartesian"


@pytest.mark.usefixtures("gpu_times")
def test_a_saved_table_gives_the_same_summary(tmp_path):
    run = FakeRun((record("dgrad"), record("wgrad", cycles=31)))
    layer_table(run).to_csv(tmp_path / "t.csv", index=False)
    again = summarize(pd.read_csv(tmp_path / "t.csv"))
    pd.testing.assert_frame_equal(again, summary_table(run))


def limits(useful=0, dram=0, **lost):
    names = [name for name in LAYER_COLUMNS if name.startswith("slots_")]
    row = dict.fromkeys(names, 0) | {"slots_useful": useful}
    row |= {f"slots_{name}": value for name, value in lost.items()}
    return limited_by(row | {"dram_bound_cycles": dram, "cycles": 100})


@pytest.mark.parametrize(
    ("expected", "row"),
    [
        ("multipliers", {"useful": 90, "redundant": 10}),
        ("redundant", {"useful": 89, "redundant": 11}),
        ("fragmentation", {"useful": 50, "fragmentation": 30, "imbalance": 20}),
        ("operand_wait", {"operand_wait": 60, "imbalance": 40, "dram": 79}),
        ("dram", {"operand_wait": 60, "imbalance": 40, "dram": 80}),
        ("dram", {"output_wait": 60, "imbalance": 40, "dram": 95}),
        ("imbalance", {"operand_wait": 40, "imbalance": 60, "dram": 95}),
        ("multipliers", {}),
    ],
)
def test_limited_by_names_the_largest_loss(expected, row):
    assert limits(**row) == expected


def test_the_real_gpu_model_answers_for_every_phase_that_has_one():
    table = layer_table(FakeRun(tuple(record(phase) for phase in Phase)))
    known = table.set_index("phase")["gpu_seconds"].dropna()
    assert set(known.index) == {"forward", "dgrad", "wgrad"}
    assert (known > 0).all()


def test_every_column_is_defined_once_in_the_reference():
    text = (ROOT / "docs/reference/results.md").read_text(encoding="utf-8")
    defined = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert len(defined) == len(set(defined)), "a column is defined twice"
    expected = {*LAYER_COLUMNS, *SUMMARY_COLUMNS, *COLUMNS, "sweep", "point"}
    assert set(defined) == expected
