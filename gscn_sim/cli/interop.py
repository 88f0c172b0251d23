"""``gscn-sim trace import`` and ``export``: layers from and to the files of other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gscn_sim.cli import completion
from gscn_sim.cli.options import OUTPUT_FILE
from workloads import GscnError

if TYPE_CHECKING:
    from workloads import Trace
    from workloads.interop.imported import ImportedLayer
    from workloads.layer import Operand

IMPORT_FORMATS = ("table", "scalesim", "onnx", "npy")
TABLE_ENDINGS = (".csv", ".tsv", ".txt")
EXPORT_FORMATS = ("scalesim", "timeloop")
NOT_FOR_MASKS = ("samples", "activation_density", "gradient_density", "weight_density", "seed")


@click.command("import")
@click.argument("path", metavar="FILE", shell_complete=completion.files)
@click.option(
    "--from",
    "form",
    type=click.Choice(IMPORT_FORMATS),
    help="Default: what the name's ending or the column names say.",
)
@click.option("--network", metavar="NAME", help="Default: the file's name.")
@click.option("--batch", "batch_size", type=int, default=16, show_default=True)
@click.option("--samples", type=int, default=2, show_default=True, help="Recorded of each batch.")
@click.option("--activation-density", type=float, default=0.5, show_default=True)
@click.option("--gradient-density", type=float, default=0.1, show_default=True)
@click.option("--weight-density", type=float, default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--skip-unsupported",
    is_flag=True,
    help="Leave out ONNX nodes that are no layer, and say which.",
)
@click.option("-o", "--output", metavar="PATH", type=OUTPUT_FILE, required=True)
def import_trace(
    path: str,
    form: str | None,
    network: str | None,
    batch_size: int,
    samples: int,
    activation_density: float,
    gradient_density: float,
    weight_density: float,
    seed: int,
    skip_unsupported: bool,
    output: str,
) -> None:
    """Make a trace of the layers of FILE, with random masks.

    FILE is a table of layers, a SCALE-Sim topology, an ONNX graph, or a folder of npy masks. A file
    states densities layer by layer; the options are for those that it leaves out. With npy
    FILE is a folder with layers.csv and the masks themselves, and densities and samples are theirs.
    """
    from pathlib import Path

    import workloads
    from workloads.interop.npy_folder import read_npy_folder

    form = form or guess_format(path)
    if form != "onnx":
        _refuse_options(form, "skip_unsupported")
    network = network or Path(path).stem
    if form == "npy":
        _refuse_options(form, *NOT_FOR_MASKS)
        made = workloads.Trace(network=network, batch_size=batch_size, layers=read_npy_folder(path))
    else:
        layers = _read(path, form, skip_unsupported)
        defaults: dict[Operand, float] = {
            "activation": activation_density,
            "gradient": gradient_density,
            "weight": weight_density,
        }
        densities = {
            operand: {layer.name: layer.densities.get(operand, default) for layer in layers}
            for operand, default in defaults.items()
        }
        made = workloads.synthesize(
            network,
            [(layer.name, layer.shape) for layer in layers],
            batch_size=batch_size,
            samples=samples,
            activation_density=densities["activation"],
            gradient_density=densities["gradient"],
            weight_density=densities["weight"],
            seed=seed,
        )
    workloads.save(made, output)
    click.echo(f"{output}: {len(made.layers)} layers of {made.network}, read as {form}")


def guess_format(path: str) -> str:
    """The format of a file to import, by its name's ending and, of a table, its columns.

    Raises:
        GscnError: neither says.
    """
    from pathlib import Path

    from workloads.interop.scalesim import is_topology

    suffix = Path(path).suffix.lower()
    if Path(path).is_dir():
        return "npy"
    if suffix == ".onnx":
        return "onnx"
    if suffix in TABLE_ENDINGS:
        return "scalesim" if is_topology(path) else "table"
    raise GscnError(
        f"{path}: its name must end in .onnx, {', '.join(TABLE_ENDINGS)} or be a folder's, "
        f"or --from must say what it is: {', '.join(IMPORT_FORMATS)}"
    )


def _refuse_options(form: str, *names: str) -> None:
    """Refuse options that were given but would have no effect."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} has no effect with --from {form}: leave it out")


@click.command("export")
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
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


def _read(path: str, form: str, skip_unsupported: bool) -> list[ImportedLayer]:
    """The layers of a file under names of their own; says on stderr what was left out."""
    from workloads.interop.imported import with_own_names
    from workloads.interop.layer_table import read_layer_table
    from workloads.interop.onnx_graph import read_onnx
    from workloads.interop.scalesim import read_topology

    if form == "scalesim":
        return read_topology(path)
    if form == "table":
        return with_own_names(read_layer_table(path))
    layers, skipped = read_onnx(path, skip_unsupported=skip_unsupported)
    if skipped:
        click.echo(f"{len(skipped)} nodes are left out, and so is their work:", err=True)
    for node in skipped:
        click.echo(f"  {node.node}: {node.why}", err=True)
    return layers
