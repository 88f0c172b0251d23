"""The accuracy study: its plan, its statistics, and that it can be interrupted."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from resprop_train import study
from resprop_train.cli import main
from resprop_train.errors import TrainError
from resprop_train.study import Outcome, Run, carry_out, plan, read_runs
from resprop_train.study_comparison import compare, interval

SETTINGS: dict[str, Any] = {
    "model": "resnet8",
    "dataset": "digits",
    "rule": "mean-density",
    "epochs": 1,
    "batch_size": 128,
    "learning_rate": 0.1,
    "clip_norm": 1.0,
    "reuse_sparsities": [0.5, 0.9],
    "warmup_epochs": 0.5,
    "seeds": 3,
}


def outcome(accuracy: float) -> Outcome:
    return Outcome(
        accuracy=accuracy,
        batch_accuracy=accuracy,
        mean_density=0.1,
        backward_work_reduction=9.0,
        whole_run_work_reduction=4.0,
        seconds=1.0,
    )


def test_plan_has_every_baseline_once() -> None:
    runs = plan(**SETTINGS)
    assert len(runs) == len(set(runs)) == 3 * (1 + 2 * 2)
    assert [run.seed for run in runs if run.reuse_sparsity is None] == [0, 1, 2]
    assert runs[0].reuse_sparsity is None
    assert len(plan(**SETTINGS, only_warm_up=True)) == 3 * (1 + 2)


def test_methods_and_splits_share_baselines() -> None:
    one = plan(**SETTINGS, only_warm_up=True, method="stochastic", density_margin=0.05)
    two = plan(**SETTINGS, only_warm_up=True, method="batch-sum")
    baselines = [{run for run in runs if run.reuse_sparsity is None} for runs in (one, two)]
    assert baselines[0] == baselines[1]
    assert {run.method for run in one} == {"", "stochastic"}
    held = plan(**SETTINGS, only_warm_up=True, validation=True, first_seed=100)
    assert {run.judged_on for run in held} == {"validation"}
    assert {run.seed for run in held} == {100, 101, 102}
    assert not set(held) & set(one)
    with pytest.raises(TrainError, match="method must be one of"):
        plan(**SETTINGS, method="best")


def test_several_processes_give_the_same_table(tmp_path: Path) -> None:
    settings = SETTINGS | {"reuse_sparsities": [0.9]}
    runs = plan(**settings, only_warm_up=True, method="stochastic")[:2]
    one = carry_out(runs, tmp_path / "one")
    two = carry_out(runs, tmp_path / "two", processes=2)
    assert set(one) == set(two) == set(runs)
    for run in runs:
        assert one[run].mean_density == two[run].mean_density
        assert one[run].accuracy == two[run].accuracy
    with pytest.raises(TrainError, match="processes must be at least 1, got 0"):
        carry_out(runs, tmp_path / "one", processes=0)


def test_interval_against_a_table_of_student_t() -> None:
    # t(0.975, 4 degrees of freedom) = 2.776; deviation of 1..5 is sqrt(2.5)
    mean, low, high = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0
    assert high - mean == pytest.approx(2.776 * (2.5**0.5) / 5**0.5, abs=2e-3)
    assert mean - low == pytest.approx(high - mean)


def test_losses_are_paired_by_seed() -> None:
    done: dict[Run, Outcome] = {}
    accuracies = {0: (0.90, 0.89), 1: (0.80, 0.80), 2: (0.70, 0.69)}
    for run in plan(**SETTINGS | {"reuse_sparsities": [0.9]}, only_warm_up=True):
        done[run] = outcome(accuracies[run.seed][run.reuse_sparsity is not None])
    (row,) = compare(done)
    assert row.seeds == 3
    assert row.baseline_accuracy == pytest.approx(0.8)
    assert row.loss_points == pytest.approx(2 / 3)
    # not the interval of the unpaired difference, which is ten times wider
    assert row.loss_points_high - row.loss_points < 2
    assert compare({run: o for run, o in done.items() if run.seed == 0}) == []


def test_an_interrupted_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Run] = []

    def train(run: Run, *_: object) -> Outcome:
        if len(trained) == 4:
            raise KeyboardInterrupt
        trained.append(run)
        return outcome(0.5 + run.seed / 10)

    monkeypatch.setattr(study, "_train", train)
    runs = plan(**SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        carry_out(runs, tmp_path)
    path = tmp_path / "accuracy_runs.csv"
    with open(path, "a") as file:
        file.write("resnet8,digits,mean-")  # what a kill in the middle of a row leaves
    first = list(trained)
    trained.clear()
    with pytest.raises(KeyboardInterrupt):
        carry_out(runs, tmp_path)
    assert first + trained == runs[:8]
    assert list(read_runs(path)) == runs[:8]
    with open(path) as file:
        assert all(None not in row.values() for row in csv.DictReader(file))


def test_a_foreign_table_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "accuracy_runs.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(TrainError, match="not a table of runs"):
        carry_out(plan(**SETTINGS), tmp_path)
    assert path.read_text() == "a,b\n1,2\n"


def test_command_writes_table_and_plot(tmp_path: Path) -> None:
    arguments = ["study", "--epochs", "1", "--seeds", "2", "--reuse-sparsity", "0.9"]
    arguments += ["--warmup-epochs", "0.5", "--only-warm-up", "-o", str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "accuracy.csv").write_text("# earlier command\nmodel\n")
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    assert re.search(r"^digits +mean-density +0\.90 ", result.stdout, re.MULTILINE)
    table = (tmp_path / "out" / "accuracy.csv").read_text().splitlines()
    assert table[0].startswith("# digest = ")
    assert table[1] == "# earlier command"
    assert table[2].startswith("# resprop-train ")
    (row,) = csv.DictReader(table[3:])
    assert int(row["seeds"]) == 2
    assert float(row["loss_points"]) == pytest.approx(
        100 * (float(row["baseline_accuracy"]) - float(row["accuracy"])), abs=1e-3
    )
    assert (tmp_path / "out" / "accuracy.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reuse-sparsity", "90"], "for 90 percent write 0.9"),
        (["--reuse-sparsity", "a"], "reuse_sparsity must be like 0.8,0.9, got 'a'"),
        (["--seeds", "1"], "seeds must be at least 2 for an interval, got 1"),
        (["--model", "lenet"], "model must be one of"),
        (["-o", "/proc/none"], "cannot be the folder of a study"),
    ],
)
def test_bad_input(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["study", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
