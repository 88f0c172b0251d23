"""``gscn-sim step``: what it prints, its timeline, and what it refuses in one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from test_step_run import N, small_step

import workloads
from gscn_sim.cli import main

MACHINE = ("--set", "array.pe_rows=2", "--set", "array.pe_cols=2", "--gpu", "none", "-q")


def step(*words: object) -> Result:
    return CliRunner().invoke(main, ["step", *(str(word) for word in words), *MACHINE])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    layer = workloads.layer_from_arrays(
        "conv",
        activation=rng.random((N, 4, 6, 6)) < 0.5,
        gradient=rng.random((N, 4, 6, 6)) < 0.2,
        weight=np.ones((4, 4, 3, 3)),
        padding=(1, 1),
    )
    found = tmp_path / "toy.npz"
    trace = workloads.Trace(network="toy", batch_size=N, layers=[layer], step=small_step())
    workloads.save(trace, found)
    return found


def edited(path: Path, tmp_path: Path, number: int, **changes: Any) -> Path:
    """The step's file with one operation changed."""
    made = tmp_path / "step.json.gz"
    workloads.save_step(small_step(), made)
    document = json.loads(gzip.decompress(made.read_bytes()))
    document["operations"][number] |= changes
    del document["digest"]  # as whoever edits a step does
    made.write_bytes(gzip.compress(json.dumps(document).encode()))
    return made


def test_bounds_resources_and_times_of_operations(path: Path) -> None:
    document = json.loads(step(path, "--format", "json").stdout)
    whole = next(
        row["seconds"]
        for row in document["summary"]
        if (row["machine"], row["phase"]) == ("gscn", "step")
    )
    assert all(0 <= bound <= whole for bound in document["bounds_seconds"].values())
    for row in document["resources"]:
        parts = [row[f"{what}_seconds"] for what in ("busy", "stalled", "idle")]
        assert sum(parts) == pytest.approx(whole)
    ours = [row for row in document["operations"] if row["machine"] == "gscn"]
    assert sum(row["seconds"] for row in ours) == pytest.approx(whole)
    assert max(row["end_seconds"] for row in ours) <= whole * (1 + 1e-9)
    lines = step(path).stdout.splitlines()
    assert any(line.startswith("no schedule of these operations is faster than:") for line in lines)
    assert any(line.split()[:2] == ["PE", "array"] for line in lines)


def test_policies_are_switches(path: Path) -> None:
    def took(*words: str) -> float:
        summary = json.loads(step(path, "--format", "json", *words).stdout)["summary"]
        return next(
            r["seconds"] for r in summary if r["phase"] == "step" and r["machine"] == "gscn"
        )

    assert took() < took("--set", "policy.overlap=false")
    alone = took("--set", "policy.overlap=false", "--set", "policy.prefetch=false")
    assert alone == took("--set", "policy.overlap=false")


def test_timeline(path: Path, tmp_path: Path) -> None:
    found = tmp_path / "step.json"
    assert step(path, "--timeline", found).exit_code == 0
    names = {event["name"] for event in json.loads(found.read_text())["traceEvents"]}
    assert {"bytes a microsecond", "busy PEs", "bytes in it", "addmm fc"} <= names


def test_a_graph_with_a_cycle(path: Path, tmp_path: Path) -> None:
    """Some operation of a cycle waits for a later one: that one is named."""
    result = step(path, "--step", edited(path, tmp_path, 1, depends_on=[0, 3]))
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "operation 1 (relu_): depends_on must hold earlier operations, 0 to 0, got 3" in line


def test_an_operation_without_a_rule(path: Path, tmp_path: Path) -> None:
    result = step(path, "--step", edited(path, tmp_path, 1, name="sort", priced=False))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "operation 1 (sort of relu): no rule tells what it costs" in line
