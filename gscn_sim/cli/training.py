"""``gscn-sim training``: a whole training run on each machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import (
    OUTPUT_FILE,
    cache_option,
    command_line,
    config_options,
    read_config,
)

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("table", "csv", "json")


@click.command()
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
@click.option(
    "--log",
    metavar="FILE",
    help="Densities by epoch: columns epoch, density and perhaps steps, as steps.csv of "
    "resprop-train --log. Default: the trace's recorded iterations.",
)
@click.option(
    "--points",
    type=click.IntRange(min=2, max=100),
    default=5,
    show_default=True,
    help="Densities to simulate at most; between them times are interpolated.",
)
@config_options
@click.option(
    "--gpu",
    default="gtx-1080ti",
    show_default=True,
    metavar="NAME[:PRECISION]|none",
    help="The GPU to compare with.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=OUTPUT_FILE,
    help="Write the table (.csv, .parquet, .json).",
)
@cache_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def training(
    path: str,
    log: str | None,
    points: int,
    source: str,
    assignments: tuple[str, ...],
    gpu: str,
    form: str,
    output: str | None,
    cache: str | None,
    quiet: bool,
) -> None:
    """Add up whole training steps over a training run, from its densities by epoch.

    Every operation of every step is on all sides; steps of a dense warm-up are ordinary training.
    """
    config = read_config(source, assignments)

    import workloads
    from gscn_sim.cli.progress import progress
    from gscn_sim.cli.show import show_frame
    from gscn_sim.files import csv_text, records, table_suffix, to_json, write_table
    from gscn_sim.results.provenance import config_record, provenance
    from gscn_sim.run.memo import open_cache
    from gscn_sim.step.training import read_epochs, simulate_training

    if output is not None:
        table_suffix(output)
    trace = workloads.load(path)
    with progress(quiet) as update:
        found = simulate_training(
            trace,
            config,
            None if log is None else read_epochs(log),
            points=points,
            gpu=None if gpu == "none" else gpu,
            cache=open_cache(cache),
            progress=update,
        )
    facts = {**trace.metadata(), "digest": trace.digest}
    beside = None if gpu == "none" else gpu
    document = {
        "summary": found.totals,
        "headline": found.headline,
        "epochs": records(found.table),
        "simulated_densities": sorted(found.points),
        "config": config_record(config),
        "provenance": provenance(facts, gpu=beside, command=command_line()),
    }
    if output is not None:
        write_table(output, found.table, document)
    if form == "json":
        click.echo(to_json(document))
    elif form == "csv":
        click.echo(csv_text(found.table), nl=False)
    else:
        units = {"seconds": "s", "energy_j": "J"}
        words = {
            f"{m}_{name}": f"{m} {unit}" for m in found.machines for name, unit in units.items()
        }
        shown = _stretches(found.table).rename(columns=words)
        show_frame(f"Training {trace.network} on {config.name}, whole steps by epoch", shown)
    click.echo(found.headline, err=form != "table")


def _stretches(table: pd.DataFrame) -> pd.DataFrame:
    """Following epochs of one density as one row, which adds them up."""
    number = (table["density"] != table["density"].shift()).cumsum()
    groups = table.groupby(number, sort=False)
    shown = groups.sum(min_count=1)
    first, last = groups["epoch"].first(), groups["epoch"].last()
    names = [str(a) if a == b else f"{a} to {b}" for a, b in zip(first, last, strict=True)]
    return shown.assign(epoch=names, density=groups["density"].first())
