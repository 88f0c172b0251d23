"""Tables for people: fixed widths, units in the headings, progress on stderr."""

from __future__ import annotations

import io
import math
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from gscn_sim.files import digits, whole_numbers
from gscn_sim.results.words import COLUMNS
from workloads.errors import one_line

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

WIDTH = 80
FOLD_WIDTH = 8
RULED = "    \n    \n -- \n    \n    \n    \n    \n    \n"
"""Nothing but a line of hyphens under the headings, which every terminal can show."""
Column = tuple[str, Callable[[Mapping[str, Any]], str], str]
"""Heading, cell text of a row, and "left", "right", or "fold" (left, gives way when it must)."""


def show_table(title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows on stdout, 80 columns wide at most unless numbers would lose digits."""
    from rich.console import Console
    from rich.measure import Measurement

    width = min(WIDTH, get_terminal_size((WIDTH, 50)).columns) if sys.stdout.isatty() else WIDTH
    screen = io.StringIO()
    console = Console(file=screen, width=10_000, highlight=False, markup=False, emoji=False)
    for gap in (2, 1):
        table = _layout(title, columns, rows, gap)
        measure = Measurement.get(console, console.options, table)
        if measure.maximum <= width:
            break
    console.width = max(width, measure.minimum)
    console.print(table)
    lines = (line.rstrip() for line in screen.getvalue().splitlines())
    click.echo("\n".join(lines) + "\n")


def _layout(
    title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], gap: int
) -> Table:
    """The table with ``gap`` spaces between its columns."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        box=box.Box(RULED, ascii=True),
        show_edge=False,
        padding=(0, gap - 1, 0, 0),
        pad_edge=False,
    )
    for heading, _, side in columns:
        right = side == "right"
        table.add_column(
            heading.replace(" ", "\n") if right else heading,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=side != "fold",
            min_width=FOLD_WIDTH if side == "fold" else None,
        )
    for row in rows:
        table.add_row(*(one_line(cell(row)) for _, cell, _ in columns))
    return table


def show_frame(title: str, frame: pd.DataFrame) -> None:
    """Print a whole DataFrame, numbers to four digits, columns in the words of all tables."""
    numbers = set(frame.select_dtypes("number").columns)
    columns: list[Column] = [
        _metric(str(name))
        if name in COLUMNS and name in numbers
        else (re.sub(r"[_.]", " ", str(name)), _cell(str(name)), "right")
        if name in numbers
        else text(str(name), "fold")
        for name in frame.columns
    ]
    rows = whole_numbers(frame).to_dict(orient="records")
    show_table(title, columns, rows)  # type: ignore[arg-type]


def say_note(note: str, *, people: bool) -> None:
    """Print a sentence about a table below it, for machines on stderr; nothing if there is none."""
    if note:
        click.echo(textwrap.fill(note, WIDTH) if people else note, err=not people)


def text(name: str, side: str = "left") -> Column:
    """A column of texts under its own name."""
    return (name.replace("_", " "), _cell(name), side)


def number(name: str, heading: str, scale: float = 1.0, suffix: str = "") -> Column:
    """A column of numbers, multiplied by ``scale``."""
    return (heading, lambda row: digits(row[name], scale) + _if_any(row[name], suffix), "right")


def share(name: str, heading: str, totals: Sequence[str]) -> Column:
    """A column that is a percentage of the sum of other columns."""

    def cell(row: Mapping[str, Any]) -> str:
        total = sum(row[column] for column in totals)
        return f"{100 * row[name] / total:.1f}" if total else "-"

    return (heading, cell, "right")


def _metric(name: str) -> Column:
    words, unit, factor, suffix = COLUMNS[name]
    return number(name, f"{words} {unit}".rstrip(), factor, suffix)


def _cell(name: str) -> Callable[[Mapping[str, Any]], str]:
    def cell(row: Mapping[str, Any]) -> str:
        value = row[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return one_line(value)
        return f"{value:,}" if isinstance(value, int) else digits(value)

    return cell


def _if_any(value: float | None, suffix: str) -> str:
    return suffix if value is not None and math.isfinite(value) else ""
