"""``gscn-sim step`` on one iteration of the trace that ships."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

import workloads
from workloads.work import backward_work

SHIPPED = Path(str(resources.files("workloads.data").joinpath("resnet8_digits.npz")))
KINDS = {
    *("convolution", "matmul", "normalisation", "activation", "addition", "pooling", "loss"),
    *("resprop", "optimizer", "cast", "other"),
}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded = workloads.load(SHIPPED)
    path = tmp_path_factory.mktemp("step") / "one.npz"
    workloads.save(replace(loaded, layers=list(loaded.layers)[:7]), path)
    return path


def test_the_table_ends_with_the_same_work_on_both_sides(invoke, trace):
    result = invoke("step", trace, "-q", "--node", "5")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-2].startswith("in 5 nm: ")
    assert lines[-2].endswith(" W of dynamic power, memory included")
    assert lines[-1].startswith("a whole training step of resnet8, batch 64, on gscn: ")
    assert " than gtx-1080ti and " in lines[-1]
    assert " than the dense array at the same operations; mind: " in lines[-1]
    density = backward_work(workloads.load(trace)).density
    assert f"gradients {100 * density:.3g} % dense, 10 % wanted" in lines[-1]
    assert "the GPU waits for its host 83 % of its time" in lines[-1]


def test_json_is_as_the_contract_says(invoke, trace):
    result = invoke("step", trace, "-q", "--format", "json")
    document = json.loads(result.stdout)
    assert set(document) >= {"summary", "operations", "speedup", "config", "provenance"}
    for row in document["summary"]:
        assert set(row) == {"machine", "phase", "seconds", "energy_j"}
    machines = {"gscn", "dense", "gpu"}
    assert {row["machine"] for row in document["summary"]} == machines
    assert {row["phase"] for row in document["summary"]} == {
        *("forward", "backward", "optimizer", "step")
    }
    assert {row["kind"] for row in document["operations"]} <= KINDS
    whole = {r["machine"]: r["seconds"] for r in document["summary"] if r["phase"] == "step"}
    for machine in machines:
        parts = [r["seconds"] for r in document["operations"] if r["machine"] == machine]
        assert whole[machine] == pytest.approx(sum(parts))
    assert document["speedup"] == {
        f"over_{machine}": pytest.approx(whole[machine] / whole["gscn"])
        for machine in ("dense", "gpu")
    }
    origin = document["provenance"]
    assert origin["trace"]["digest"] == workloads.load(trace).digest
    assert origin["gpu"] == "gtx-1080ti"
    assert origin["deploy"] == "standalone"
    assert result.stderr.strip() == document["headline"]


def test_csv_and_files_hold_the_table(invoke, trace, tmp_path):
    printed = invoke("step", trace, "-q", "--gpu", "none", "--format", "csv").stdout
    table = pd.read_csv(io.StringIO(printed))
    assert list(table) == ["machine", "phase", "kind", "seconds", "energy_j", "limited_by"]
    assert set(table["machine"]) == {"gscn", "dense"}
    out = tmp_path / "step.csv"
    assert invoke("step", trace, "-q", "--gpu", "none", "-o", out).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(out), table)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gpu", "nope"), "nope"),
        (("--deploy", "coprocessor", "--gpu", "none"), "a co-processor needs a GPU"),
        (("--batch", "3"), "no step of network 'resnet8' at batch 3 is known"),
        (("--step", "/nowhere.json.gz"), "/nowhere.json.gz"),
    ],
)
def test_bad_input_is_one_line(invoke, trace, words, message):
    result = invoke("step", trace, "-q", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
