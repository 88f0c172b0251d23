"""One training run from names to a summary: what the command line does."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch

import workloads
from resprop_train.callbacks import ProgressBar, RecordSteps, parse_steps
from resprop_train.capture import Recorder
from resprop_train.checkpoint import Checkpoints, load_checkpoint
from resprop_train.data import Dataset, load_dataset
from resprop_train.errors import TrainError
from resprop_train.logs import Logs
from resprop_train.methods import find_method
from resprop_train.models import MODELS, build_model
from resprop_train.recipe import Recipe
from resprop_train.step_of_run import step_of_run
from resprop_train.trainer import Callback, Trainer, seeded_model


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """Which steps of a run go to which trace."""

    path: Path
    steps: str = "last"
    samples: int = 16
    values: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """What a run writes and continues from.

    ``checkpoint_every`` counts steps, 0 is the end of each epoch. With ``resume`` the run goes on
    from ``checkpoint``, if there is one already.
    """

    recording: Recording | None = None
    log: Path | None = None
    tensorboard: bool = False
    cosine: bool = False
    checkpoint: Path | None = None
    checkpoint_every: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        if self.resume and self.checkpoint is None:
            raise TrainError("resume needs the checkpoint to go on from")
        if (self.tensorboard or self.cosine) and self.log is None:
            raise TrainError("tensorboard and cosine need a folder for the log")
        if self.checkpoint_every < 0:
            raise TrainError(f"checkpoint_every must be at least 0, got {self.checkpoint_every}")


def train_once(
    model: str,
    dataset: str | Dataset,
    recipe: Recipe,
    *,
    data_folder: Path | None = None,
    device: str = "auto",
    files: Files | None = None,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train a model of that name and return a summary of plain values.

    Under ``torchrun`` each process trains its share of every batch; the first one evaluates,
    records and reports.

    Raises:
        TrainError: an unknown name or a setting that does not fit.
        TraceError: the trace cannot be written; found out before training.
    """
    files = files or Files()
    if model not in MODELS:
        raise TrainError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
    recording = files.recording
    if recording is not None and recipe.reuse_sparsity is None:
        raise TrainError("a trace needs ReSprop training: leave out --dense")
    where = join_processes(choose_device(device))
    data = load_dataset(dataset, data_folder) if isinstance(dataset, str) else dataset
    channels, size, _ = data.shape
    network = seeded_model(
        lambda: build_model(model, channels=channels, size=size, classes=data.classes), recipe.seed
    )
    trainer = Trainer(network, data, recipe, device=where, callbacks=callbacks)
    step = None if recording is None else step_of_run(trainer, model)
    if files.resume and files.checkpoint is not None and files.checkpoint.exists():
        load_checkpoint(trainer, files.checkpoint)
    started = time.perf_counter()
    recorder = None
    with ExitStack() as stack:
        if files.checkpoint is not None:
            check_writable(files.checkpoint)
            trainer.callbacks.append(Checkpoints(files.checkpoint, files.checkpoint_every))
        if trainer.rank == 0:
            if recording is not None:
                recorder = stack.enter_context(_recorder(trainer, recording, model))
                steps = parse_steps(recording.steps, trainer)
                trainer.callbacks.append(RecordSteps(recorder, steps))
            if files.log is not None:
                logs = Logs(files.log, tensorboard=files.tensorboard, cosine=files.cosine)
                trainer.callbacks.append(stack.enter_context(logs))
            if progress:
                trainer.callbacks.append(stack.enter_context(ProgressBar()))
        trainer.run()
    if recorder is not None and step is not None:
        workloads.add_step(recorder.path, step)
    if trainer.ranks > 1:
        torch.distributed.destroy_process_group()
    return summarise(trainer, model=model, seconds=time.perf_counter() - started) | {
        "trace": None if recorder is None else describe(recorder)
    }


def _recorder(trainer: Trainer, recording: Recording, model: str) -> Recorder:
    return Recorder(
        trainer.model,
        recording.path,
        samples=recording.samples,
        values=recording.values,
        quiet=True,
        network=model,
        dataset=trainer.dataset.name,
        reuse_sparsity=trainer.recipe.reuse_sparsity,
        seed=trainer.recipe.seed,
    )


def join_processes(device: torch.device) -> torch.device:
    """Under ``torchrun`` join the other processes; returns this one's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def check_writable(path: Path) -> None:
    """Raise TrainError unless a file can be made beside ``path``."""
    try:
        with TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise TrainError(f"{path}: cannot write: {error.strerror or error}") from None


def summarise(trainer: Trainer, *, model: str, seconds: float) -> dict[str, Any]:
    """What a finished run has to say, as plain values; fractions, not percent."""
    last = trainer.reports[-1] if trainer.reports else None
    recipe = trainer.recipe
    return {
        "model": model,
        "dataset": trainer.dataset.name,
        "train_pictures": len(trainer.dataset.train),
        "test_pictures": len(trainer.dataset.test),
        "device": str(trainer.device),
        "processes": trainer.ranks,
        "batch_size": recipe.batch_size,
        "steps": trainer.step,
        "seed": recipe.seed,
        "method": recipe.method,
        "extra_phases": find_method(recipe.method).extra_phases,
        "rule": recipe.rule,
        "seconds": seconds,
        "loss": trainer.loss,
        "accuracy": None if last is None else last.accuracy,
        "batch_accuracy": None if last is None else last.batch_accuracy,
        "reuse_sparsity": recipe.reuse_sparsity,
        "whole_run": trainer.whole_run.summary(),
        "after_warm_up": trainer.after_warm_up.summary(),
    }


def describe(recorder: Recorder) -> dict[str, Any]:
    """What was recorded."""
    return {
        "path": str(recorder.path),
        "iterations": recorder.iterations,
        "layers": len(recorder.layers),
        "samples": recorder.samples,
        "size_bytes": recorder.path.stat().st_size,
        "notes": recorder.recorded.notes(),
    }


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU if there is one.

    Raises:
        TrainError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise TrainError(f"device must be auto, cpu or a GPU that is there, got {name!r}") from None
    return device
