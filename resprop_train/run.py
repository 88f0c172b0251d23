"""One training run from names to a summary: what the command line does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resprop_train.callbacks import ProgressBar, RecordSteps, parse_steps
from resprop_train.capture import Recorder
from resprop_train.data import Dataset, load_dataset
from resprop_train.errors import TrainError
from resprop_train.models import MODELS, build_model
from resprop_train.recipe import Recipe
from resprop_train.trainer import Callback, Trainer, seeded_model


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """Which steps of a run go to which trace."""

    path: Path
    steps: str = "last"
    samples: int = 2
    values: bool = False


def train_once(
    model: str,
    dataset: str | Dataset,
    recipe: Recipe,
    *,
    device: str = "auto",
    recording: Recording | None = None,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train a model of that name and return a summary of plain values.

    Raises:
        TrainError: an unknown name or a setting that does not fit.
        TraceError: the trace cannot be written; found out before training.
    """
    if model not in MODELS:
        raise TrainError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
    data = load_dataset(dataset) if isinstance(dataset, str) else dataset
    channels, size, _ = data.shape
    network = seeded_model(
        lambda: build_model(model, channels=channels, size=size, classes=data.classes), recipe.seed
    )
    trainer = Trainer(network, data, recipe, device=choose_device(device), callbacks=callbacks)
    started = time.perf_counter()
    recorder = None
    with ExitStack() as stack:
        if recording is not None:
            if recipe.reuse_sparsity is None:
                raise TrainError("a trace needs ReSprop training: leave out --dense")
            steps = parse_steps(recording.steps, trainer)
            recorder = stack.enter_context(
                Recorder(
                    trainer.model,
                    recording.path,
                    samples=recording.samples,
                    values=recording.values,
                    network=model,
                    dataset=data.name,
                    reuse_sparsity=recipe.reuse_sparsity,
                    seed=recipe.seed,
                )
            )
            trainer.callbacks.append(RecordSteps(recorder, steps))
        if progress:
            trainer.callbacks.append(stack.enter_context(ProgressBar()))
        trainer.run()
    return summarise(trainer, model=model, seconds=time.perf_counter() - started) | {
        "trace": None if recorder is None else describe(recorder)
    }


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
        "batch_size": recipe.batch_size,
        "steps": trainer.step,
        "seed": recipe.seed,
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
