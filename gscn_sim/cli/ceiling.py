"""``gscn-sim ceiling``: what an infinitely fast array with a design's memory could reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import DesignOptions, batch_option, config_options, step_gpu_option

if TYPE_CHECKING:
    from gscn_sim.config import Config
    from gscn_sim.step.ceiling import Ceiling
    from workloads.step import Step


@click.command()
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
@config_options
@batch_option
@click.option("--step", "step_path", metavar="FILE", help="The step, if it is not in the trace.")
@step_gpu_option
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "json")),
    default="table",
    show_default=True,
    help="What to print.",
)
def ceiling(
    path: str,
    design: DesignOptions,
    batch_size: int | None,
    step_path: str | None,
    gpu: str,
    form: str,
) -> None:
    """Say what no array with a design's memory can beat in the training step of TRACE.

    Every operand and result of the step moves once, compressed where it is sparse, in the passes
    that the design's fusions leave, and computing takes no time. Nothing is simulated.
    """
    config = design.read()

    import workloads
    from gscn_sim.files import records, to_json
    from gscn_sim.step.ceiling import ceiling as find
    from gscn_sim.step.simulate import step_of
    from workloads.step_file import load_step

    trace = workloads.load(path)
    step = step_of(trace, None if step_path is None else load_step(step_path), batch_size)
    beside = {} if gpu == "none" else _on_gpu(step, config, gpu)
    found = find(trace, step, config)
    document = {
        "memory_seconds": found.memory_seconds,
        "chain_seconds": found.chain_seconds,
        "products_seconds": found.products_seconds,
        "seconds": found.seconds,
        **beside,
    }
    if beside:
        document["most_speedup"] = beside["gpu_busy_seconds"] / found.seconds
    if form == "json":
        click.echo(to_json({**document, "table": records(found.table)}))
        return
    _show(found, step, config)
    if beside:
        _show_beside(found, config, gpu, beside)


def _show(found: Ceiling, step: Step, config: Config) -> None:
    """The table of what moves, and the times that nothing is below."""
    from gscn_sim.cli.show import show_frame

    peak = config.dram.peak_gbps
    shown = found.table.assign(
        MB=found.table["moved_bytes"] / 1e6,
        ms=found.table["moved_bytes"] / (peak * 1e6),
        gmac=found.table["products"] / 1e9,
    ).drop(columns=["moved_bytes", "products"])
    title = f"A step of {step.network}, batch {step.batch_size}: what moves on {config.name}"
    show_frame(title, shown.rename(columns={"gmac": "10^9 products"}))
    click.echo(
        f"no array with this memory ({peak:,.0f} GB/s) is faster than "
        f"{1e3 * found.seconds:.3g} ms: all bytes take {1e3 * found.memory_seconds:.3g} ms, "
        f"the longest chain of operations {1e3 * found.chain_seconds:.3g} ms"
    )
    click.echo(
        f"the multipliers of {config.name} take {1e3 * found.products_seconds:.3g} ms for the "
        "products of non-zeros if none is ever idle"
    )


def _show_beside(found: Ceiling, config: Config, gpu: str, beside: dict[str, float]) -> None:
    """How much faster than the GPU a machine can be at most."""
    busy, fused = beside["gpu_busy_seconds"], beside["gpu_fused_seconds"]
    click.echo(
        f"{gpu} is busy for {1e3 * busy:.3g} ms, its waits for its host not counted: at most "
        f"{busy / found.seconds:.3g}x faster with this memory"
    )
    click.echo(
        f"with the fusions of {config.name} it would be busy for {1e3 * fused:.3g} ms or more "
        "(its products as they are, all else at its memory's peak): at most "
        f"{fused / found.seconds:.3g}x"
    )


def _on_gpu(step: Step, config: Config, gpu: str) -> dict[str, float]:
    """What the ordinary step keeps a GPU busy for, as it is and with the design's fusions."""
    from gscn_sim.gpu import predict_step
    from gscn_sim.gpu.device import load_device
    from gscn_sim.gpu.step import WAITING
    from gscn_sim.step.ceiling import dense_pass_bytes

    table = predict_step(step.without("resprop"), device=gpu)
    products = table["kind"].isin(["convolution", "matmul"])
    passes_ms = dense_pass_bytes(step, config) / load_device(gpu).bytes_per_ms
    return {
        "gpu_busy_seconds": float(table.loc[table["operation"] != WAITING, "seconds"].sum()),
        "gpu_fused_seconds": float(table.loc[products, "seconds"].sum()) + passes_ms / 1e3,
    }
