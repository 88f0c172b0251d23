"""The training step in a trace: ``gscn-sim trace info --step`` and ``gscn-sim trace add-step``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workloads import GscnError

if TYPE_CHECKING:
    from workloads import Operation, Step, Trace


@click.command("add-step")
@click.argument("path", metavar="TRACE")
@click.option("--step", "source", metavar="NAME|FILE", help="Network, or a file with a step.")
@click.option("-o", "--output", metavar="PATH", help="Where to write; without it, TRACE itself.")
def add_step(path: str, source: str | None, output: str | None) -> None:
    """Complete TRACE with the operations of a whole training step.

    The step is that of the trace's network at its batch size, of another one that comes with the
    program, or from a file that resprop-train step has written.
    """
    import workloads

    loaded = workloads.load(path)
    if source is None:
        step = workloads.known_step(loaded.network, loaded.batch_size)
    else:
        step = read_step(source, loaded.batch_size)
    workloads.add_step(path, step, output)
    click.echo(f"{output or path}: {len(step.operations)} operations of {step.network}")


def read_step(source: str, batch_size: int) -> Step:
    """The step in a file, or that of a well-known network."""
    import workloads

    if Path(source).exists():
        return workloads.load_step(source)
    return workloads.known_step(source, batch_size)


def show_step(loaded: Trace, form: str) -> None:
    """Show the operations of a trace's step: by class as a table, one by one as CSV or JSON."""
    from gscn_sim.cli.show import number, show_table, text
    from gscn_sim.files import to_json

    step = loaded.step
    if step is None:
        raise GscnError("the trace has no step: gscn-sim trace add-step completes it")
    rows = [operation_facts(i, operation) for i, operation in enumerate(step.operations)]
    if form == "json":
        click.echo(to_json({"step": step_facts(step), "operations": rows}))
        return
    if form == "csv":
        import pandas as pd

        frame = pd.DataFrame(rows)
        frame["depends_on"] = [" ".join(map(str, row["depends_on"])) for row in rows]
        click.echo(frame.to_csv(index=False, lineterminator="\n"), nl=False)
        return
    for name, value in step_facts(step).items():
        click.echo(f"{name.replace('_', ' '):24}{value}")
    click.echo()
    columns = [
        text("phase"),
        text("kind"),
        number("operations", "operations"),
        number("macs", "GMAC", 1e-9),
        number("bytes_read", "MB read", 1e-6),
        number("bytes_written", "MB written", 1e-6),
    ]
    show_table(f"{len(rows)} operations", columns, step.by_class())


def step_facts(step: Step) -> dict[str, Any]:
    """What is known about a step, with the operations that have no price or were left out."""
    facts: dict[str, Any] = {
        "network": step.network,
        "batch_size": step.batch_size,
        "input_shapes": ", ".join("x".join(map(str, shape)) for shape in step.input_shapes),
        "optimizer": step.optimizer,
        "synchronisations": step.synchronisations,
        "without_a_price": _counted(step.unpriced),
        "left_out": _counted(step.left_out),
        "recorded_by": ", ".join(f"{name} {version}" for name, version in step.versions.items()),
    }
    return {name: value for name, value in facts.items() if value != ""}


def operation_facts(position: int, operation: Operation) -> dict[str, Any]:
    """One operation of a step as a row."""
    return {
        "operation": position,
        "phase": operation.phase,
        "kind": operation.kind,
        "name": operation.name,
        "module": operation.module,
        "use": operation.use,
        "layer_phase": str(operation.layer_phase or ""),
        "inputs": _shapes(operation.inputs),
        "outputs": _shapes(operation.outputs),
        "macs": operation.macs,
        "bytes_read": operation.bytes_read,
        "bytes_written": operation.bytes_written,
        "depends_on": list(operation.depends_on),
        "priced": operation.priced,
    }


def _shapes(tensors: Any) -> str:
    return " ".join(f"{t.dtype}[{'x'.join(map(str, t.shape))}]" for t in tensors)


def _counted(names: Any) -> str:
    return ", ".join(f"{name} ({count})" for name, count in names.items())
