"""``gscn-sim trace``: look at traces, check them, make synthetic ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli import completion
from gscn_sim.cli.interop import export_shapes, import_trace
from gscn_sim.cli.options import OUTPUT_FILE, iterations_option, read_iterations
from gscn_sim.cli.trace_step import add_step, show_step
from workloads import GscnError
from workloads.command import OneLineErrors

if TYPE_CHECKING:
    from workloads import Layer, Trace
    from workloads.work import BackwardWork

INFO_FORMATS = ("table", "csv", "json")


@click.group(cls=OneLineErrors)
def trace() -> None:
    """Look at, check and make traces."""


trace.add_command(import_trace)
trace.add_command(export_shapes)
trace.add_command(add_step)


@trace.command()
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
@click.option("--all", "every", is_flag=True, help="Every recorded iteration, not layer by layer.")
@click.option(
    "--format",
    "form",
    type=click.Choice(INFO_FORMATS),
    default="table",
    show_default=True,
    help="What to print.",
)
@click.option("--step", "of_step", is_flag=True, help="The operations of its training step.")
def info(path: str, every: bool, form: str, of_step: bool) -> None:
    """Show what TRACE is and the shape and densities of each of its layers.

    Densities are means over the recorded iterations.
    """
    import workloads
    from gscn_sim.cli.show import WIDTH, number, show_table, text
    from gscn_sim.files import csv_text, to_json
    from workloads.work import BackwardWork, layer_work

    loaded = workloads.load(path)
    if of_step:
        show_step(loaded, form)
        return
    rows, work = [], BackwardWork()
    for layer in loaded.digested():  # read once, for all that is shown
        rows.append(layer_facts(layer, loaded.batch_of(layer)))
        work += layer_work(loaded, layer)
    iterations = len({row["iteration"] for row in rows})
    if not every:
        rows = layer_averages(rows)
    facts = trace_facts(loaded) | work_facts(work)
    if form == "json":
        click.echo(to_json({"trace": facts, "layers": rows}))
        return
    if form == "csv":
        import pandas as pd

        click.echo(csv_text(pd.DataFrame(rows)), nl=False)
        return
    for name, value in facts.items():
        label = name.replace("_", " ").ljust(max(len(name) + 1, min(24, WIDTH - len(str(value)))))
        click.echo(f"{label}{value}")
    click.echo()
    columns = [
        text("layer", "fold"),
        *([number("iteration", "iter.")] if every else []),
        text("shape", "fold"),
        number("activation_density", "activation density"),
        number("gradient_density", "gradient density"),
        number("weight_density", "weight density"),
        number("dense_macs", "MMAC per sample", 1e-6),
    ]
    means = f", means of {iterations} iterations" if iterations > 1 and not every else ""
    show_table(f"{len(rows)} layer{' records' if every else 's'}{means}", columns, rows)


@trace.command()
@click.argument(
    "paths", metavar="TRACE...", nargs=-1, required=True, shell_complete=completion.files
)
def validate(paths: tuple[str, ...]) -> None:
    """Read each TRACE whole and say whether it is sound."""
    import workloads

    for path in paths:
        loaded = workloads.validate(path)
        click.echo(f"{path}: sound, {len(loaded.layers)} layer records of {loaded.network}")


@trace.command()
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="The first N of a batch.")
@iterations_option("Iterations to keep. Default: all.")
@click.option("--step/--no-step", default=True, help="Keep the operations of its training step.")
@click.option("-o", "--output", metavar="PATH", type=OUTPUT_FILE, required=True)
def excerpt(
    path: str, samples: int | None, iterations: str | None, step: bool, output: str
) -> None:
    """Write a smaller trace: fewer samples of TRACE's batches, or some of its iterations."""
    import workloads

    whole = workloads.load(path)
    kept = read_iterations(iterations, whole)
    values = any(layer.stored_values for layer in whole.layers)
    part = workloads.excerpt(whole, samples=samples, iterations=kept, step=step)
    workloads.save(part, output, values=values)


@trace.command()
@click.option(
    "--network",
    metavar="NAME",
    shell_complete=completion.networks,
    help="A known network, as resnet34.",
)
@click.option(
    "--step",
    "step_source",
    metavar="NAME|FILE",
    help="Instead of a network: the layers that a training step has sparse, and the step itself.",
)
@click.option("--batch", "batch_size", type=int, default=16, show_default=True)
@click.option("--samples", type=int, default=2, show_default=True, help="Recorded of each batch.")
@click.option("--activation-density", type=float, default=0.5, show_default=True)
@click.option("--gradient-density", type=float, help="Of the gradient. Default: 0.1.")
@click.option("--weight-density", type=float, default=1.0, show_default=True)
@click.option(
    "--reuse-sparsity",
    type=float,
    help="Instead of a gradient density: zeros of ReSprop's gradient delta, with its pre-phases.",
)
@click.option(
    "--channel-imbalance",
    type=float,
    default=0.0,
    show_default=True,
    help="0: all channels are alike. 0.1: they differ about as in real gradients. Below 1.",
)
@click.option("--linear", is_flag=True, help="With the fully connected layers.")
@click.option("--exact", is_flag=True, help="Exactly the wanted densities, not on average.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--output", metavar="PATH", type=OUTPUT_FILE, required=True)
def synth(
    network: str | None,
    step_source: str | None,
    batch_size: int,
    samples: int,
    activation_density: float,
    gradient_density: float | None,
    weight_density: float,
    reuse_sparsity: float | None,
    channel_imbalance: float,
    linear: bool,
    exact: bool,
    seed: int,
    output: str,
) -> None:
    """Make a trace of random masks for a known network, or for a training step of any model."""
    if (network is None) == (step_source is None):
        raise GscnError("give either --network or --step")
    if reuse_sparsity is not None:
        if gradient_density is not None:
            raise GscnError("--reuse-sparsity and --gradient-density say the same: give one")
        if not 0 <= reuse_sparsity <= 1:
            raise GscnError(f"--reuse-sparsity must be from 0 to 1, got {reuse_sparsity}")
        gradient_density = 1 - reuse_sparsity

    import dataclasses

    import workloads
    from gscn_sim.cli.trace_step import read_step
    from workloads.networks import conv_layers
    from workloads.synthetic import synthesize

    step = None
    if step_source is not None:
        step = read_step(step_source, batch_size)
        name, layers, batch_size = step.network, workloads.sparse_layers(step), step.batch_size
    else:
        assert network is not None
        name, layers = network, conv_layers(network, linear=linear)
    made = synthesize(
        name,
        layers,
        batch_size=batch_size,
        samples=samples,
        activation_density=activation_density,
        gradient_density=0.1 if gradient_density is None else gradient_density,
        weight_density=weight_density,
        channel_imbalance=channel_imbalance,
        exact=exact,
        seed=seed,
    )
    made = dataclasses.replace(made, reuse_sparsity=reuse_sparsity, step=step)
    workloads.save(made, output)
    click.echo(f"{output}: {len(made.layers)} layers of {name}, {samples} of {batch_size} samples")


def trace_facts(loaded: Trace) -> dict[str, Any]:
    """What is known about the run that a trace comes from, without what is not."""
    facts = {name: value for name, value in loaded.metadata().items() if value is not None}
    versions = facts.pop("versions")
    if versions:
        facts["written_by"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    if loaded.step is not None:
        facts["step"] = f"{len(loaded.step.operations)} operations of {loaded.step.network}"
    return facts | {"digest": loaded.digest}


def work_facts(work: BackwardWork) -> dict[str, Any]:
    """What the zeros of the gradients save, weighted by multiply-adds; nothing without gradients.

    ``gradient_density`` is the share of the backward multiply-adds that meet a non-zero gradient,
    ``backward_work_saved`` the quotient that it means, with pre-phases if the trace has them.
    """
    import math

    if not math.isfinite(work.saved):
        return {}
    return {
        "gradient_density": round(work.density, 5),
        "backward_work_saved": round(work.saved, 4),
    }


def layer_facts(layer: Layer, batch_size: int) -> dict[str, Any]:
    """One layer record's shape, samples and densities (1 for dense weights, NaN if not there)."""
    densities = {
        f"{operand}_density": mask.density if mask is not None else float("nan")
        for operand, mask in (("activation", layer.activation), ("gradient", layer.gradient))
    }
    return {
        "layer": layer.name,
        "iteration": layer.iteration,
        "shape": shape_text(layer),
        "samples": layer.n_samples,
        **densities,
        "weight_density": 1.0 if layer.weight is None else layer.weight.density,
        "dense_macs": layer.shape.dense_macs,
        "phases": ",".join(layer.phases()),
        "batch_size": batch_size,
    }


def layer_averages(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a layer, densities as means over its ``iterations``; of one, it is ``iteration``."""
    layers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        layers.setdefault((row["layer"], row["shape"]), []).append(row)
    averages = []
    for same in layers.values():
        means = {
            name: sum(row[name] for row in same) / len(same)
            for name in same[0]
            if name.endswith("_density")
        }
        single = {} if len(same) == 1 else {"iteration": None}
        averages.append({**same[0], **means, **single, "iterations": len(same)})
    return averages


def shape_text(layer: Layer) -> str:
    """A shape in one line: input -> output, filter, and what is not the default; of a matmul its
    two matrices.
    """
    s = layer.shape
    if layer.is_matmul:
        inner, columns = s.C // s.groups, s.K // s.groups
        return f"{s.H}x{inner} times {inner}x{columns}, heads {s.groups}"
    text = f"{s.C}x{s.H}x{s.W} -> {s.K}x{s.P}x{s.Q}, {s.R}x{s.S}"
    extras = (("/", s.stride, 1), (" pad ", s.padding, 0), (" dil ", s.dilation, 1))
    for word, (high, wide), default in extras:
        if (high, wide) != (default, default):
            text += f"{word}{high}" if high == wide else f"{word}{high}x{wide}"
    return text + (f" groups {s.groups}" if s.groups > 1 else "")
