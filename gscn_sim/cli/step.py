"""``gscn-sim step``: a whole training step on the machine, without sparsity, and on a GPU."""

from __future__ import annotations

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
    iterations_option,
    quiet_option,
    read_iterations,
    step_gpu_option,
)
from gscn_sim.cli.output import Output, output_options

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.step.result import StepRun


@click.command()
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
@config_options
@batch_option
@iterations_option()
@click.option("--step", "step_path", metavar="FILE", help="The step, if it is not in the trace.")
@step_gpu_option
@click.option(
    "--deploy",
    type=click.Choice(("standalone", "coprocessor")),
    default="standalone",
    show_default=True,
    help="All of the step here, or the backward convolutions beside a GPU that keeps the rest.",
)
@click.option(
    "--link",
    "link_gbps",
    type=click.FloatRange(min=0, min_open=True),
    default=64.0,
    show_default=True,
    metavar="GB/S",
    help="Link of a co-processor, 10^9 bytes a second.",
)
@click.option(
    "--node",
    "node_nm",
    type=click.Choice((16, 7, 5)),
    help="Say the design's area and its dynamic power in this process, nm.",
)
@output_options
@click.option(
    "--timeline",
    metavar="FILE",
    type=OUTPUT_FILE,
    help="Write a timeline for Perfetto (.json, .json.gz).",
)
@cache_option
@quiet_option
def step(
    path: str,
    design: DesignOptions,
    batch_size: int | None,
    iterations: str | None,
    step_path: str | None,
    gpu: str,
    deploy: str,
    link_gbps: float,
    node_nm: int | None,
    out: Output,
    timeline: str | None,
    cache: str | None,
    quiet: bool,
) -> None:
    """Run the whole training step of TRACE: every operation, on both sides."""
    config = design.read()

    import workloads
    from gscn_sim.cli.progress import progress
    from gscn_sim.run.memo import open_cache
    from gscn_sim.step.simulate import simulate_step
    from workloads.step_file import load_step

    trace = workloads.load(path)
    with progress(quiet) as update:
        found = simulate_step(
            trace,
            config,
            step=None if step_path is None else load_step(step_path),
            batch_size=batch_size,
            gpu=None if gpu == "none" else gpu,
            deploy="coprocessor" if deploy == "coprocessor" else "standalone",
            link_gbps=link_gbps,
            cache=open_cache(cache, memory_bytes=0),
            progress=update,
            timeline=timeline,
            iterations=read_iterations(iterations, trace),
        )
    out.write(found.table, _document(found), lambda: show(found, node_nm), headline=found.headline)


def _document(found: StepRun) -> dict[str, object]:
    from gscn_sim.files import records
    from gscn_sim.results.provenance import config_record, provenance

    return {
        "summary": records(found.summary),
        "operations": records(found.operations),
        "speedup": found.speedup,
        "bounds_seconds": found.bounds_seconds,
        "resources": records(found.resources),
        "left_out": found.left_out,
        "headline": found.headline,
        "config": config_record(found.config),
        "provenance": {
            **provenance(dict(found.trace), gpu=found.gpu, command=command_line()),
            "deploy": found.deploy,
        },
    }


def show(found: StepRun, node_nm: int | None = None) -> None:
    """Print a step's operations, its sums and where its time goes on stdout.

    With ``node_nm`` also the design's area and power in that process.
    """
    from gscn_sim.cli.show import show_frame

    title = f"A training step of {found.network}, batch {found.batch_size}, on {found.config.name}"
    show_frame(title, _readable(found.table))
    show_frame("Whole step", _readable(found.summary))
    show_frame(f"Where the time of {found.config.name} goes", _milliseconds(found.resources))
    for line in _sentences(found, node_nm):
        click.echo(line)


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    shown = frame.assign(ms=(1e3 * frame["seconds"]), mJ=(1e3 * frame["energy_j"]))
    return shown.drop(columns=["seconds", "energy_j"])


def _milliseconds(frame: pd.DataFrame) -> pd.DataFrame:
    shown = frame.set_index("resource") * 1e3
    return shown.rename(columns=lambda name: name.replace("_seconds", " ms")).reset_index()


def _sentences(found: StepRun, node_nm: int | None) -> list[str]:
    bounds = ", ".join(f"{name} {1e3 * s:.3g} ms" for name, s in found.bounds_seconds.items())
    return [
        f"no schedule of these operations is faster than: {bounds}",
        *(f"left out: {note}" for note in found.left_out),
        *([] if node_nm is None else [_in_process(found, node_nm)]),
    ]


def _in_process(found: StepRun, node_nm: int) -> str:
    from gscn_sim.results.node import area_at

    area, power = area_at(found.config, node_nm), found.power_w(node_nm)
    return (
        f"in {node_nm} nm: {area.low:.0f} to {area.high:.0f} mm2 without memory interfaces and "
        f"vector unit; {power.low:.0f} to {power.high:.0f} W of dynamic power, memory included"
    )
