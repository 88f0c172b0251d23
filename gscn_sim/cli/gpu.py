"""``gscn-sim gpu``: times of layers on a GPU, the fit behind them, and how good it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli import completion
from gscn_sim.cli.group import write_sections
from gscn_sim.cli.options import OUTPUT_FILE
from gscn_sim.gpu.errors import GpuError
from workloads.errors import did_you_mean, one_line

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.gpu.device import Device

_PREDICT = "predict"


class _DefaultToPredict(click.Group):
    """A group whose first argument, when it names no subcommand, is a table to predict."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [_PREDICT, *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = [(name, command.get_short_help_str()) for name, command in self.commands.items()]
        write_sections(formatter, lines, {"To fit and check the model": ("fit", "report")})


def _table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--output`` and ``--format`` of a table."""
    form = click.option(
        "--format",
        "form",
        type=click.Choice(("table", "csv", "json")),
        default="table",
        show_default=True,
        help="What to print.",
    )
    output = click.option(
        "-o",
        "--output",
        metavar="PATH",
        type=OUTPUT_FILE,
        help="Write the table (.csv, .parquet, .json).",
    )
    return output(form(command))


@click.group(cls=_DefaultToPredict)
def gpu() -> None:
    """Predict a GPU's times for a table of layers: gscn-sim gpu LAYERS.csv --device NAME.

    NAME may say a precision: h100:bf16. Columns of the table: N, C, H, W, K, R, S, pad_h, pad_w,
    stride_h, stride_w and, if wanted, dil_h, dil_w, groups.
    """


@gpu.command(_PREDICT)
@click.argument(
    "layers", type=click.Path(path_type=Path), metavar="LAYERS.csv", shell_complete=completion.files
)
@click.option(
    "--device",
    default="gtx-1080ti",
    show_default=True,
    metavar="NAME|FILE.toml[:PRECISION]",
    shell_complete=completion.devices,
)
@click.option(
    "--precision", metavar="fp32|tf32|bf16", help="Also as part of the device: h100:bf16."
)
@click.option(
    "--model",
    type=click.Choice(("analytical", "roofline")),
    default="analytical",
    show_default=True,
    help="The roofline serves any device; the other needs fitted coefficients.",
)
@click.option("--coefficients", type=click.Path(path_type=Path), help="A file 'gpu fit' wrote.")
@click.option(
    "--gpu-sparse",
    "density",
    type=float,
    metavar="DENSITY",
    help="The card's own sparse products of a gradient this dense, beside its dense phases.",
)
@_table_options
def predict_command(
    layers: Path,
    device: str,
    precision: str | None,
    model: str,
    coefficients: Path | None,
    density: float | None,
    output: str | None,
    form: str,
) -> None:
    """Predict the forward, dgrad and wgrad times of every layer of a table."""
    from gscn_sim.gpu.device import find_device
    from gscn_sim.gpu.fits import load_fits
    from gscn_sim.gpu.prediction import predict

    gpu_device = find_device(device, precision)
    if density is not None:
        _sparse(_read_table(layers), gpu_device, density, output, form)
        return
    fits = None if coefficients is None else load_fits(coefficients)
    result = predict(_read_table(layers), gpu_device, model, fits)
    _warn(result)
    where = f"{gpu_device.title}, {gpu_device.precision}"
    title = f"{len(result)} layers on {where}, model {model}, times in ms"
    if len(result) and result["dgrad_low_ms"].notna().all():
        title = f"{title}\n{_bands(result)}"
    _answer(result, title, output, form)


@gpu.command()
@click.argument("measured", type=click.Path(path_type=Path), metavar="[MINE.csv]", required=False)
@click.option("--device", "devices", multiple=True, metavar="NAME", help="Default: all measured.")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=OUTPUT_FILE,
    help="Default: coefficients.toml, or MINE.toml.",
)
@click.option(
    "--held-out",
    metavar="PATH",
    type=OUTPUT_FILE,
    help="Write each layer predicted without its shape.",
)
def fit(
    measured: Path | None, devices: tuple[str, ...], output: str | None, held_out: str | None
) -> None:
    """Fit the coefficients to measured layers, with cross-validation by shape.

    With a table that 'resprop-train measure-gpu' wrote: make a device file of that card, for
    --device MINE.toml. Without: fit the devices that ship to the measurements that ship.
    """
    from gscn_sim.files import write_table, write_text
    from gscn_sim.gpu.fit_all import fit as fit_devices
    from gscn_sim.gpu.fitting import errors_table
    from gscn_sim.gpu.own import fit_own

    def progress(key: str, what: str) -> None:
        click.echo(f"fitting {key}: {what} ...", err=True)

    if measured is not None and devices:
        raise GpuError("--device names devices that ship; MINE.csv is a card of its own")
    if measured is None:
        result = fit_devices(devices or None, progress)
        text, fits, unseen = result.text(), result.file.device, result.held_out
    else:
        own = fit_own(measured, progress)
        text, fits, unseen = own.text, own.fits, own.held_out
        output = output or str(measured.with_suffix(".toml"))
    output = output or "coefficients.toml"
    write_text(output, text)
    if held_out is not None:
        write_table(held_out, unseen, {"made_by": "gscn-sim gpu fit"})
    keys = None if measured else list(unseen["device"].unique())
    errors = errors_table(fits, keys).drop(columns="held_out_layers").round(1)
    errors.columns = [name.removesuffix("_percent") for name in errors.columns]
    click.echo("errors in percent, as fitted and held out (shapes left out of the fit)")
    click.echo(_text(errors))
    click.echo(f"wrote {output}")


@gpu.command()
@click.option("--device", "devices", multiple=True, metavar="NAME", help="Default: all measured.")
@click.option("--model", type=click.Choice(("analytical", "roofline")), default="analytical")
@click.option("--coefficients", type=click.Path(path_type=Path), help="A file 'gpu fit' wrote.")
@click.option("--by", type=click.Choice(("filter", "layer", "network", "family")), default="filter")
@click.option(
    "--plot", metavar="PATH", type=OUTPUT_FILE, help="Write a scatter plot: .svg, .png or .pdf."
)
@_table_options
def report(
    devices: tuple[str, ...],
    model: str,
    coefficients: Path | None,
    by: str,
    plot: str | None,
    output: str | None,
    form: str,
) -> None:
    """Compare predicted with measured times: per device, phase and filter size."""
    from gscn_sim.files import whole_file
    from gscn_sim.gpu import reporting
    from gscn_sim.gpu.fits import load_fits

    names = devices or None
    fits = None if coefficients is None else load_fits(coefficients)
    if by == "network":
        result, title = reporting.network_report(names), "whole backward passes, times in ms"
    elif by == "family":
        result, title = reporting.compare_families(names, fits), "families against kernels that ran"
    elif by == "layer":
        result, title = reporting.compare_layers(names, model, fits), "layers, times in ms"
    else:
        result, title = reporting.report(names, model, fits), "errors in percent"
    if plot is not None:
        suffix = Path(plot).suffix.lower().removeprefix(".")
        if suffix not in ("svg", "png", "pdf"):
            raise GpuError(f"{plot}: a plot's name must end in .svg, .png or .pdf")
        picture = reporting.scatter_plot(reporting.compare_layers(names, model, fits), suffix)
        with whole_file(plot) as file:
            file.write(picture)
    _answer(result, f"{title}, model {model}", output, form)


def _sparse(
    layers: pd.DataFrame, device: Device, density: float, output: str | None, form: str
) -> None:
    from gscn_sim.gpu.sparse import predict_sparse

    result = predict_sparse(layers, density, device)
    title = (
        f"{len(result)} layers on {device.title}: its own sparse products of a gradient of density "
        f"{density:g} against its dense passes, times in ms; they gain below gain_below"
    )
    _answer(result, title, output, form)


def _warn(result: pd.DataFrame) -> None:
    """One line on stderr: the first layer unlike all measured ones, and how many more there are."""
    far = [(row, text) for row, text in enumerate(result["gpu_note"], start=1) if text]
    if far:
        row, text = far[0]
        more = f" (and {len(far) - 1} more rows, see column gpu_note)" if len(far) > 1 else ""
        click.echo(f"warning: row {row}: {text}{more}", err=True)


def _read_table(path: Path) -> pd.DataFrame:
    """A table of layers by the rules of :mod:`workloads.tables`.

    Columns that are not ours stay as they are, but for those whose names are nearly ours.
    """
    import pandas as pd

    from gscn_sim.gpu.layers import DEFAULTS, REQUIRED, checked_layers
    from workloads.interop.layer_table import column_name
    from workloads.tables import read_table

    table = read_table(path, canonical=column_name)
    known = (*REQUIRED, *DEFAULTS)
    others = [name for name in table.columns if name not in known]
    absent = [name for name in known if name not in table.columns]
    for name in others:
        if proposal := did_you_mean(name, absent, 0.75):
            raise GpuError(
                f"{path}, line {table.header_line}: columns of layers are {', '.join(known)}, "
                f"got {one_line(name)!r:.80}{proposal}"
            )
    present = [name for name in known if name in table.columns]
    numbers = {n: [row.whole(n, DEFAULTS.get(n)) for row in table.rows] for n in present}
    frame = pd.DataFrame(numbers, index=range(len(table.rows)))
    for name in others:
        frame[name] = [row.cells.get(name, "") for row in table.rows]
        with contextlib.suppress(ValueError):  # it is no column of numbers
            frame[name] = pd.to_numeric(frame[name])
    try:
        checked_layers(frame)
    except GpuError as error:
        raise GpuError(f"{path}: {error}") from None
    return frame


def _answer(result: pd.DataFrame, title: str, output: str | None, form: str) -> None:
    from gscn_sim.cli.options import command_line
    from gscn_sim.files import csv_text, records, to_json, write_table
    from gscn_sim.results.provenance import code_digest, versions

    if output is not None:
        sidecar = {"command": command_line(), "versions": versions(), "code": code_digest()}
        write_table(output, result, sidecar)
    if form == "json":
        click.echo(to_json(records(result)))
    elif form == "csv":
        click.echo(csv_text(result), nl=False)
    else:
        click.echo(title)
        click.echo(_text(_brief(result)))


def _brief(result: pd.DataFrame) -> pd.DataFrame:
    """What fits 100 columns: of a prediction, shapes, backward times, algorithms and bounds."""
    columns: dict[str, Any]
    if "gain_below" in result.columns:
        columns = {"N x C x H x W, filters": [_label(r) for r in result.to_dict("records")]}
        names = [f"{kind}_{name}_ms" for kind in ("dense", "sparse") for name in ("dgrad", "wgrad")]
        columns |= {name: result[name].round(3) for name in (*names, "convert_ms")}
        columns |= {name: result[name].round(3) for name in ("gain", "gain_below")}
        return result[[]].assign(**columns)
    if "N" not in result.columns:
        bands = [c for c in result.columns if c.endswith(("_low_ms", "_high_ms"))]
        forward = ("forward_ms", "measured_forward_ms")
        hidden = [c for c in (*bands, *forward, "measured_source") if c in result]
        return result.drop(columns=hidden).rename(columns=lambda c: c.removesuffix("_ms")).round(3)
    columns = {"N x C x H x W, filters": [_label(r) for r in result.to_dict("records")]}
    if "phase" in result.columns:
        columns |= {name: result[name] for name in ("device", "phase")}
        columns |= {name: result[f"{name}_ms"].round(3) for name in ("measured", "predicted")}
        return result[[]].assign(**columns, error=result["error_percent"].round(1))
    for phase in ("dgrad", "wgrad"):
        columns[f"{phase}_ms"] = result[f"{phase}_ms"].map("{:.3f}".format)
        columns[f"{phase} by"] = result[f"{phase}_algorithm"]
        columns["bound" if phase == "dgrad" else "bound "] = result[f"{phase}_bound"]
    if result["gpu_note"].any():
        columns["note"] = result["gpu_note"].map(lambda text: "extrapolated" if text else "")
    return result[[]].assign(**columns)


def _label(row: dict[Any, Any]) -> str:
    image = "x".join(f"{row[axis]:.0f}" for axis in "NCHW")
    stride = f"/{row['stride_h']:.0f}" if row["stride_h"] > 1 else ""
    return f"{image}, {row['K']:.0f} {row['R']:.0f}x{row['S']:.0f}{stride}"


def _bands(result: pd.DataFrame) -> str:
    """The band of each pass relative to its prediction, the same for every layer."""
    first = result.iloc[0]
    parts = [
        f"{phase} {first[f'{phase}_low_ms'] / first[f'{phase}_ms']:.2f} to "
        f"{first[f'{phase}_high_ms'] / first[f'{phase}_ms']:.2f}"
        for phase in ("forward", "dgrad", "wgrad")
    ]
    return f"80 % of measured / predicted: {', '.join(parts)}"


def _text(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False)
