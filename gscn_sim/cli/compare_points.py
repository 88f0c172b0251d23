"""``gscn-sim sweep compare``: two designs of a sweep, by layer and cause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli import completion
from gscn_sim.cli.compare import document_of, show, simulated
from gscn_sim.cli.options import cache_option, quiet_option
from gscn_sim.cli.output import Output, output_options
from workloads import GscnError

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.config import Config


@click.command()
@click.argument("path", metavar="DIR", shell_complete=completion.files)
@click.argument("a", metavar="A", type=click.IntRange(min=0))
@click.argument("b", metavar="B", type=click.IntRange(min=0))
@click.option("--sweep", "number", type=int, metavar="N", help="One sweep of the store.")
@output_options
@cache_option
@quiet_option
def compare_points(
    path: str, a: int, b: int, number: int | None, out: Output, cache: str | None, quiet: bool
) -> None:
    """Say how point B of a sweep differs from point A: time by layer and phase, its causes.

    Points are named by their numbers in the sweep's tables. Both are simulated again, by layer, on
    the trace that the sweep had.
    """
    import workloads
    from gscn_sim.report.differences import Difference

    if a == b:
        raise GscnError(f"point {a} twice: nothing to compare")
    first, second = _points(path, number, (a, b))
    trace = workloads.load(first["trace"])
    if trace.digest != first["trace_digest"]:
        raise GscnError(f"{first['trace']}: not the trace of the sweep any more")
    names = [f"point {point}" for point in (a, b)]
    designs = {name: _design(path, row) for name, row in zip(names, (first, second), strict=True)}
    runs = simulated(
        designs, first["trace"], first["phases"], int(first["batch_size"]), cache, quiet
    )
    difference = Difference(a=runs[names[0]], b=runs[names[1]])
    words = [_words(row, other) for row, other in ((first, second), (second, first))]
    titles = [f"{name} ({said})" if said else name for name, said in zip(names, words, strict=True)]
    out.write(difference.layers, document_of(difference), lambda: show(difference, *titles))


def _points(path: str, number: int | None, points: tuple[int, int]) -> list[Any]:
    """The rows of two finished points on the same workload.

    Raises:
        GscnError: there is none of this number, several, or it failed; or they did not run alike.
    """
    from gscn_sim.sweep import sweep_table

    table = sweep_table(path, number)
    rows = [_row(path, table, point) for point in points]
    for name in ("trace_digest", "batch_size", "phases"):
        first, second = (row[name] for row in rows)
        if first != second:
            raise GscnError(
                f"points {points[0]} and {points[1]} have not the same {name.replace('_', ' ')}: "
                f"{first} and {second}"
            )
    return rows


def _row(path: str, table: pd.DataFrame, point: int) -> Any:
    found = table[(table["point"] == point) & (table["status"] == "done")]
    if found.empty:
        raise GscnError(f"{path}: no point {point} that is done; there are {len(table):,} points")
    if len(found) > 1:
        raise GscnError(f"{path}: point {point} is in several sweeps; name one with --sweep")
    return found.iloc[0]


def _design(path: str, row: Any) -> Config:
    from gscn_sim.config import load_config
    from gscn_sim.sweep import point_config

    values = point_config(path, int(row["point"]), int(row["sweep"]))
    return load_config("gscn", {key: value for key, value in values.items() if key != "name"})


def _words(row: Any, other: Any) -> str:
    """The axes in which a point differs from another."""
    from gscn_sim.sweep.table import COLUMNS

    axes = [name for name in row.index if name not in ("sweep", "point", *COLUMNS)]
    return ", ".join(f"{name}={row[name]}" for name in axes if row[name] != other[name])
