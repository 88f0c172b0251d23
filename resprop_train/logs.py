"""Logs of a run as CSV files and, on request, for TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from resprop_train.errors import TrainError
from resprop_train.trainer import Callback, EpochReport, StepReport, Trainer

STEP_COLUMNS = ("step", "epoch", "loss", "learning_rate", "density", "seconds")
EPOCH_COLUMNS = ("step", "epoch", "loss", "accuracy", "batch_accuracy", "mean_density")
LAYER_COLUMNS = (
    "step",
    "layer",
    "density",
    "fraction_reused",
    "threshold",
    "cosine",
    "dense_because",
)


class Logs(Callback):
    """Writes ``steps.csv``, ``epochs.csv`` and ``layers.csv`` into a folder.

    ``layers.csv`` has one row a layer and step: the density reached, the fraction of the gradient
    that is the reused one, the threshold, and, if measured, the cosine between gradient and hybrid
    gradient. A resumed run replaces the rows from its first step on. With ``tensorboard`` the same
    figures go to event files in that folder.

    Raises:
        TrainError: the folder cannot be written, or tensorboard is not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False, cosine: bool = False) -> None:
        self.folder = folder
        self.cosine = cosine
        self.board: Any = None
        self._stack = ExitStack()
        self._writers: dict[str, Any] = {}
        self._files: list[TextIO] = []
        for path in (folder / f"{name}.csv" for name in ("steps", "epochs", "layers")):
            if path.exists() and not path.is_file():
                raise TrainError(f"{path}: cannot write logs: not a regular file")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "steps.csv").touch()
        except OSError as error:
            raise TrainError(f"{folder}: cannot write logs: {error.strerror or error}") from None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise TrainError("TensorBoard logs need the package tensorboard") from None
            self.board = SummaryWriter(str(folder))

    def __enter__(self) -> Logs:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self.board is not None:
            self.board.close()

    def on_start(self, trainer: Trainer) -> None:
        """Open the files; keep the rows of the steps that are not taken again."""
        for name, columns in (
            ("steps", STEP_COLUMNS),
            ("epochs", EPOCH_COLUMNS),
            ("layers", LAYER_COLUMNS),
        ):
            path = self.folder / f"{name}.csv"
            old = _rows_before(path, trainer.step) if trainer.step else []
            file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115
            self._stack.enter_context(file)
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([row.get(column, "") for column in columns] for row in old)
            self._writers[name] = writer
            self._files.append(file)
        for layer in trainer.layers.values():
            layer.measure_cosine = self.cosine

    def on_step_end(self, trainer: Trainer, report: StepReport) -> None:
        """One row, and one for each layer."""
        self._writers["steps"].writerow(getattr(report, column) for column in STEP_COLUMNS)
        for layer in report.layers:
            self._writers["layers"].writerow(
                (
                    report.step,
                    layer.layer,
                    layer.density,
                    1.0 - layer.density,
                    layer.threshold,
                    "" if layer.cosine is None else layer.cosine,
                    layer.dense_because or "",
                )
            )
        if report.step % 10 == 0:
            self._flush()
        if self.board is not None:
            for column in STEP_COLUMNS[2:]:
                self.board.add_scalar(f"train/{column}", getattr(report, column), report.step)
            for layer in report.layers:
                self.board.add_scalar(f"density/{layer.layer}", layer.density, report.step)

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        """One row; everything so far reaches the disk."""
        self._writers["epochs"].writerow(getattr(report, column) for column in EPOCH_COLUMNS)
        self._flush()
        if self.board is not None:
            for column in ("accuracy", "batch_accuracy"):
                self.board.add_scalar(f"test/{column}", getattr(report, column), report.step)

    def _flush(self) -> None:
        for file in self._files:
            file.flush()


def _rows_before(path: Path, step: int) -> Iterable[dict[str, str]]:
    """Whole rows of earlier steps; the report of an epoch has the number of steps before it."""
    if not path.exists():
        return []
    last = step if path.name == "epochs.csv" else step - 1
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        row for row in rows if None not in row.values() and row["step"].isdecimal()
        and int(row["step"]) <= last
    ]  # fmt: skip
