"""Fits the convolutions' coefficients to measured layers, and judges each on unseen shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gscn_sim.gpu.analytical import analytical
from gscn_sim.gpu.coefficients import LIBRARIES, Coefficients
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.fits import Fit
from gscn_sim.gpu.layers import Array, checked_layers
from gscn_sim.gpu.measured import SHAPE
from gscn_sim.gpu.prediction import PASSES
from gscn_sim.gpu.roofline import roofline
from gscn_sim.gpu.warn import measured_kinds, size_ranges

if TYPE_CHECKING:
    import pandas as pd

C = TypeVar("C", bound=Coefficients)
PASS_WEIGHT = {"forward": 0.5, "dgrad": 1.0, "wgrad": 1.0}
"""The baseline is for backward passes; forward ones help to place the shared coefficients."""
OUTLIER_SCALE = 0.15
"""Log errors beyond this count linearly, not squared."""
PRIOR_WEIGHT = 0.5
"""Residual of a coefficient e times its typical value: half of a layer off by a factor e."""
SUM_WEIGHT = 10.0
"""Residual of a pass's sum off by a factor e: networks are sums, and logs favour small layers."""
MOST_TRIALS, HELD_OUT_TRIALS = 60, 4
"""Steps of a fit; one without a shape starts from the fit of all and needs few to settle."""
FEWEST_SHAPES = 12
"""Fewest different shapes that a fit takes."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FitResult:
    """One device and precision: the fit, and each layer predicted by a fit without its shape."""

    fit: Fit
    held_out: pd.DataFrame


def fit_layers(
    device: Device,
    table: pd.DataFrame,
    source: str,
    progress: Callable[[float], None] = lambda done: None,
) -> FitResult:
    """Fit a device in its precision to a table of measured layers, with cross-validation.

    ``table`` has the columns of ``measured_layers``; ``source`` says where its rows are from.

    Raises:
        GpuError: too few different shapes, or a pass without a time.
    """
    check_rows(device, table)
    kind = LIBRARIES[device.kernel_library]
    coefficients = fit_coefficients(device, table, kind.typical())
    held_out = leave_one_shape_out(device, table, coefficients, progress)
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
    fit = Fit(
        library=device.kernel_library,
        coefficients=coefficients,
        bands=bands,
        errors=errors,
        ranges=size_ranges(layers),
        kinds=measured_kinds(layers),
        fitted_on=f"{len(table)} layers of {device.measured_as or device.title}, {source}",
    )
    return FitResult(fit=fit, held_out=held_out)


def check_rows(device: Device, table: pd.DataFrame) -> None:
    """Raise GpuError unless a table suffices for a fit."""
    shapes = len(table[list(SHAPE)].drop_duplicates())
    if shapes < FEWEST_SHAPES:
        raise GpuError(
            f"a fit of {device.key} needs at least {FEWEST_SHAPES} measured shapes, got {shapes}"
        )
    for name in PASSES:
        times = table[f"{name}_ms"].to_numpy(dtype=float)
        known = times[np.isfinite(times)]
        if len(known) < FEWEST_SHAPES or (known <= 0).any():
            raise GpuError(
                f"a fit of {device.key} needs at least {FEWEST_SHAPES} positive times of "
                f"{name}, got {int((known > 0).sum())}"
            )


def fit_coefficients(device: Device, table: pd.DataFrame, start: C, trials: int = MOST_TRIALS) -> C:
    """The coefficients that explain the measured times best, by robust least squares on logs.

    Each coefficient is drawn weakly to its typical value, so that what a table does not decide
    stays plausible, and bounded by its range; the sum of each pass counts beside its layers.
    """
    layers = checked_layers(table)
    measured = {name: table[f"{name}_ms"].to_numpy() for name in PASSES}
    known = {name: np.isfinite(values) for name, values in measured.items()}

    def errors(candidate: C) -> Array:
        parts = []
        for name in PASSES:
            time_ms = analytical(layers, name, device, candidate).time_ms[known[name]]
            truth = measured[name][known[name]]
            weight = PASS_WEIGHT[name]
            parts.append(weight * np.log(time_ms / truth))
            parts.append([weight * SUM_WEIGHT * np.log(time_ms.sum() / truth.sum())])
        return np.concatenate(parts)

    return least_squares_of(start, errors, trials)


def least_squares_of(start: C, errors: Callable[[C], Array], trials: int = MOST_TRIALS) -> C:
    """Coefficients with the least weighted log ``errors``, drawn weakly to the typical ones."""
    from scipy.optimize import least_squares

    kind = type(start)
    names, low, typical, high, _ = zip(*kind.table(), strict=True)
    log_low, log_typical, log_high = (np.log(np.array(v)) for v in (low, typical, high))

    def candidate(log_values: Array) -> C:
        values = np.clip(np.exp(log_values), low, high)
        return kind(**{n: float(v) for n, v in zip(names, values, strict=True)})

    def residuals(log_values: Array) -> Array:
        prior = PRIOR_WEIGHT * (log_values - log_typical)
        return np.concatenate([prior, errors(candidate(log_values))])

    margin = 1e-4 * (log_high - log_low)
    guess = np.log(np.array(list(asdict(start).values())))
    best = least_squares(
        residuals,
        np.clip(guess, log_low + margin, log_high - margin),
        bounds=(log_low, log_high),
        loss="soft_l1",
        f_scale=OUTLIER_SCALE,
        diff_step=np.full(len(guess), 1e-2),
        max_nfev=trials,
    )
    return candidate(best.x)


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
        coefficients = fit_coefficients(device, others, start, HELD_OUT_TRIALS)
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


def _band(ratio: Array) -> tuple[float, float]:
    low, high = np.nanquantile(ratio, [0.1, 0.9])
    return float(low), float(high)


def coefficients_table(fits: Mapping[str, Fit]) -> pd.DataFrame:
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
        for device, one in fits.items()
        for name, low, _, high, meaning in one.coefficients.table()
    ]
    return pd.DataFrame(rows)


def errors_table(fits: Mapping[str, Fit], keys: Sequence[str] | None = None) -> pd.DataFrame:
    """One row a device and pass: errors in percent, as fitted and held out."""
    import pandas as pd

    rows = [
        {"device": device, "pass": name, **figures}
        for device, one in fits.items()
        if keys is None or device in keys
        for name, figures in one.errors.items()
    ]
    return pd.DataFrame(rows)
