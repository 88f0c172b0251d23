"""How far a command is: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from gscn_sim.kernels import compiling
from workloads.errors import one_line

if TYPE_CHECKING:
    from rich.progress import Task

Update = Callable[[int, int, str], None]
"""``(done, total, what)``: how many of how many are done, and what comes next."""
SECONDS_BETWEEN_LINES = 5.0
STARTING = "starting (the first simulation after installing compiles its kernels)"


@contextmanager
def progress(quiet: bool = False) -> Iterator[Update | None]:
    """Give a callback that shows on stderr how far a command is; None where nothing is shown."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as update:
            yield update
    else:
        with _lines() as update:
            yield update


def _what(done: int, total: int, what: str) -> str:
    if not done:
        return STARTING
    return one_line(what) or ("writing the results" if done == total else "")


@contextmanager
def _bar() -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Going(TextColumn):
        """The description, or what is compiled while that does not change."""

        def render(self, task: Task) -> Text:
            return Text(now) if (now := compiling.words()) else super().render(task)

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        Going("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(STARTING, total=None)

        def update(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=_what(done, total, what))

        yield update


@contextmanager
def _lines() -> Iterator[Update]:
    """A line in every few seconds, also while nothing calls back; quick commands have none."""
    state = {"text": STARTING}
    ended = threading.Event()
    started = time.monotonic()

    def tell() -> None:
        while not ended.wait(SECONDS_BETWEEN_LINES):
            text = compiling.words() or state["text"]
            click.echo(f"{time.monotonic() - started:4.0f} s  {text}", err=True)

    def update(done: int, total: int, what: str) -> None:
        state["text"] = f"{done:,} of {total:,}  {_what(done, total, what)}"

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield update
    finally:
        ended.set()
        teller.join()
