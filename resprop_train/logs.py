"""Logs of a run as CSV files and, on request, for TensorBoard."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from resprop_train.errors import TrainError
from resprop_train.trainer import Callback, EpochReport, StepReport, Trainer
from workloads.errors import GscnWarning, reason
from workloads.files import atomic_file, open_regular
from workloads.sealed_text import DIGEST, first_damaged, following_digest, row_digest

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
    gradient. A resumed run replaces the rows from its first step on. Each row ends with a digest of
    itself and the rows before it. With ``tensorboard`` the same figures go to event files in that
    folder.

    Raises:
        TrainError: the folder cannot be written, or tensorboard is not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False, cosine: bool = False) -> None:
        self.folder = folder
        self.cosine = cosine
        self.board: Any = None
        self._stack = ExitStack()
        self._tables: dict[str, _Table] = {}
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
        """Open the files; keep the rows of the steps that are not taken again.

        Raises:
            TrainError: a table cannot be written, or holds something else or a damaged row.
        """
        for name, columns in (
            ("steps", STEP_COLUMNS),
            ("epochs", EPOCH_COLUMNS),
            ("layers", LAYER_COLUMNS),
        ):
            path = self.folder / f"{name}.csv"
            old = _rows_before(path, trainer.step, columns) if trainer.step else []
            try:
                self._tables[name] = _Table(path, columns, old)
            except OSError as error:
                raise TrainError(f"{path}: cannot write logs: {reason(error)}") from None
            self._stack.enter_context(self._tables[name].file)
        for layer in trainer.layers.values():
            layer.measure_cosine = self.cosine

    def on_step_end(self, trainer: Trainer, report: StepReport) -> None:
        """One row, and one for each layer."""
        self._tables["steps"].add(getattr(report, column) for column in STEP_COLUMNS)
        for layer in report.layers:
            self._tables["layers"].add(
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
        self._tables["epochs"].add(getattr(report, column) for column in EPOCH_COLUMNS)
        self._flush()
        if self.board is not None:
            for column in ("accuracy", "batch_accuracy"):
                self.board.add_scalar(f"test/{column}", getattr(report, column), report.step)

    def _flush(self) -> None:
        for table in self._tables.values():
            table.file.flush()


class _Table:
    """A table on disk that grows; each row ends with a digest of itself and those before it."""

    def __init__(self, path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self._digest = row_digest(columns)
        beginning = io.StringIO()
        self._writer = csv.writer(beginning, lineterminator="\n")
        self._writer.writerow([*columns, DIGEST])
        for row in rows:
            self.add(row)
        with atomic_file(path) as file:
            file.write(beginning.getvalue().encode("utf-8", "surrogateescape"))
        self.file = open(path, "a", newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = csv.writer(self.file, lineterminator="\n")

    def add(self, values: Iterable[object]) -> None:
        """Add a row."""
        cells = ["" if value is None else str(value) for value in values]
        self._digest = following_digest(self._digest, cells)
        self._writer.writerow([*cells, self._digest])


def _rows_before(path: Path, step: int, columns: Sequence[str]) -> list[list[str]]:
    """The rows of earlier steps; the report of an epoch has the number of steps before it.

    A last row that was cut off is left out, with a warning. Logs of version 0.2 have no digests.

    Raises:
        TrainError: the file is something else, or a row is not what was written.
    """
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8", "surrogateescape")
        reader = csv.reader(io.StringIO(text, newline=""))
        rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error) as error:
        raise TrainError(f"{path}: cannot be read as a log: {reason(error)}") from None
    if not rows:
        return []
    (_, header), *rows = rows
    if header == [*columns, DIGEST]:
        rows = [(where, row[:-1]) for where, row in _whole(columns, rows, text)]
    elif header != list(columns):
        raise TrainError(f"{path}: not a log of a training: its columns must be {list(columns)}")
    last = step if path.name == "epochs.csv" else step - 1
    return [
        row for _, row in rows
        if len(row) == len(columns) and row[0].isdecimal() and int(row[0]) <= last
    ]  # fmt: skip


Rows = list[tuple[str, list[str]]]


def _whole(columns: Sequence[str], rows: Rows, text: str) -> Rows:
    place = first_damaged(columns, [row for _, row in rows])
    if place is None:
        return rows
    where, _ = rows[place]
    if place == len(rows) - 1 and not text.endswith("\n"):
        warnings.warn(f"{where}: was cut off and is left out", GscnWarning, stacklevel=2)
        return rows[:-1]
    raise TrainError(
        f"{where}: is not what was written, or lines before it are missing; to go on without it "
        "and those after it, delete them, or name another folder for the log"
    )
