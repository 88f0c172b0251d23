"""``gscn-sim run`` from a trace file to tables and documents."""

from __future__ import annotations

import io
import json
import os
from importlib.resources import files

import pandas as pd
import pytest

import workloads
from gscn_sim.compare.tables import LAYER_COLUMNS

SMALL = ("--gpu", "roofline", "--set", "array.pe_rows=2", "--set", "array.pe_cols=2", "-q")


def test_table_has_units_headline_and_fits(invoke, toy_trace):
    result = invoke("run", toy_trace, *SMALL)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert lines[2].split()[-2:] == ["GPU", "over"]
    assert lines[-1].startswith("backward convolutions with their pre-phases on gscn: ")
    assert " than gtx-1080ti (roofline) and " in lines[-1]
    assert " than the dense array at the same convolutions; " in lines[-1]
    assert "% of multiplier slots useful; limited by " in lines[-1]
    assert result.stderr == ""


def test_json_has_summary_layers_config_provenance(invoke, toy_trace):
    result = invoke("run", toy_trace, *SMALL, "--format", "json")
    document = json.loads(result.stdout)
    assert list(document) == ["summary", "layers", "config", "provenance"]
    assert document["config"]["array.pe_rows"] == 2
    assert document["config"]["name"] == "gscn"
    assert document["provenance"]["trace"]["digest"] == workloads.load(toy_trace).digest
    assert document["provenance"]["versions"]["gscn-sim"]
    assert set(document["layers"][0]) == set(LAYER_COLUMNS)
    summary = document["summary"]
    assert summary["phase"] == "backward_with_pre"
    assert summary["cycles"] == sum(row["cycles"] for row in document["layers"])
    assert summary["phases"]["backward"]["cycles"] == sum(
        row["cycles"] for row in document["layers"] if row["phase"] in ("dgrad", "wgrad")
    )
    assert result.stderr.strip() == summary["headline"]


def test_csv_on_stdout_is_the_layer_table(invoke, toy_trace):
    result = invoke("run", toy_trace, *SMALL, "--format", "csv")
    table = pd.read_csv(io.StringIO(result.stdout))
    assert tuple(table.columns) == LAYER_COLUMNS
    assert list(zip(table["layer"], table["phase"], strict=True)) == [
        ("conv1", "wgrad"),
        ("conv1", "pre_wgrad"),
        ("conv2", "dgrad"),
        ("conv2", "wgrad"),
        ("conv2", "pre_dgrad"),
        ("conv2", "pre_wgrad"),
    ]
    slots = [name for name in table.columns if name.startswith("slots_")]
    assert (table[slots].sum(axis=1) == 4 * 16 * table["cycles"]).all()


def test_two_runs_write_equal_files(invoke, toy_trace, tmp_path):
    names = ("a.csv", "b.csv")
    for name in names:
        assert invoke("run", toy_trace, *SMALL, "-o", tmp_path / name).exit_code == 0
    first, second = ((tmp_path / name).read_bytes() for name in names)
    assert first == second
    origin = json.loads((tmp_path / "a.csv.provenance.json").read_text())
    assert list(origin) == ["summary", "config", "provenance"]


def test_output_keeps_the_table_on_stdout(invoke, toy_trace, tmp_path):
    result = invoke("run", toy_trace, *SMALL, "-o", tmp_path / "run.json")
    assert "Where the multiplier slots went" in result.stdout
    document = json.loads((tmp_path / "run.json").read_text())
    assert list(document) == ["summary", "layers", "config", "provenance", "digest"]


@pytest.mark.parametrize(
    ("phases", "expected"),
    [("forward", {"forward"}), ("dgrad,wgrad", {"dgrad", "wgrad"}), ("pre_wgrad", {"pre_wgrad"})],
)
def test_phases_are_those_asked_for(invoke, toy_trace, phases, expected):
    result = invoke("run", toy_trace, *SMALL, "--format", "csv", "--phase", phases)
    assert set(pd.read_csv(io.StringIO(result.stdout))["phase"]) == expected


def test_batch_scales_the_work(invoke, toy_trace):
    def dense(batch: int) -> int:
        words = (*SMALL, "--format", "csv", "--phase", "wgrad", "--batch", batch)
        table = pd.read_csv(io.StringIO(invoke("run", toy_trace, *words).stdout))
        assert set(table["batch_size"]) == {batch}
        return int(table["dense_macs"].sum())

    assert dense(8) == 4 * dense(2)


def test_a_gpu_of_ones_own_is_a_file(invoke, toy_trace, tmp_path):
    mine = tmp_path / "mine.toml"
    shipped = files("gscn_sim.gpu.data") / "p100.toml"
    mine.write_text(shipped.read_text(encoding="utf-8"))
    answers = [
        json.loads(invoke("run", toy_trace, *SMALL, *words, "--format", "json").stdout)
        for words in (("--gpu", "roofline:p100"), ("--gpu", f"roofline:{mine}"))
    ]
    theirs, ours = (answer["layers"] for answer in answers)
    assert [row["gpu_seconds"] for row in ours] == [row["gpu_seconds"] for row in theirs]
    assert [row["gpu_seconds_low"] for row in ours] == [None] * len(ours)
    assert answers[1]["provenance"]["gpu"] == f"{mine} (roofline)"
    refused = invoke("run", toy_trace, *SMALL, "--gpu", mine)
    assert refused.exit_code == 2
    assert "device mine has no fitted coefficients" in refused.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config", "nope"), "unknown preset 'nope'"),
        (("--set", "pe.accumulator_banks=0"), "pe.accumulator_banks must be a positive int, got 0"),
        (("--set", "pe.bank_queue_ports=-1"), "pe.bank_queue_ports must be a non-negative int"),
        (("--set", "pe.gather_fragments=5"), "pe.gather_fragments must be at most pe.stationary_v"),
        (("--set", "pe.bank_queue_ports=12"), "pe.bank_queue_depth must be 0 or at least"),
        (("--set", "pe.accumulator_banks"), "--set must be KEY=VALUE"),
        (("--set", "pe.banks=3"), "unknown key 'pe.banks'"),
        (("--phase", "backward"), "--phase must be one or more of forward, dgrad"),
        (("--phase", "dgrad,dgrad"), "--phase must name each phase once"),
        (("--gpu", "gtx-9999"), "GPU device must be one of"),
        (("--gpu", "roofline:nope"), "GPU device must be one of"),
        (("--gpu", "mine.toml"), "mine.toml: cannot be read as a TOML file: No such file"),
        (("--batch", "0"), "'--batch'"),
        (("--format", "xml"), "'--format'"),
        (("-o", "x.xlsx"), "x.xlsx: a table's name must end in .csv, .parquet, .json"),
        (("-o", "x.csv", "--format", "json"), "x.csv: --format json contradicts"),
        (("-o", "/nowhere/x.csv"), "/nowhere/x.csv"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(invoke, toy_trace, tmp_path, words, message):
    before = sorted(os.listdir(tmp_path))
    gpu = () if "--gpu" in words else ("--gpu", "roofline")
    result = invoke("run", toy_trace, "-q", *gpu, *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_a_missing_trace_is_named(invoke):
    result = invoke("run", "no/such.npz", *SMALL)
    assert result.exit_code == 2
    assert "no/such.npz" in result.stderr


def test_a_phase_that_no_layer_can_run(invoke, tmp_path, toy_trace):
    first = list(workloads.load(toy_trace).layers)[:1]
    path = tmp_path / "first.npz"
    workloads.save(workloads.Trace(network="t", batch_size=2, layers=first), path)
    result = invoke("run", path, *SMALL, "--phase", "dgrad")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
