"""``gscn-sim training``: a whole training run on each machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import (
    DesignOptions,
    cache_option,
    command_line,
    config_options,
    quiet_option,
    step_gpu_option,
)
from gscn_sim.cli.output import Output, output_options

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.step.training import TrainingRun


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
@step_gpu_option
@output_options
@cache_option
@quiet_option
def training(
    path: str,
    log: str | None,
    points: int,
    design: DesignOptions,
    gpu: str,
    out: Output,
    cache: str | None,
    quiet: bool,
) -> None:
    """Add up whole training steps over a training run, from its densities by epoch.

    Every operation of every step is on all sides; steps of a dense warm-up are ordinary training.
    """
    config = design.read()

    import workloads
    from gscn_sim.cli.progress import progress
    from gscn_sim.files import records
    from gscn_sim.results.provenance import config_record, provenance
    from gscn_sim.run.memo import open_cache
    from gscn_sim.step.training import read_epochs, simulate_training

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
    title = f"Training {trace.network} on {config.name}, whole steps by epoch"
    out.write(found.table, document, lambda: show(title, found), headline=found.headline)


def show(title: str, found: TrainingRun) -> None:
    """Print the epochs of a training run on stdout."""
    from gscn_sim.cli.show import show_frame

    units = {"seconds": "s", "energy_j": "J"}
    words = {f"{m}_{name}": f"{m} {unit}" for m in found.machines for name, unit in units.items()}
    show_frame(title, _stretches(found.table).rename(columns=words))


def _stretches(table: pd.DataFrame) -> pd.DataFrame:
    """Following epochs of one density as one row, which adds them up."""
    number = (table["density"] != table["density"].shift()).cumsum()
    groups = table.groupby(number, sort=False)
    shown = groups.sum(min_count=1)
    first, last = groups["epoch"].first(), groups["epoch"].last()
    names = [str(a) if a == b else f"{a} to {b}" for a, b in zip(first, last, strict=True)]
    return shown.assign(epoch=names, density=groups["density"].first())
