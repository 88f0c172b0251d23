"""``gscn-sim run``: one trace on one design, as tables and a headline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import (
    OUTPUT_FILE,
    DesignOptions,
    batch_option,
    cache_option,
    command_line,
    config_options,
    gpu_option,
    iterations_option,
    phase_option,
    quiet_option,
    read_gpu,
    read_iterations,
    read_phases,
)
from workloads import GscnError

if TYPE_CHECKING:
    from gscn_sim.compare.comparison import Comparison

FORMATS = ("table", "csv", "json")


@click.command()
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
@config_options
@phase_option
@gpu_option
@batch_option
@iterations_option()
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to print. Default: table.")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=OUTPUT_FILE,
    help="Write the layer table to a .csv, .parquet or .json file (the last holds all of a run).",
)
@click.option(
    "--timeline",
    metavar="FILE",
    type=OUTPUT_FILE,
    help="Write what happened when, for Perfetto.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1, max=1024),
    default=2,
    show_default=True,
    help="Threads for the kernels; results do not depend on it.",
)
@cache_option
@quiet_option
def run(
    path: str,
    design: DesignOptions,
    phases: str | None,
    gpu: str,
    batch_size: int | None,
    iterations: str | None,
    form: str | None,
    output: str | None,
    timeline: str | None,
    workers: int,
    cache: str | None,
    quiet: bool,
) -> None:
    """Simulate TRACE on a design and compare it with a GPU."""
    file_format = output_format(output, form)
    config = design.read()
    device, gpu_model = read_gpu(gpu)

    import workloads
    from gscn_sim.api import simulate
    from gscn_sim.cli.progress import progress
    from gscn_sim.run.memo import open_cache

    trace = workloads.load(path)
    chosen = read_phases(phases, trace)
    with progress(quiet) as update:
        result = simulate(
            trace,
            config,
            phases=chosen,
            batch_size=batch_size,
            gpu=device,
            gpu_model=gpu_model,
            progress=update,
            workers=workers,
            timeline=timeline,
            cache=open_cache(cache, memory_bytes=0),
            recall=True,
            iterations=read_iterations(iterations, trace),
        )
    if not result.records:
        raise GscnError(f"{path}: no layer has the operands of {', '.join(chosen)}")
    if output is not None:
        save(result, output, file_format, timeline)
    present(result, "table" if form is None or output is not None else form)
    if not quiet and result.recalled:
        click.echo("known from an earlier run (--cache off simulates again)", err=True)
    elif not quiet:
        click.echo(f"SimPy took {result.simpy_share:.0%} of the simulation's time", err=True)


def output_format(output: str | None, form: str | None) -> str:
    """The format of the output file: its suffix, which ``--format`` may confirm.

    Raises:
        GscnError: the two disagree, or neither says.
    """
    from gscn_sim.files import TABLE_SUFFIXES, table_suffix

    if output is None:
        return ""
    suffix = Path(output).suffix.lower()
    wanted = "" if form in (None, "table") else f".{form}"
    if suffix not in TABLE_SUFFIXES and wanted:
        return wanted
    if wanted and wanted != table_suffix(output):
        raise GscnError(f"{output}: --format {form} contradicts the name's suffix")
    return table_suffix(output)


def save(
    result: Comparison, output: str, file_format: str, timeline: str | Path | None = None
) -> None:
    """Write the run's file; a CSV or Parquet table has its origin in a second file beside it."""
    from gscn_sim.compare.document import run_document
    from gscn_sim.files import sealed, write_json, write_table

    document = run_document(result, command=command_line())
    if timeline is not None:
        document["provenance"]["timeline"] = os.path.relpath(timeline, Path(output).parent)
    if file_format == ".json":
        write_json(output, sealed(document))
    else:
        del document["layers"]
        write_table(output, result.table, document, suffix=file_format)


def present(result: Comparison, form: str) -> None:
    """Print a run on stdout; for machines, the headline goes to stderr."""
    from gscn_sim.cli.layers import show_run
    from gscn_sim.compare.document import run_document
    from gscn_sim.files import csv_text, to_json

    if form == "table":
        show_run(result)
    elif form == "csv":
        click.echo(csv_text(result.table), nl=False)
    else:
        click.echo(to_json(run_document(result, command=command_line())))
    click.echo(result.headline, err=form != "table")
