"""``resprop-train step``, the steps that ship, and the step in a training run's trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import workloads
from resprop_train.cli import main
from resprop_train.conversion import convert
from resprop_train.models import build_model
from resprop_train.step import trace_step
from workloads import Operation


def essence(operation: Operation) -> tuple[object, ...]:
    return (
        *(operation.phase, operation.kind, operation.name, operation.module, operation.layer),
        *(operation.layer_phase, operation.bytes_read, operation.bytes_written, operation.macs),
    )


@pytest.mark.parametrize(
    ("name", "batch"), [("resnet34", 16), ("vgg16-bn", 128), ("mobilenet", 16)]
)
def test_what_ships_is_what_is_recorded(name: str, batch: int) -> None:
    with torch.device("meta"):
        model = convert(build_model(name, channels=3, size=224, classes=1000))
    made = trace_step(model, (batch, 3, 224, 224), network=name).without("resprop")
    shipped = workloads.known_step(name, batch).without("resprop")
    assert [essence(o) for o in made.operations] == [essence(o) for o in shipped.operations]
    assert (made.input_shapes, made.optimizer) == (shipped.input_shapes, shipped.optimizer)


def test_command(tmp_path: Path) -> None:
    words = ["step", "--model", "resnet8", "--size", "32", "--classes", "10", "--batch-size", "4"]
    result = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "step.json.gz")])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("resnet8, batch 4, sgd-momentum: ")
    step = workloads.load_step(tmp_path / "step.json.gz")
    assert {o.kind for o in step.operations} >= {"convolution", "resprop", "optimizer"}
    dense = CliRunner().invoke(main, [*words, "--dense"])
    assert "resprop" not in dense.stdout
    wrong = CliRunner().invoke(main, [*words, "--optimizer", "lion"])
    assert wrong.exit_code == 2
    assert wrong.stderr == (
        "error: optimizer must be one of sgd, sgd-momentum, adam, adamw or a function, got 'lion'\n"
    )


def test_a_training_run_leaves_its_step_in_the_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.npz"
    words = "--dataset digits --epochs 1 --steps 4 --warmup-epochs 0 --batch-size 32 --clip-norm 1"
    result = CliRunner().invoke(main, [*words.split(), "--trace", str(trace)])
    assert result.exit_code == 0, result.output
    loaded = workloads.load(trace)
    assert loaded.step is not None
    assert (loaded.step.network, loaded.step.batch_size) == ("resnet8", 32)
    assert loaded.step.input_shapes == ((32, 1, 8, 8),)
    assert "_foreach_norm" in [o.name for o in loaded.step.operations if o.phase == "optimizer"]
    own = CliRunner().invoke(
        main, ["step", "--size", "8", "--channels", "1", "--classes", "10", "--trace", str(trace)]
    )
    assert own.exit_code == 0, own.output
    replaced = workloads.load(trace).step
    assert replaced is not None
    assert replaced.batch_size == 16
