"""Callbacks of the training loop: progress, and recording chosen iterations."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from resprop_train.capture import Recorder
from resprop_train.errors import TrainError
from resprop_train.trainer import Callback, EpochReport, StepReport, Trainer


class ProgressBar(Callback):
    """Steps done, time left, loss, density and accuracy on stderr; use as a context manager."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=Console(stderr=True),
        )
        self.task: TaskID | None = None
        self.accuracy = ""

    def __enter__(self) -> ProgressBar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def on_start(self, trainer: Trainer) -> None:
        """Begin, possibly in the middle."""
        self.task = self.progress.add_task(
            "", total=trainer.total_steps, completed=trainer.step, status=""
        )

    def on_step_end(self, trainer: Trainer, report: StepReport) -> None:
        """Advance."""
        assert self.task is not None
        status = f"loss {report.loss:.3f}  density {report.density:.3f}{self.accuracy}"
        self.progress.update(self.task, completed=trainer.step, status=status)

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        """Remember the accuracy."""
        self.accuracy = f"  accuracy {100 * report.accuracy:.1f} %"


class RecordSteps(Callback):
    """Records chosen steps; one that turns out to be ordinary is replaced by the next ReSprop one.

    The recorder is entered and left by the caller.
    """

    def __init__(self, recorder: Recorder, steps: Collection[int]) -> None:
        self.recorder = recorder
        self.wanted = sorted(set(steps))
        self.due: list[int] = []

    def on_start(self, trainer: Trainer) -> None:
        """Refuse steps that lie before a resumed run's first one."""
        if self.wanted and self.wanted[0] < trainer.step:
            raise TrainError(
                f"record must name steps from {trainer.step} on, where the run is resumed, "
                f"got {self.wanted[0]}"
            )

    def on_step_start(self, trainer: Trainer) -> None:
        """Arm the recorder."""
        while self.wanted and self.wanted[0] <= trainer.step:
            self.due.append(self.wanted.pop(0))
        if self.due:
            asked = self.due[0] if self.due[0] != trainer.step else None
            self.recorder.begin(trainer.step, in_place_of=asked)

    def on_step_end(self, trainer: Trainer, report: StepReport) -> None:
        """Write what was recorded."""
        if self.due and self.recorder.finish(loss=report.loss, epoch=int(report.epoch)):
            self.due.pop(0)


def parse_steps(text: str, trainer: Trainer) -> list[int]:
    """Steps named as in ``0,100-103,last:8``: ``last`` is the last one that reuses gradients.

    ``last:8`` are the last eight of them, or as many as there are.

    Raises:
        TrainError: the text cannot be read, or names a step that the run does not have.
    """
    steps: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if ending := re.fullmatch(r"last(?::([1-9]\d*))?", part.strip()):
            final = trainer.total_steps - 1
            reusing = (s for s in range(final, -1, -1) if trainer.reuses_in(s))
            steps.update(list(itertools.islice(reusing, int(ending[1] or 1))) or [final])
        elif first.isdecimal() and (last.isdecimal() or not dash):
            end = int(last or first)
            if end >= trainer.total_steps:
                raise TrainError(
                    f"record must name steps below the {trainer.total_steps} of this run, got {end}"
                )
            steps.update(range(int(first), end + 1))
        else:
            raise TrainError(f"record must be like 0,100-103,last:8, got {text!r}")
    return sorted(steps)
