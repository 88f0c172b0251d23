"""``gscn-sim trace import`` and ``export``: layers from and to the files of other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from workloads import LayerShape, Trace
    from workloads.layer import Operand

IMPORT_FORMATS = ("table", "scalesim", "onnx", "npy")
EXPORT_FORMATS = ("scalesim", "timeloop")
NOT_FOR_MASKS = ("samples", "activation_density", "gradient_density", "weight_density", "seed")


@click.command("import")
@click.argument("path", metavar="FILE")
@click.option("--from", "form", type=click.Choice(IMPORT_FORMATS), required=True)
@click.option("--network", metavar="NAME", help="Default: the file's name.")
@click.option("--batch", "batch_size", type=int, default=16, show_default=True)
@click.option("--samples", type=int, default=2, show_default=True, help="Recorded of each batch.")
@click.option("--activation-density", type=float, default=0.5, show_default=True)
@click.option("--gradient-density", type=float, default=0.1, show_default=True)
@click.option("--weight-density", type=float, default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--output", metavar="PATH", required=True)
def import_trace(
    path: str,
    form: str,
    network: str | None,
    batch_size: int,
    samples: int,
    activation_density: float,
    gradient_density: float,
    weight_density: float,
    seed: int,
    output: str,
) -> None:
    """Make a trace of the layers of FILE, with random masks.

    A table states densities layer by layer; the options are for those that it leaves out. With npy
    FILE is a folder with layers.csv and the masks themselves, and densities and samples are theirs.
    """
    from pathlib import Path

    import workloads
    from workloads.interop.npy_folder import read_npy_folder

    network = network or Path(path).stem
    if form == "npy":
        _refuse_options(form, *NOT_FOR_MASKS)
        made = workloads.Trace(network=network, batch_size=batch_size, layers=read_npy_folder(path))
    else:
        layers, stated = _read(path, form)
        defaults: dict[Operand, float] = {
            "activation": activation_density,
            "gradient": gradient_density,
            "weight": weight_density,
        }
        densities = {
            operand: {name: stated[name].get(operand, default) for name, _ in layers}
            for operand, default in defaults.items()
        }
        made = workloads.synthesize(
            network,
            layers,
            batch_size=batch_size,
            samples=samples,
            activation_density=densities["activation"],
            gradient_density=densities["gradient"],
            weight_density=densities["weight"],
            seed=seed,
        )
    workloads.save(made, output)
    click.echo(f"{output}: {len(made.layers)} layers of {made.network}")


def _refuse_options(form: str, *names: str) -> None:
    """Refuse options that were given but would have no effect."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} has no effect with --from {form}: leave it out")


@click.command("export")
@click.argument("path", metavar="TRACE")
@click.option("--to", "form", type=click.Choice(EXPORT_FORMATS), required=True)
@click.option("-o", "--output", metavar="PATH", required=True)
def export_shapes(path: str, form: str, output: str) -> None:
    """Write the layer shapes of TRACE as another tool's file (its masks stay behind).

    For timeloop PATH is a folder: one problem a layer and phase, with the densities of its masks.
    """
    import workloads
    from gscn_sim.files import write_text
    from workloads.interop.scalesim import topology_text

    trace = workloads.load(path)
    if form == "timeloop":
        count = _write_problems(trace, output)
        click.echo(f"{output}: {count} problems as {form}")
        return
    shapes = {layer.name: layer.shape for layer in trace.layers}
    write_text(output, topology_text(list(shapes.items())))
    click.echo(f"{output}: {len(shapes)} layers as {form}")


def _write_problems(trace: Trace, folder: str) -> int:
    """Write the problems of all recorded layers and phases; their number."""
    import re

    from gscn_sim.files import make_folder, write_text
    from workloads.interop.timeloop import OUTPUTS, problem_text

    texts = {
        f"{index:04d}_{re.sub('[^A-Za-z0-9.-]', '_', layer.name)[:80]}_{phase}.yaml": problem_text(
            layer, phase, trace.batch_of(layer)
        )
        for index, layer in enumerate(trace.layers)
        for phase in layer.phases()
        if phase in OUTPUTS
    }
    target = make_folder(folder)
    for name, text in texts.items():
        write_text(target / name, text)
    return len(texts)


def _read(
    path: str, form: str
) -> tuple[list[tuple[str, LayerShape]], dict[str, dict[Operand, float]]]:
    """Names and shapes in order, and the densities that the file states for each name."""
    from workloads.interop.layer_table import read_layer_table
    from workloads.interop.onnx_graph import read_onnx
    from workloads.interop.scalesim import read_topology

    if form in ("scalesim", "onnx", "npy"):
        layers = read_topology(path) if form == "scalesim" else read_onnx(path)
        return layers, {name: {} for name, _ in layers}
    table = read_layer_table(path)
    return [(t.name, t.shape) for t in table], {t.name: t.densities for t in table}
