"""``resprop-train step``: the operations of a training step, shown, in a file or in a trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from workloads import Step


@click.command()
@click.option("--model", default="resnet8", help="Network; an unknown name lists all.")
@click.option("--batch-size", type=click.IntRange(1), default=16)
@click.option("--size", type=click.IntRange(1), default=224, help="Side of the pictures.")
@click.option("--channels", type=click.IntRange(1), default=3, help="Of the pictures.")
@click.option("--classes", type=click.IntRange(2), default=1000)
@click.option("--optimizer", default="sgd-momentum", help="An unknown name lists all.")
@click.option("--dense", is_flag=True, help="Of ordinary training, without ReSprop.")
@click.option("--linear", is_flag=True, help="Fully connected layers reuse gradients too.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File for the step.")
@click.option("--trace", type=click.Path(path_type=Path), help="Trace to put the step into.")
def step(
    *,
    model: str,
    batch_size: int,
    size: int,
    channels: int,
    classes: int,
    optimizer: str,
    dense: bool,
    linear: bool,
    output: Path | None,
    trace: Path | None,
) -> None:
    """List every operation of a training step, without training: no data, no memory.

    A model of your own: resprop_train.trace_step.
    """
    import torch

    import workloads
    from resprop_train.conversion import convert
    from resprop_train.models import build_model
    from resprop_train.step import trace_step

    with torch.device("meta"):
        network = build_model(model, channels=channels, size=size, classes=classes)
    if not dense:
        convert(network, linear=linear)
    made = trace_step(network, (batch_size, channels, size, size), optimizer, network=model)
    if output is not None:
        workloads.save_step(made, output)
    if trace is not None:
        workloads.add_step(trace, made)
    click.echo(report(made))
    for path in (output, trace):
        if path is not None:
            click.echo(f"in {path}")


def report(step: Step) -> str:
    """The classes of a step's operations as a table, and what has no price."""
    what = f"{step.network}, batch {step.batch_size}, {step.optimizer}"
    lines = [
        f"{what}: {len(step.operations)} operations, {step.macs / 1e9:,.2f} GMAC",
        f"{'phase':10}{'kind':15}{'operations':>10}{'GMAC':>10}{'MB read':>12}{'MB written':>12}",
    ]
    lines += [
        "{phase:10}{kind:15}{operations:10}".format_map(row)
        + f"{row['macs'] / 1e9:10,.2f}{row['bytes_read'] / 1e6:12,.1f}"
        + f"{row['bytes_written'] / 1e6:12,.1f}"
        for row in step.by_class()
    ]
    for what, names in (("without a price", step.unpriced), ("left out", step.left_out)):
        if names:
            lines.append(f"{what}: " + ", ".join(f"{name} ({n})" for name, n in names.items()))
    if step.synchronisations:
        lines.append(f"the host waits for a value {step.synchronisations} times")
    return "\n".join(lines)
