"""The tables that a training logs: whole, gone on with when it is resumed, and checked."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from test_trainer import Kill, Killed, trainer

from gscn_sim.step.training import read_epochs
from resprop_train.checkpoint import Checkpoints, load_checkpoint
from resprop_train.errors import TrainError
from resprop_train.logs import Logs
from workloads.errors import GscnWarning
from workloads.sealed_text import first_damaged


@pytest.mark.parametrize("name", ["steps.csv", "epochs.csv", "layers.csv"])
def test_a_pipe_as_a_log_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(TrainError, match=r"\.csv: cannot write logs: not a regular file"):
        Logs(tmp_path)


def test_logs_of_a_resumed_run_have_every_step_once(tmp_path: Path) -> None:
    path, log = tmp_path / "run.ckpt", tmp_path / "log"
    with Logs(log, cosine=True) as logs, pytest.raises(Killed):
        trainer([logs, Kill(9), Checkpoints(path, every=2)]).run()
    with Logs(log) as logs:
        second = trainer([logs])
        load_checkpoint(second, path)
        second.run()
    with open(log / "steps.csv") as file:
        steps = list(csv.DictReader(file))
    assert [int(row["step"]) for row in steps] == list(range(15))
    with open(log / "layers.csv") as file:
        layers = list(csv.DictReader(file))
    assert [(int(row["step"]), row["layer"]) for row in layers[:3]] == [
        (0, "0"),
        (0, "3"),
        (1, "0"),
    ]
    assert len(layers) == 30
    assert layers[0]["dense_because"] == "first"
    assert 0.5 < float(layers[2]["cosine"]) <= 1
    assert float(layers[2]["density"]) + float(layers[2]["fraction_reused"]) == pytest.approx(1)
    with open(log / "epochs.csv") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [5, 10, 15]


def logged(folder: Path, path: Path) -> None:
    with Logs(folder) as logs, pytest.raises(Killed):
        trainer([logs, Kill(9), Checkpoints(path, every=4)]).run()


def resumed(folder: Path, path: Path) -> None:
    with Logs(folder) as logs:
        second = trainer([logs])
        load_checkpoint(second, path)
        second.run()


@pytest.mark.parametrize("name", ["steps", "epochs", "layers"])
def test_a_resumed_run_checks_the_rows_of_its_log(tmp_path: Path, name: str) -> None:
    path, log = tmp_path / "run.ckpt", tmp_path / "log"
    logged(log, path)
    table = log / f"{name}.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], lines[1].replace(".", "1.", 1), *lines[2:]]))
    with pytest.raises(TrainError, match=rf"{name}.csv, line 2: is not what was written"):
        resumed(log, path)
    table.write_text("".join([lines[0], *lines[1:]]) + "9,torn")  # killed while it wrote
    with pytest.warns(GscnWarning, match=rf"{name}.csv, line {len(lines) + 1}: was cut off"):
        resumed(log, path)
    header, *rows = csv.reader(table.read_text().splitlines())
    assert header[-1] == "digest"
    assert first_damaged(header[:-1], rows) is None
    assert {row[0] for row in rows} == {
        "steps": {*map(str, range(15))},
        "layers": {*map(str, range(15))},
        "epochs": {"5", "10", "15"},
    }[name]
    table.write_text("epoch,density\n0,0.5\n")
    with pytest.raises(TrainError, match=rf"{name}.csv: not a log of a training"):
        resumed(log, path)


def test_logs_of_version_0_2_are_gone_on_with(tmp_path: Path) -> None:
    path, log = tmp_path / "run.ckpt", tmp_path / "log"
    logged(log, path)
    for name in ("steps", "epochs", "layers"):
        table = log / f"{name}.csv"
        table.write_text(
            "".join(line.rpartition(",")[0] + "\n" for line in table.read_text().splitlines())
        )
    resumed(log, path)
    assert read_epochs(log / "steps.csv")[-1].steps == 5
