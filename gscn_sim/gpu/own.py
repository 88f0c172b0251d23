"""A device file from measurements of one's own: the table that 'resprop-train measure-gpu' writes.

Its first lines, comments, are the card's figures as keys of a device file; then follow rows of
layers (``what`` is ``layer``) and of whole steps of known networks (``step``), each in a ``mode``.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gscn_sim.gpu.device import Device, Precision
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.fits import Fit, FitFile, Fitted, format_file
from gscn_sim.gpu.fitting import check_rows, fit_layers
from gscn_sim.gpu.layers import ALIASES, REQUIRED, checked_layers
from gscn_sim.gpu.measured import measured_rows
from gscn_sim.gpu.step_fit import fit_energy, fit_passes
from gscn_sim.toml import TomlError, parse_toml
from workloads.errors import one_line, reason
from workloads.files import read_regular
from workloads.sealed_text import CHANGED, is_whole_text, sealed_text

if TYPE_CHECKING:
    import pandas as pd

FIGURES = (
    *("title", "architecture", "sms", "cores_per_sm", "boost_clock_ghz", "bandwidth_gb_s"),
    *("l2_bytes", "shared_bytes_per_sm", "cudnn", "peak_tflops"),
)
"""What the comments say; ``peak_tflops`` maps a mode to its peak."""
TIMES = ("t_fwd_ms", "t_dgrad_ms", "t_wgrad_ms")
STEP = ("network", "t_bwd_ms", "t_step_ms", "energy_j")
COLUMNS = ("what", "mode", *REQUIRED, *ALIASES, "groups", *TIMES, *STEP)
LIBRARY = {"fp32": "cudnn-9-fp32", "tf32": "cudnn-9-tensor", "bf16": "cudnn-9-tensor"}
LAUNCH_US, ACHIEVED = 2.2, 0.73
"""What the roofline and tiny kernels take for granted, from the H100."""
FEWEST_STEPS = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OwnFit:
    """A device file's text, the fits in it by precision, each layer predicted without its shape."""

    text: str
    fits: Mapping[str, Fit]
    held_out: pd.DataFrame


def fit_own(path: Path, progress: Callable[[str, str], None] = lambda key, what: None) -> OwnFit:
    """Fit every precision that a table of measurements has enough layers of.

    Raises:
        GpuError: a file that is no such table, an unknown mode, or too few rows in every mode.
    """
    import pandas as pd

    figures, table = read_own(path)
    modes = [mode for mode in LIBRARY if (table["mode"] == mode).any()]
    device = _device(path, figures, modes)
    layers = table[table["what"] == "layer"]
    fits: dict[str, Fit] = {}
    unseen = []
    for mode in modes:
        rows = measured_rows(layers, mode)
        try:
            checked_layers(rows)
            check_rows(device.at(mode), rows)
        except GpuError as error:
            raise GpuError(f"{path}: {error}") from None
        progress(mode, "convolutions, leaving out one shape at a time")
        result = fit_layers(device.at(mode), rows, path.name)
        fits[mode] = result.fit
        unseen.append(result.held_out.assign(device=mode))
    by_key = {device.at(mode).key: fit for mode, fit in fits.items()}
    steps, energy = _steps(device, table[table["what"] == "step"], modes, by_key, path.name)
    file = FitFile(device=fits, step=steps, energy=energy, sparse={})
    return OwnFit(
        text=sealed_text(
            _head(device, figures)
            + format_file(file, f"Fitted to {path.name} by: gscn-sim gpu fit")
        ),
        fits=fits,
        held_out=pd.concat(unseen, ignore_index=True),
    )


def _steps(
    device: Device, table: pd.DataFrame, modes: list[str], fits: Mapping[str, Fit], source: str
) -> tuple[dict[str, Fitted], dict[str, Fitted]]:
    """Operations and energy of steps, as far as enough steps were measured."""
    named = {"N": "batch_size", "t_fwd_ms": "forward_ms", "t_bwd_ms": "backward_ms"}
    table = table.rename(columns={**named, "t_step_ms": "step_ms"}).assign(source=source)
    table["batch_size"] = table["batch_size"].astype(int)
    steps = {}
    for mode in modes:
        rows = table[table["mode"] == mode]
        if len(rows) >= FEWEST_STEPS:
            steps[mode] = fit_passes(device.at(mode), fits, rows, source)
    by_key = {device.at(mode).key: fitted for mode, fitted in steps.items()}
    file = FitFile(device=fits, step=by_key, energy={}, sparse={})
    energy = {
        mode: fit_energy(device.at(mode), table[table["mode"] == mode], file, source)
        for mode in steps
    }
    return steps, {mode: fitted for mode, fitted in energy.items() if fitted is not None}


def read_own(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The card's figures and the rows.

    Raises:
        GpuError: the file is missing, or no table that 'resprop-train measure-gpu' writes.
    """
    import pandas as pd

    try:
        text = read_regular(path).decode("utf-8")
        if not is_whole_text(text):
            raise ValueError(CHANGED)
        head = "\n".join(line[1:] for line in text.splitlines() if line.startswith("#"))
        figures = parse_toml(head)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = pd.read_csv(io.StringIO(text), comment="#", index_col=False)
    except (OSError, UnicodeDecodeError) as error:
        raise GpuError(f"{path}: cannot be read as measurements: {reason(error)}") from error
    except (ValueError, Warning, TomlError) as error:
        raise GpuError(
            f"{path}: cannot be read as measurements: {one_line(str(error))[:150]}"
        ) from error
    missing = [name for name in COLUMNS if name not in table.columns]
    missing += [f"# {name}" for name in FIGURES if name not in figures]
    if missing:
        raise GpuError(
            f"{path}: no table that 'resprop-train measure-gpu' wrote: it lacks "
            f"{', '.join(missing[:4])}"
        )
    unknown = sorted(set(map(str, table["mode"])) - set(LIBRARY))
    if unknown or not len(table):
        found = unknown[0][:40] if unknown else "no rows"
        raise GpuError(f"{path}: mode must be one of {', '.join(LIBRARY)}, got {found}")
    return figures, table


def _device(path: Path, figures: Mapping[str, Any], modes: list[str]) -> Device:
    peaks = figures["peak_tflops"]
    try:
        precisions = {
            mode: Precision(
                kernel_library=LIBRARY[mode],
                peak_tflops=float(peaks[mode]),
                element_bytes=2 if mode == "bf16" else 4,
            )
            for mode in modes
        }
        known = {f.name for f in fields(Device)}
        return Device(
            name=path.stem,
            precisions=precisions,
            precision=modes[0],
            launch_overhead_us=LAUNCH_US,
            achieved_bandwidth=ACHIEVED,
            source=f"measured: {path.name}",
            **{name: figures[name] for name in FIGURES if name in known},
        )
    except (TypeError, KeyError, ValueError) as error:
        if isinstance(error, GpuError):
            raise GpuError(f"{path}: {error}") from None
        raise GpuError(
            f"{path}: the card's figures cannot be used: {one_line(str(error))[:120]}"
        ) from error


def _head(device: Device, figures: Mapping[str, Any]) -> str:
    """The device file's figures and precisions."""
    lines = [f"{name} = {json.dumps(figures[name])}" for name in FIGURES if name != "peak_tflops"]
    lines += [
        f"launch_overhead_us = {LAUNCH_US} # assumed: least time of any kernel",
        f"achieved_bandwidth = {ACHIEVED} # assumed: part of bandwidth_gb_s that streams reach",
        f"source = {json.dumps(device.source)}",
    ]
    for mode, one in device.precisions.items():
        lines += ["", f"[precision.{mode}]", f'kernel_library = "{one.kernel_library}"']
        lines += [f"peak_tflops = {one.peak_tflops:g}", f"element_bytes = {one.element_bytes}"]
    return "\n".join(lines) + "\n\n"
