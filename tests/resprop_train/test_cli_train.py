"""The command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import workloads
from resprop_train.cli import main
from resprop_train.trainer import Trainer


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_train_record_and_report(tmp_path: Path) -> None:
    trace, summary = tmp_path / "t.npz", tmp_path / "s.json"
    result = run(
        *("--model", "resnet8", "--dataset", "digits", "--reuse-sparsity", "0.9"),
        *("--epochs", "3", "--batch-size", "32", "--trace", str(trace)),
        *("--record", "60-61,last:2", "--summary-json", str(summary)),
    )
    assert result.exit_code == 0, result.stderr
    figures = json.loads(summary.read_text())
    assert figures["accuracy"] > 0.5  # ten classes
    assert figures["trace"]["iterations"] == [60, 61, 133, 134]
    after = figures["after_warm_up"]
    assert after["steps"] == 90
    assert f"{after['reuse_sparsity']:.3f} reached (0.900 nominal)" in result.stdout
    assert f"{after['backward_work_reduction']:.2f}x less" in result.stdout
    assert f"accuracy    {figures['accuracy']:.1%}" in result.stdout
    # Work: conv1 has no dgrad, so the reduction is not just one over the density.
    bound = 1 / (after["mean_density"] + 1 / 32)
    assert 0.5 * bound < after["backward_work_reduction"] < 2 * bound
    loaded = workloads.load(trace)
    assert (loaded.network, loaded.dataset, loaded.seed) == ("resnet8", "digits", 0)
    assert loaded.reuse_sparsity == 0.9
    assert len(loaded.layers) == 4 * 7


def test_ordinary_training() -> None:
    result = run("--dense", "--epochs", "1", "--steps", "2", "--threads", "1")
    assert result.exit_code == 0, result.stderr
    assert "2 steps of batch 128" in result.stdout
    assert "reuse sparsity" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reuse-sparsity", "90"), "for 90 percent write 0.9"),
        (("--reuse-sparsity", "1"), "reuse_sparsity must be in [0, 1), got 1"),
        (("--reuse-sparsity", "many"), "not a valid float"),
        (("--model", "alexnet"), "model must be one of resnet8, resnet20, "),
        (("--dataset", "imagenet"), "dataset must be one of digits, "),
        (("--rule", "none"), "rule must be one of halve-double, "),
        (("--trace", "no/such/folder/t.npz"), "no such folder: "),
        (("--summary-json", "no/such/folder/s.json"), "no/such/folder/s.json: cannot write"),
        (("--trace", "t.npz", "--record", "9999"), "must name steps below the 330 of this run"),
        (("--trace", "t.npz", "--record", "soon"), "record must be like 0,100-103,last:8"),
        (("--layer", "conv1"), "layer must be like conv1=0.5, got 'conv1'"),
        (("--layer", "fc9=0.5"), "no layer 'fc9' to convert; there are conv1, layer1.0.conv1"),
        (("--trace", "t.npz", "--dense"), "a trace needs ReSprop training"),
        (("--batch-size", "1"), "batch_size must be at least 2, got 1"),
        (("--batch-size", "5000"), "at most the 1442 training pictures"),
        (("--clip-norm", "0"), "clip_norm must be a positive number, got 0"),
        (("--epochs", "0"), "epochs must be an int of at least 1, got 0"),
        (("--device", "tpu"), "device must be auto, cpu or a GPU that is there"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_bad_input_is_one_line_and_code_two(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_step", interrupted)
    result = run("--epochs", "1", "--threads", "1")
    assert result.exit_code == 130
    assert result.stderr.strip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "options", [("--trace", "file", "--record", "2-5"), ("--checkpoint", "file")]
)
def test_a_full_disk_is_one_line_and_the_older_file_stays(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "file").write_bytes(b"older")
    command = [sys.executable, "-m", "resprop_train", "--threads", "1", "--steps", "6"]
    command += ["--warmup-epochs", "0", "--evaluate-every", "0", *options]
    # Where coverage is measured, the child's own data would be too large as well.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        # No file may grow beyond 4 kB.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert re.fullmatch(
        r"error: file: cannot write (trace|checkpoint): File too large",
        done.stderr.strip().splitlines()[-1],
    )
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"older")]


def test_help_does_not_import_torch() -> None:
    code = "import sys, resprop_train.cli; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
