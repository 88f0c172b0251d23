"""``gscn-sim trace info --step`` and ``gscn-sim trace add-step``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import workloads

DATA = Path(workloads.__file__).parent / "data"


@pytest.fixture
def completed(invoke, tmp_path):
    made = tmp_path / "made.npz"
    result = invoke("trace", "add-step", DATA / "resnet34_q10.npz", "-o", made)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{made}: ")
    assert result.stdout.endswith(" operations of resnet34\n")
    return made


def test_a_step_by_class(invoke, completed):
    result = invoke("trace", "info", completed, "--step")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any(line.split()[:4] == ["forward", "convolution", "36", "58.61"] for line in lines)
    assert any(line.split()[:2] == ["backward", "resprop"] for line in lines)
    assert "optimizer               sgd-momentum" in lines
    assert "operations of resnet34" in invoke("trace", "info", completed).stdout


def test_every_operation_as_json_and_csv(invoke, completed):
    step = workloads.load(completed).step
    document = json.loads(invoke("trace", "info", completed, "--step", "--format", "json").stdout)
    assert document["step"]["batch_size"] == 16
    rows = document["operations"]
    assert [row["macs"] for row in rows] == [o.macs for o in step.operations]
    assert [row["bytes_read"] for row in rows] == [o.bytes_read for o in step.operations]
    assert [tuple(row["depends_on"]) for row in rows] == [o.depends_on for o in step.operations]
    lines = invoke("trace", "info", completed, "--step", "--format", "csv").stdout.splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[0].startswith("operation,phase,kind,name,module,use,layer_phase")


def test_a_step_from_a_file_or_by_name(invoke, tmp_path):
    for source in ("vgg16-bn", DATA / "steps" / "vgg16-bn_n128.json.gz"):
        made = tmp_path / "made.npz"
        result = invoke("trace", "add-step", DATA / "vgg16_q10.npz", "--step", source, "-o", made)
        assert result.exit_code == 0
        assert workloads.load(made).step.batch_size == (16 if source == "vgg16-bn" else 128)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", DATA / "resnet34_q10.npz", "--step"), "the trace has no step: gscn-sim trace"),
        (("add-step", DATA / "resnet20.npz"), "no step of network 'resnet20' at batch 128 is"),
        (
            ("add-step", DATA / "resnet34_q10.npz", "--step", "vgg16"),
            "layer 'conv1' is not in the step of vgg16",
        ),
    ],
)
def test_what_cannot_be_shown_or_completed(invoke, tmp_path, words, message):
    extra = ("-o", tmp_path / "o.npz") if words[0] == "add-step" else ()
    result = invoke("trace", *words, *extra)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {message}")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "o.npz").exists()
