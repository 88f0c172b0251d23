"""Checkpoints with everything a run depends on, written whole or not at all.

A checkpoint is a file of ``torch.save`` (a zip file) whose comment, at its end, is the SHA-256 of
all bytes before it. It is checked before anything is unpickled.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import torch

from resprop_train.errors import TrainError
from resprop_train.trainer import Callback, EpochReport, Trainer
from workloads.files import atomic_file, open_regular

VERSION = 2
MARK = b"resprop-checkpoint sha256 "
TRAILER_BYTES = len(MARK) + 64
MAY_DIFFER = ("max_steps", "evaluate_every")
"""Recipe settings that can change between the parts of a run without changing its weights."""


class Checkpoints(Callback):
    """Saves every so many steps (0: at the end of each epoch) and at the end."""

    def __init__(self, path: Path, every: int = 0) -> None:
        self.path = path
        self.every = every

    def on_step_end(self, trainer: Trainer, report: Any) -> None:
        """Save if it is time."""
        every = self.every or trainer.steps_per_epoch
        if trainer.step % every == 0 and trainer.step < trainer.total_steps:
            save_checkpoint(trainer, self.path)

    def on_end(self, trainer: Trainer) -> None:
        """Save the result."""
        save_checkpoint(trainer, self.path)


def save_checkpoint(trainer: Trainer, path: Path) -> None:
    """Write model, optimizer, reuse state of every process, schedules' position and generators.

    The order of the data needs no state of its own: it follows from seed, epoch and batch.

    Raises:
        TrainError: the file cannot be written; an older one is still there then.
    """
    reuse = {name: layer.state_dict() for name, layer in trainer.layers.items()}
    generators = _generators(trainer.device)
    by_rank: list[Any] = [(reuse, generators)]
    if trainer.ranks > 1:
        by_rank = [None] * trainer.ranks
        torch.distributed.all_gather_object(by_rank, (reuse, generators))
    if trainer.rank != 0:
        return
    content = {
        "format": "resprop-checkpoint",
        "version": VERSION,
        "ranks": trainer.ranks,
        "dataset": trainer.dataset.name,
        "recipe": asdict(trainer.recipe),
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "by_rank": by_rank,
        "progress": trainer.progress(),
    }
    try:
        with atomic_file(path) as file:
            torch.save(content, file)
            _sign(file)
    except (OSError, RuntimeError) as error:
        raise TrainError(f"{path}: cannot write checkpoint: {_reason(error)}") from None


def _sign(file: BinaryIO) -> None:
    """Append the digest of all that has been written, as the comment of a zip file."""
    file.seek(-2, os.SEEK_END)  # a zip file ends in the length of its comment, 0 so far
    file.write(TRAILER_BYTES.to_bytes(2, "little"))
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    file.write(MARK + digest.hexdigest().encode())


def _check_whole(file: BinaryIO, path: Path) -> None:
    """Raise TrainError unless the file ends in the digest of what it holds."""
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes < TRAILER_BYTES:
        raise TrainError(f"{path}: not a whole checkpoint of resprop-train")
    digest = hashlib.sha256()
    left = size_bytes - TRAILER_BYTES
    while left > 0:
        chunk = file.read(min(left, 1 << 20))
        if not chunk:
            break
        digest.update(chunk)
        left -= len(chunk)
    trailer = file.read()
    if not trailer.startswith(MARK):
        raise TrainError(
            f"{path}: not a whole checkpoint of resprop-train, or one of an earlier version, "
            "without a digest"
        )
    if not hmac.compare_digest(trailer, MARK + digest.hexdigest().encode()):
        raise TrainError(f"{path}: damaged: its content is not what its digest says")
    file.seek(0)


def _reason(error: BaseException) -> str:
    """What the system said; torch.save hides a full disk behind a RuntimeError of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return str(error).partition("\n")[0]


def load_checkpoint(trainer: Trainer, path: Path) -> None:
    """Put a trainer where the saved run was, so that it goes on as if never interrupted.

    Raises:
        TrainError: the file is missing or damaged, or belongs to another model, data set, number
            of processes or recipe; the trainer is unchanged then.
    """
    try:
        with open_regular(path) as file:
            _check_whole(file, path)
            content = torch.load(file, map_location="cpu", weights_only=True)
        if content["format"] != "resprop-checkpoint":
            raise KeyError
        if content["version"] != VERSION:
            raise TrainError(
                f"{path}: checkpoint version must be {VERSION}, got {content['version']}"
            )
    except OSError as error:
        raise TrainError(f"{path}: cannot read checkpoint: {error.strerror or error}") from None
    except (
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        if isinstance(error, TrainError):
            raise
        raise TrainError(f"{path}: not a whole checkpoint of resprop-train") from None
    _check_fits(trainer, content, path)
    trainer.model.load_state_dict(content["model"])
    trainer.optimizer.load_state_dict(content["optimizer"])
    trainer.scaler.load_state_dict(content["scaler"])
    reuse, generators = content["by_rank"][trainer.rank]
    for name, layer in trainer.layers.items():
        layer.load_state_dict(reuse[name])
    _set_generators(generators)
    progress = content["progress"]
    progress["reports"] = [EpochReport(**report) for report in progress["reports"]]
    trainer.load_progress(progress)


def _check_fits(trainer: Trainer, content: dict[str, Any], path: Path) -> None:
    ours, theirs = trainer.model.state_dict(), content["model"]
    for name in (*ours, *theirs):
        if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape:
            raise TrainError(
                f"{path}: checkpoint of another model: {name} is "
                f"{_shape(theirs, name)} there and {_shape(ours, name)} here"
            )
    recipe = asdict(trainer.recipe)
    pairs: dict[str, tuple[Any, Any]] = {"dataset": (content["dataset"], trainer.dataset.name)}
    pairs |= {"processes": (content["ranks"], trainer.ranks)}
    pairs |= {
        name: (content["recipe"].get(name), value)
        for name, value in recipe.items()
        if name not in MAY_DIFFER
    }
    for name, (there, here) in pairs.items():
        if there != here:
            raise TrainError(f"{path}: checkpoint of another run: {name} is {there}, not {here}")


def _shape(state: dict[str, Any], name: str) -> str:
    return str(list(state[name].shape)) if name in state else "missing"


def _generators(device: torch.device) -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_generators(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
