"""The loop: schedules, determinism, resuming, and the errors it stops with."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from resprop_train.checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from resprop_train.conversion import reuse_layers
from resprop_train.data.source import Dataset, in_memory
from resprop_train.errors import TrainError
from resprop_train.logs import Logs
from resprop_train.recipe import PRESETS, Recipe
from resprop_train.trainer import Callback, StepReport, Trainer

DAMAGES = int(os.environ.get("DAMAGES", "60"))


def dataset(count: int = 40) -> Dataset:
    rng = np.random.default_rng(0)
    y = np.arange(count) % 4
    x = rng.normal(size=(count, 1, 6, 6)) + y[:, None, None, None]
    return in_memory("toy", (x, y), (x[:12], y[:12]), shift=1)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16, 4),
    )


def trainer(callbacks: list[Callback] | None = None, **settings: Any) -> Trainer:
    recipe = Recipe(**{"epochs": 3, "batch_size": 8, "warmup_epochs": 0.0} | settings)
    return Trainer(network(), dataset(), recipe, callbacks=callbacks or [])


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([t.detach().flatten().double() for t in trainer.model.state_dict().values()])


class Steps(Callback):
    def __init__(self) -> None:
        self.reports: list[StepReport] = []

    def on_step_end(self, trainer: Trainer, report: StepReport) -> None:
        self.reports.append(report)


class Killed(Exception):
    pass


class Kill(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer, report: StepReport) -> None:
        if trainer.step == self.step:
            raise Killed


def test_schedules_reach_the_layers() -> None:
    steps = Steps()
    run = trainer([steps], epochs=4, warmup_epochs=3.0, reuse_sparsity=0.75, rule="quantile")
    run.run()
    density = [report.layers[0].density for report in steps.reports]
    assert density[:4] == [1.0] * 4  # epochs 0 to 0.67 of 3 are dense
    assert density[4] == pytest.approx(0.8, abs=0.01)
    assert density[-1] == pytest.approx(0.25, abs=0.01)
    assert steps.reports[0].learning_rate == 0.1
    assert steps.reports[10].learning_rate == pytest.approx(0.05)
    assert run.after_warm_up.steps == 5
    assert run.after_warm_up.mean_density == pytest.approx(0.25, abs=0.01)


def test_dense_edges_of_an_epoch() -> None:
    steps = Steps()
    trainer([steps], dense_edges=True).run()
    reasons = [report.layers[0].dense_because for report in steps.reports]
    assert reasons == ["off", None, None, None, "off"] * 3


def test_training_is_deterministic_and_ordinary_training_differs() -> None:
    runs = [trainer(), trainer(), trainer(reuse_sparsity=None), trainer(seed=1)]
    for run in runs:
        run.run()
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0]), weights(runs[2]))
    assert not torch.equal(weights(runs[0]), weights(runs[3]))


def test_it_learns() -> None:
    run = trainer(epochs=15, learning_rate=0.02)
    reports = run.run()
    assert reports[-1].batch_accuracy > 0.6  # four classes
    assert len(reports) == 15


@pytest.mark.parametrize("rule", ["halve-double", "mean-density"])
@pytest.mark.parametrize("kill", [1, 3, 5, 8, 10, 15])
def test_a_killed_and_resumed_run_ends_with_the_same_bits(
    tmp_path: Path, rule: str, kill: int
) -> None:
    settings = {"rule": rule, "recalibrate": 2, "warmup_epochs": 1.0}
    whole = trainer(**settings)
    whole.run()
    path = tmp_path / "run.ckpt"
    # Kill comes first, so the last checkpoint is one from before the killed step.
    first = trainer([Kill(kill), Checkpoints(path, every=2)], **settings)
    with pytest.raises(Killed):
        first.run()
    torch.manual_seed(99)  # the generator's state comes from the checkpoint
    second = Trainer(network(5), dataset(), first.recipe)
    if path.exists():
        load_checkpoint(second, path)
        assert second.step == (kill - 1) // 2 * 2
    else:
        second = trainer(**settings)
    second.run()
    assert torch.equal(weights(whole), weights(second))
    assert whole.progress() == second.progress()
    for a, b in zip(whole.layers.values(), second.layers.values(), strict=True):
        assert a.rule.state_dict() == b.rule.state_dict()
        assert a.sample is not None
        assert b.sample is not None
        assert torch.equal(a.sample, b.sample)


def test_accumulation_takes_fewer_updates_and_the_same_gradient() -> None:
    """Two batches of 8 without batch-norm, dropout or reuse are one batch of 16."""
    results = []
    for batch_size, accumulate in ((16, 1), (8, 2)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 4)).double()
        recipe = Recipe(
            epochs=1,
            batch_size=batch_size,
            accumulate=accumulate,
            reuse_sparsity=None,
            max_steps=accumulate,
            lr_schedule="constant",
        )
        data = dataset(48)
        object.__setattr__(data.train, "shift", 0)
        run = Trainer(model, data, recipe)
        model.register_forward_pre_hook(lambda _, x: x[0].double())
        run.run()
        results.append(weights(run))
    assert torch.allclose(*results, rtol=1e-9)


def test_a_clipped_update_is_as_long_as_the_norm_and_a_short_one_stays() -> None:
    plain = {"max_steps": 1, "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 0.5}
    plain |= {"lr_schedule": "constant", "reuse_sparsity": None}

    def update(clip_norm: float | None) -> torch.Tensor:
        run = trainer(**plain, clip_norm=clip_norm)
        before = [p.detach().clone() for p in run.model.parameters()]
        run.run()
        after = run.model.parameters()
        pairs = zip(after, before, strict=True)
        return torch.cat([(a.detach() - b).flatten() for a, b in pairs])

    free, clipped = update(None), update(0.01)
    assert free.norm() > 0.5 * 0.01
    assert clipped.norm() == pytest.approx(0.5 * 0.01, rel=1e-3)
    assert torch.allclose(clipped / clipped.norm(), free / free.norm(), atol=1e-3)
    assert torch.equal(update(1e6), free)


def test_nan_loss_stops_with_a_clear_error() -> None:
    with pytest.raises(TrainError, match=r"step \d+: loss is (nan|inf); try a lower learning_rate"):
        trainer(learning_rate=1e20, lr_schedule="constant").run()


def test_amp_on_cpu_trains() -> None:
    run = trainer(amp=True, channels_last=True)
    run.run()
    assert math.isfinite(run.loss)
    assert all(r.sample.dtype == torch.bfloat16 for r in reuse_layers(run.model).values())


def test_tensorboard_event_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(TrainError, match="TensorBoard logs need the package tensorboard"):
            Logs(tmp_path, tensorboard=True)
    pytest.importorskip("tensorboard")
    with Logs(tmp_path, tensorboard=True) as logs:
        trainer([logs], max_steps=2).run()
    (events,) = tmp_path.glob("events.out.tfevents.*")
    content = events.read_bytes()
    assert b"train/density" in content
    assert b"test/accuracy" in content


def test_checkpoints_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    save_checkpoint(trainer(), path)
    other = Trainer(nn.Sequential(nn.Conv2d(1, 2, 3)), dataset(), Recipe(batch_size=8))
    with pytest.raises(TrainError, match=r"another model: 0.weight is \[4, 1, 3, 3\] there and"):
        load_checkpoint(other, path)
    with pytest.raises(TrainError, match=r"another run: learning_rate is 0\.1, not 0\.2"):
        load_checkpoint(trainer(learning_rate=0.2), path)
    load_checkpoint(trainer(max_steps=3), path)
    for content in (b"", b"no checkpoint", path.read_bytes()[:500]):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(TrainError, match="not a whole checkpoint of resprop-train"):
            load_checkpoint(trainer(), tmp_path / "bad")
    with pytest.raises(TrainError, match="cannot read checkpoint: No such file"):
        load_checkpoint(trainer(), tmp_path / "missing")
    torch.save({"weights": 1}, tmp_path / "foreign")
    with pytest.raises(TrainError, match="not a whole checkpoint"):
        load_checkpoint(trainer(), tmp_path / "foreign")


def test_no_damage_of_a_checkpoint_is_believed(tmp_path: Path, survived: Any) -> None:
    path = tmp_path / "run.ckpt"
    save_checkpoint(trainer(), path)
    assert torch.load(path, weights_only=True)["version"] == 2  # a plain file of torch.save still
    whole = path.read_bytes()
    random = np.random.default_rng(6)
    for number in range(DAMAGES):
        damaged = bytearray(whole)
        start = int(random.integers(len(whole)))
        match number % 4:
            case 0:
                damaged[start] ^= 1 << int(random.integers(8))
            case 1:
                damaged += b"x"
            case 2:
                del damaged[start : start + 5]
            case 3:
                damaged[start : start + 9] = random.bytes(len(damaged[start : start + 9]))
        path.write_bytes(damaged)
        fresh = trainer()
        before = weights(fresh)
        with pytest.raises(TrainError, match=r"damaged|not a whole checkpoint"):
            load_checkpoint(fresh, path)
        assert torch.equal(weights(fresh), before)
    survived("damage", "checkpoint", refused=DAMAGES)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TrainError, match="cannot read checkpoint: is not a regular file"):
        load_checkpoint(trainer(), path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.ckpt"
    path.write_bytes(b"older")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resprop_train.checkpoint.torch.save", full)
    with pytest.raises(TrainError, match="cannot write checkpoint: No space left on device"):
        save_checkpoint(trainer(), path)
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be an int of at least 1, got 0"),
        ({"epochs": True}, "epochs must be an int of at least 1, got True"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"reuse_sparsity": 90}, "for 90 percent write 0.9"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number, got 0.0"),
        ({"momentum": -1}, "momentum must be a non-negative number, got -1"),
        ({"lr_schedule": "warm"}, "lr_schedule must be one of constant, cosine, step, got 'warm'"),
        ({"rule": "x"}, "rule must be one of halve-double"),
        ({"warmup_epochs": -1.0}, "warmup_epochs must be at least 0"),
        ({"per_layer": {"a": 2}}, "for 2 percent write 0.02"),
        ({"max_steps": 0}, "max_steps must be an int of at least 1, got 0"),
    ],
)
def test_bad_recipes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainError) as error:
        Recipe(**settings)
    assert message in str(error.value)


def test_presets_are_valid_and_the_papers_is_the_published_one() -> None:
    for settings in PRESETS.values():
        Recipe(**settings)
    paper = Recipe(**PRESETS["paper"])
    assert (paper.epochs, paper.batch_size, paper.momentum, paper.weight_decay) == (
        *(90, 256, 0.9, 1e-4),
    )


def test_two_processes_train_the_same_weights(tmp_path: Path) -> None:
    """torchrun on two CPU processes: one summary, and a checkpoint that holds both reuse states."""
    path = tmp_path / "run.ckpt"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"),
        *("-m", "resprop_train", "--threads", "1", "--epochs", "1", "--steps", "4"),
        *("--batch-size", "32", "--warmup-epochs", "0", "--checkpoint", str(path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("resnet8 on digits") == 1
    content = torch.load(path, weights_only=True)
    (first, _), (second, _) = content["by_rank"]
    assert content["ranks"] == 2
    assert first["conv1"]["steps"] == second["conv1"]["steps"] == 4
    assert first["conv1"]["sample"].shape == second["conv1"]["sample"].shape
    assert not torch.equal(first["conv1"]["sample"], second["conv1"]["sample"])
