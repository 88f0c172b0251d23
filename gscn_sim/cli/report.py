"""``gscn-sim report`` and ``gscn-sim plot``: results as pictures."""

from __future__ import annotations

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import OUTPUT_FILE


@click.command()
@click.argument("source", metavar="DIR|RUN.json", shell_complete=completion.files)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=OUTPUT_FILE,
    default="report.html",
    show_default=True,
)
def report(source: str, output: str) -> None:
    """Write one self-contained HTML page about a sweep's folder or a run's JSON file."""
    from gscn_sim.report.html import write_report

    write_report(source, output)
    click.echo(f"{output}: open it in a browser")


@click.command()
@click.argument("source", metavar="DIR|RUN.json", shell_complete=completion.files)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=OUTPUT_FILE,
    required=True,
    help="A .png, .svg or .pdf file.",
)
@click.option(
    "--kind",
    type=click.Choice(("pareto", "effects", "speedup", "slots")),
    help="Default: pareto of a sweep, speedup of a run.",
)
@click.option("-x", "x_metric", default="area_mm2", show_default=True, help="Of pareto.")
@click.option("-y", "y_metric", default="speedup", show_default=True, help="Of pareto, effects.")
def plot(source: str, output: str, kind: str | None, x_metric: str, y_metric: str) -> None:
    """Draw a figure for a paper: of a sweep its trade-off or main effects, of a run its layers."""
    from gscn_sim.report.static import write_plot

    write_plot(source, output, kind=kind, x_metric=x_metric, y_metric=y_metric)
    click.echo(output)
