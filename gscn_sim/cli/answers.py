"""``gscn-sim sweep pareto``, ``best``, ``sensitivity``, ``export``: what a sweep's store says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import OBJECTIVES, OUTPUT_FILE
from gscn_sim.cli.output import Output, output_options
from workloads import GscnError
from workloads.sealed_text import sealed_text

if TYPE_CHECKING:
    import pandas as pd


SIDES = ("lowest", "highest")


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every question to a store takes."""
    command = output_options(command)
    for option in (
        click.option(
            "--where",
            metavar="EXPR",
            help="Only points that meet it, as 'area_mm2 < 400'; names with dots in backticks.",
        ),
        click.option("--sweep", "number", type=int, metavar="N", help="One sweep of the store."),
    ):
        command = option(command)
    return click.argument("path", metavar="DIR", shell_complete=completion.files)(command)


@click.command()
@store_options
@click.option("--objective", default=OBJECTIVES, show_default=True)
def pareto(path: str, number: int | None, where: str | None, out: Output, objective: str) -> None:
    """Show the designs that no other beats in every objective."""
    from gscn_sim.cli.show import say_note, show_frame
    from gscn_sim.sweep import (
        hypervolume_history,
        hypervolume_note,
        parse_objectives,
        sweep_table,
    )
    from gscn_sim.sweep import pareto as pareto_of
    from gscn_sim.sweep.table import axis_names

    objectives = parse_objectives(objective)
    frame = sweep_table(path, number)
    front = pareto_of(frame, objectives, where)
    metrics = [o.metric for o in objectives]
    brief = front[["point", *axis_names(frame), *metrics, "limited_by"]]
    title = f"{len(front)} points that no other of their trace and batch beats"
    answer(out, front, lambda: show_frame(title, brief))
    if len(objectives) > 1:
        history = hypervolume_history(frame, objectives, where)
        say_note(hypervolume_note(history, frame), people=out.form == "table")


@click.command()
@store_options
@click.option(
    "--metric",
    default="speedup",
    show_default=True,
    help="A metric's name, or an expression as 'energy_j * seconds'; :max or :min after it says "
    "what is best.",
)
@click.option("-n", "--count", type=click.IntRange(min=1), default=10, show_default=True)
@click.option(
    "--save-config",
    metavar="FILE",
    type=OUTPUT_FILE,
    help="Write the best design as a TOML file.",
)
def best(
    path: str,
    number: int | None,
    where: str | None,
    out: Output,
    metric: str,
    count: int,
    save_config: str | None,
) -> None:
    """Show the designs with the best metric (geometric mean over traces and batches)."""
    from gscn_sim.cli.show import say_note, show_frame
    from gscn_sim.results.words import metric_words
    from gscn_sim.sweep import best as best_of
    from gscn_sim.sweep import parse_objectives, size_note, sweep_table

    objectives = parse_objectives(metric)
    if len(objectives) > 1:
        raise GscnError(f"--metric must be one metric, got {metric!r}; pareto takes several")
    top = best_of(sweep_table(path, number), objectives[0], count, where)
    if save_config is not None:
        _save_config(save_config, path, int(top["point"].iloc[0]), int(top["sweep"].iloc[0]))
    brief = top.drop(columns=["sweep", "dram_gbps"], errors="ignore")
    title = f"Best {len(top)} by {metric_words(objectives[0].metric)}"
    answer(out, top, lambda: show_frame(title, brief))
    say_note(size_note(top), people=out.form == "table")


@click.command()
@store_options
@click.option("--metric", default="speedup", show_default=True)
def sensitivity(path: str, number: int | None, where: str | None, out: Output, metric: str) -> None:
    """Show which parameters matter: how much of the metric's variation each explains."""
    from gscn_sim.cli.show import say_note, show_frame
    from gscn_sim.results.words import metric_words
    from gscn_sim.sweep import effects_note, sweep_table
    from gscn_sim.sweep import sensitivity as sensitivity_of

    table = sweep_table(path, number)
    frame = sensitivity_of(table, metric, where)
    effects = readable(frame, metric)
    groups = list(effects.groupby("workload", sort=False))
    what = f"Main effects on {metric_words(metric)}"

    def show() -> None:
        for workload, rows in groups:
            title = f"{what}, {workload}" if len(groups) > 1 else what
            show_frame(title, rows.drop(columns="workload"))

    answer(out, frame, show)
    say_note(effects_note(table, metric, where), people=out.form == "table")


@click.command()
@store_options
@click.option(
    "--objective",
    metavar="METRIC,...",
    help="Add a column hypervolume: the part of these metrics' box, from the best to the worst "
    "value, that a point and those before it beat.",
)
def export(
    path: str, number: int | None, where: str | None, out: Output, objective: str | None
) -> None:
    """Print or write the whole table of a store."""
    from gscn_sim.cli.show import show_frame
    from gscn_sim.sweep import hypervolume_history, parse_objectives, sweep_table
    from gscn_sim.sweep.table import axis_names, finished

    frame = sweep_table(path, number)
    if objective is not None:
        objectives = parse_objectives(objective)
        frame = frame.assign(hypervolume=hypervolume_history(frame, objectives, where))
    if where is not None:
        frame = finished(frame, where)
    brief = frame[["sweep", "point", *axis_names(frame), "speedup", "energy_j", "status"]]
    title = f"{len(frame)} points"

    def show() -> None:
        if out.path is None:
            show_frame(title, brief)
        else:
            click.echo(f"{out.path}: {title}")

    answer(out, frame, show)


def readable(effects: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Main effects with their means in the metric's unit."""
    from gscn_sim.results.words import COLUMNS

    _, unit, factor, _ = COLUMNS.get(metric, ("", "", 1.0, ""))
    scaled = {f"{side} mean {unit}".rstrip(): effects[f"{side}_mean"] * factor for side in SIDES}
    return effects.drop(columns=[f"{side}_mean" for side in SIDES]).assign(**scaled)


def answer(out: Output, frame: pd.DataFrame, show: Callable[[], None]) -> None:
    """Give a store's answer: all of it to machines and files, what ``show`` prints to people."""
    from gscn_sim.cli.options import command_line
    from gscn_sim.files import records
    from gscn_sim.results.provenance import code_digest, versions

    origin = {"command": command_line(), "versions": versions(), "code": code_digest()}
    out.write(frame, {"provenance": origin}, show, printed=records(frame))


def _save_config(target: str, path: str, point: int, sweep: int) -> None:
    from gscn_sim.config import dump_toml, load_config
    from gscn_sim.files import write_text
    from gscn_sim.sweep import point_config

    values = point_config(path, point, sweep)
    design = load_config("gscn", {key: value for key, value in values.items() if key != "name"})
    write_text(target, sealed_text(dump_toml(design)))
