"""``gscn-sim report``, ``plot`` and ``sweep plot``: results as pictures."""

from __future__ import annotations

from pathlib import Path

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import OBJECTIVES, OUTPUT_FILE


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


_figure_file = click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=OUTPUT_FILE,
    required=True,
    help="A .png, .svg or .pdf file.",
)


@click.command()
@click.argument("source", metavar="RUN.json", shell_complete=completion.files)
@_figure_file
@click.option(
    "--kind",
    type=click.Choice(("speedup", "slots", "pareto", "effects")),
    metavar="[speedup|slots]",
    help="Default: speedup.",
)
@click.option("-x", "x_metric", default="area_mm2", hidden=True)
@click.option("-y", "y_metric", default="speedup", hidden=True)
def plot(source: str, output: str, kind: str | None, x_metric: str, y_metric: str) -> None:
    """Draw a figure of a run for a paper: the speed-up of its layers, or where the slots went."""
    from gscn_sim.report.static import write_plot

    if not source.lower().endswith(".json"):  # before 0.3 this drew sweeps too
        click.echo("note: gscn-sim plot of a sweep is now gscn-sim sweep plot", err=True)
    write_plot(source, output, kind=kind, x_metric=x_metric, y_metric=y_metric)
    click.echo(output)


@click.command()
@click.argument("source", metavar="DIR", shell_complete=completion.files)
@_figure_file
@click.option(
    "--kind",
    type=click.Choice(("pareto", "effects", "hypervolume")),
    default="pareto",
    show_default=True,
)
@click.option("-x", "x_metric", default="area_mm2", show_default=True, help="Of pareto.")
@click.option("-y", "y_metric", default="speedup", show_default=True, help="Of pareto, effects.")
@click.option(
    "--objective",
    default=OBJECTIVES,
    show_default=True,
    metavar="METRIC,...",
    help="Of hypervolume.",
)
def plot_sweep(
    source: str, output: str, kind: str, x_metric: str, y_metric: str, objective: str
) -> None:
    """Draw a figure of a sweep for a paper.

    A trade-off of its designs, the main effects of its parameters, or how the hypervolume of the
    objectives grew as it went on.
    """
    from gscn_sim.report.sources import read_sweep
    from gscn_sim.report.static import draw, figure_suffix, save_figure

    figure_suffix(output)
    figure = draw(
        read_sweep(Path(source)), kind, x_metric=x_metric, y_metric=y_metric, objective=objective
    )
    save_figure(figure, output)
    click.echo(output)
