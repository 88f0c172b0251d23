"""Fits the coefficients to measured layers, and judges each fit on shapes it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gscn_sim.gpu.analytical import analytical
from gscn_sim.gpu.coefficients import (
    Coefficients,
    Fit,
    MemoryFit,
    coefficient_table,
    format_fits,
    load_fits,
    typical_coefficients,
)
from gscn_sim.gpu.device import Device, device_names, load_device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.layers import Array, checked_layers
from gscn_sim.gpu.measured import SHAPE, measured_layers
from gscn_sim.gpu.network_fit import DEVICE as MEMORY_DEVICE
from gscn_sim.gpu.network_fit import fit_memory_layers
from gscn_sim.gpu.prediction import PASSES
from gscn_sim.gpu.roofline import roofline
from gscn_sim.gpu.warn import size_ranges

if TYPE_CHECKING:
    import pandas as pd

HEADING = "Coefficients of the analytical GPU model. Made by: gscn-sim gpu fit"
PASS_WEIGHT = {"forward": 0.5, "dgrad": 1.0, "wgrad": 1.0}
"""The baseline is for backward passes; forward ones help to place the shared coefficients."""
OUTLIER_SCALE = 0.15
"""Log errors beyond this count linearly, not squared."""
PRIOR_WEIGHT = 0.5
"""Residual of a coefficient e times its typical value: half of a layer off by a factor e."""


def fit_coefficients(device: Device, table: pd.DataFrame, start: Coefficients) -> Coefficients:
    """The coefficients that explain the measured times best, by robust least squares on logs.

    Each coefficient is drawn weakly to its typical value, so that what a table does not decide
    stays plausible, and bounded by its range.
    """
    from scipy.optimize import least_squares

    layers = checked_layers(table)
    measured = {name: np.log(table[f"{name}_ms"].to_numpy()) for name in PASSES}
    known = {name: np.isfinite(values) for name, values in measured.items()}
    names, low, typical, high, _ = zip(*coefficient_table(), strict=True)
    log_low, log_typical, log_high = (np.log(np.array(v)) for v in (low, typical, high))

    def residuals(log_values: Array) -> Array:
        candidate = _coefficients(names, np.clip(np.exp(log_values), low, high))
        parts = [PRIOR_WEIGHT * (log_values - log_typical)]
        for name in PASSES:
            time_ms = analytical(layers, name, device, candidate).time_ms
            errors = np.log(time_ms) - measured[name]
            parts.append(PASS_WEIGHT[name] * errors[known[name]])
        return np.concatenate(parts)

    margin = 1e-4 * (log_high - log_low)
    guess = np.log(np.array(list(asdict(start).values())))
    best = least_squares(
        residuals,
        np.clip(guess, log_low + margin, log_high - margin),
        bounds=(log_low, log_high),
        loss="soft_l1",
        f_scale=OUTLIER_SCALE,
        diff_step=np.full(len(guess), 1e-2),
        max_nfev=60,
    )
    return _coefficients(names, np.clip(np.exp(best.x), low, high))


def _coefficients(names: Sequence[str], values: Array) -> Coefficients:
    return Coefficients(**{n: float(v) for n, v in zip(names, values, strict=True)})


def leave_one_shape_out(
    device: Device,
    table: pd.DataFrame,
    start: Coefficients,
    progress: Callable[[float], None] = lambda done: None,
) -> pd.DataFrame:
    """Predict every measured layer by a fit without any row of its shape (whatever its batch).

    Returns the shapes with measured ``<pass>_ms`` and ``<pass>_predicted_ms``.
    """
    result = table.copy()
    for name in PASSES:
        result[f"{name}_predicted_ms"] = np.nan
    shapes = table.groupby(list(SHAPE), sort=False).indices
    for done, rows in enumerate(shapes.values()):
        progress(done / len(shapes))
        others = table.drop(index=table.index[rows])
        coefficients = fit_coefficients(device, others, start)
        layers = checked_layers(table.iloc[rows])
        for name in PASSES:
            time_ms = analytical(layers, name, device, coefficients).time_ms
            result.loc[table.index[rows], f"{name}_predicted_ms"] = time_ms
    progress(1.0)
    return result


def error_figures(measured: Array, predicted: Array) -> dict[str, float]:
    """Mean and median absolute error, error of the sum, all in percent, and the layers counted."""
    known = np.isfinite(measured)
    ratio = predicted[known] / measured[known] - 1
    total = predicted[known].sum() / measured[known].sum() - 1
    return {
        "layers": int(known.sum()),
        "mean_percent": float(100 * np.abs(ratio).mean()),
        "median_percent": float(100 * np.median(np.abs(ratio))),
        "sum_percent": float(100 * total),
    }


def fit_device(
    device: Device, progress: Callable[[float], None] = lambda done: None
) -> tuple[Fit, pd.DataFrame]:
    """Fit a device on its measured layers; also returns the leave-one-shape-out predictions.

    Raises:
        GpuError: no layer was measured on the device.
    """
    table = measured_layers(device)
    if not len(table):
        raise GpuError(f"no measured layers for device {device.name}: nothing to fit")
    coefficients = fit_coefficients(device, table, typical_coefficients())
    # Each held-out fit starts afresh: a start that has seen the shape would leak it.
    held_out = leave_one_shape_out(device, table, typical_coefficients(), progress)
    layers = checked_layers(table)
    bands: dict[str, dict[str, tuple[float, float]]] = {"analytical": {}, "roofline": {}}
    errors: dict[str, dict[str, float]] = {}
    for name in PASSES:
        measured = table[f"{name}_ms"].to_numpy()
        unseen = held_out[f"{name}_predicted_ms"].to_numpy()
        seen = analytical(layers, name, device, coefficients).time_ms
        errors[name] = {
            **{f"fitted_{key}": v for key, v in error_figures(measured, seen).items()},
            **{f"held_out_{key}": v for key, v in error_figures(measured, unseen).items()},
        }
        bands["analytical"][name] = _band(measured / unseen)
        bands["roofline"][name] = _band(measured / roofline(layers, device).time_ms)
    result = Fit(
        coefficients=coefficients,
        bands=bands,
        errors=errors,
        ranges=size_ranges(layers),
        fitted_on=f"{len(table)} layers of {device.measured_as}, conv_layers_fp32.csv",
    )
    return result, held_out


def _band(ratio: Array) -> tuple[float, float]:
    low, high = np.nanquantile(ratio, [0.1, 0.9])
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FitResult:
    """All that a fit gives: coefficients, and each layer predicted without its shape."""

    fits: Mapping[str, Fit]
    memory: MemoryFit
    held_out: pd.DataFrame

    def coefficients(self) -> pd.DataFrame:
        """One row a device and coefficient: its value and its plausible range."""
        import pandas as pd

        rows = [
            {
                "device": device,
                "coefficient": name,
                "value": getattr(one.coefficients, name),
                "lowest": low,
                "highest": high,
                "meaning": meaning,
            }
            for device, one in self.fits.items()
            for name, low, _, high, meaning in coefficient_table()
        ]
        return pd.DataFrame(rows)

    def errors(self) -> pd.DataFrame:
        """One row a device and pass: errors in percent, as fitted and held out."""
        import pandas as pd

        rows = [
            {"device": device, "pass": name, **figures}
            for device, one in self.fits.items()
            for name, figures in one.errors.items()
        ]
        return pd.DataFrame(rows)

    def text(self) -> str:
        """The data file."""
        return format_fits(self.fits, self.memory, HEADING)


def fit(
    devices: Sequence[str] | None = None,
    progress: Callable[[str, float], None] = lambda device, done: None,
) -> FitResult:
    """Fit devices by name (default: all that were measured), each with cross-validation.

    ``progress`` is called with a device and the fraction of its cross-validation that is done. The
    memory-bound layers are fitted on networks measured on the GTX 1080 Ti, whose convolutions'
    coefficients are those just fitted or else those shipped.

    Raises:
        GpuError: an unknown device, or one without measured layers.
    """
    import pandas as pd

    names = device_names() if devices is None else list(devices)
    fits: dict[str, Fit] = {}
    tables = []
    for name in names:
        fits[name], held_out = fit_device(load_device(name), partial(progress, name))
        tables.append(held_out.assign(device=name))
    known = fits if MEMORY_DEVICE in fits else load_fits()
    return FitResult(
        fits=fits,
        memory=fit_memory_layers(known),
        held_out=pd.concat(tables, ignore_index=True),
    )
