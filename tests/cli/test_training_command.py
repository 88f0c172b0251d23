"""``gscn-sim training`` on one iteration of the trace that ships."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

import workloads

SHIPPED = Path(str(resources.files("workloads.data").joinpath("resnet8_digits.npz")))


@pytest.fixture
def words(tmp_path: Path) -> tuple[object, ...]:
    loaded = workloads.load(SHIPPED)
    workloads.save(replace(loaded, layers=list(loaded.layers)[:7]), tmp_path / "one.npz")
    log = tmp_path / "log.csv"
    log.write_text("epoch,steps,density\n0,4,0.2\n1,4,0.2\n2,4,0.4\n")
    return ("training", tmp_path / "one.npz", "--log", log, "--gpu", "none", "--cache", "off", "-q")


def test_epochs_of_one_density_share_a_row(invoke, words):
    result = invoke(*words)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert any(line.split()[:5] == ["0", "to", "1", "8", "0.2000"] for line in lines)
    assert lines[-1].startswith("12 training steps of resnet8, batch 64, in 3 epochs on gscn: ")


def test_json_has_every_epoch(invoke, words):
    document = json.loads(invoke(*words, "--format", "json").stdout)
    assert [row["epoch"] for row in document["epochs"]] == [0, 1, 2]
    seconds = sum(row["gscn_seconds"] for row in document["epochs"])
    assert document["summary"]["gscn"]["seconds"] == pytest.approx(seconds)
    assert document["simulated_densities"] == [0.2, 0.4]


def test_bad_input_is_one_line(invoke, words, tmp_path):
    refused = invoke("training", tmp_path / "one.npz", "--log", tmp_path / "nowhere.csv", "-q")
    assert refused.exit_code == 2
    assert "nowhere.csv" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
