"""How an answer goes out: ``--format`` and ``-o``, the same in every command that prints tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli.options import OutputFile

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("table", "csv", "json")


class TableFile(OutputFile):
    """A table to write: whether the file can be, and what it is, is checked before any work."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the path as it was given.

        Raises:
            GscnError: its suffix is none of a table, or it cannot be written.
        """
        from gscn_sim.files import table_suffix

        table_suffix(value)
        return super().convert(value, param, ctx)


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """Where an answer goes: to a file, and to stdout as ``form``."""

    form: str
    path: str | None

    def write(
        self,
        table: pd.DataFrame,
        document: Mapping[str, Any],
        show: Callable[[], None],
        *,
        printed: Any = None,
        headline: str = "",
    ) -> None:
        """Write the table, if asked to, and print it for people (``show``) or machines.

        Args:
            table: what a file and ``--format csv`` have.
            document: all of the answer: beside the file, and what ``--format json`` prints.
            show: prints for people.
            printed: what ``--format json`` prints, if other than the document.
            headline: last line for people; for machines it goes to stderr.
        """
        from gscn_sim.files import csv_text, to_json, write_table

        if self.path is not None:
            write_table(self.path, table, document)
        if self.form == "json":
            click.echo(to_json(document if printed is None else printed))
        elif self.form == "csv":
            click.echo(csv_text(table), nl=False)
        else:
            show()
        if headline:
            click.echo(headline, err=self.form != "table")


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--format`` and ``-o``; the command gets both as its argument ``out``."""

    @functools.wraps(command)
    def call(*arguments: Any, form: str, output: str | None, **options: Any) -> Any:
        return command(*arguments, out=Output(form=form, path=output), **options)

    with_format = click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="What to print.",
    )
    return with_format(
        click.option(
            "-o",
            "--output",
            metavar="PATH",
            type=TableFile(),
            help="Write the table (.csv, .parquet, .json).",
        )(call)
    )
