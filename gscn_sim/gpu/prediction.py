"""Times of convolution layers on a named GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gscn_sim.gpu.analytical import analytical
from gscn_sim.gpu.device import Device, find_device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.estimate import Estimate
from gscn_sim.gpu.fits import Fit, device_fits
from gscn_sim.gpu.layers import Layers, checked_layers
from gscn_sim.gpu.roofline import roofline
from gscn_sim.gpu.warn import unmeasured

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

PASSES = ("forward", "dgrad", "wgrad")
MODELS = ("analytical", "roofline")


def predict(
    layers: pd.DataFrame,
    device: str | Device = "gtx-1080ti",
    model: str = "analytical",
    fits: Mapping[str, Fit] | None = None,
    *,
    precision: str | None = None,
) -> pd.DataFrame:
    """Predict the time of each layer's three passes on a GPU.

    ``layers`` has columns N, C, H, W, K, R, S, pad_h, pad_w, stride_h, stride_w and may have
    dilation_h, dilation_w (or dil_h, dil_w) and groups. Returned are its columns and, for each
    pass (forward, dgrad, wgrad), ``<pass>_ms``, ``<pass>_algorithm``, ``<pass>_bound`` (compute,
    memory or launch) and ``<pass>_low_ms`` to ``<pass>_high_ms``, between which 80 % of the
    measured layers lay when the model had not seen their shape (NaN on a device without
    measurements). Last comes ``gpu_note``: what sets the layer apart from all measured ones, or
    nothing.

    ``device`` is a name, the path of a data file, or a description of another GPU; name and path
    may say the ``precision`` too (``h100:bf16``), fp32 where neither does. The analytical model
    needs a device with fitted coefficients (``fits``, by default those shipped).

    Raises:
        GpuError: unknown device, precision or model, a missing column, or an impossible value
            (row from 1).
    """
    if model not in MODELS:
        raise GpuError(f"GPU model must be one of {', '.join(MODELS)}, got {model!r}")
    gpu = find_device(device, precision) if isinstance(device, str) else device
    if precision is not None:
        gpu = gpu.at(precision)
    fit = fit_of(gpu, model, fits)
    sizes = checked_layers(layers)
    result = layers.copy()
    for name in PASSES:
        estimate = _estimate(sizes, name, gpu, model, fit)
        low, high = fit.bands[model][name] if fit else (np.nan, np.nan)
        result[f"{name}_ms"] = estimate.time_ms
        result[f"{name}_algorithm"] = estimate.algorithm
        result[f"{name}_bound"] = estimate.bound
        result[f"{name}_low_ms"] = estimate.time_ms * low
        result[f"{name}_high_ms"] = estimate.time_ms * high
    measured = (fit.ranges, fit.kinds) if fit else ({}, ())
    result["gpu_note"] = unmeasured(sizes, *measured)
    return result


def fit_of(gpu: Device, model: str, fits: Mapping[str, Fit] | None = None) -> Fit | None:
    """The coefficients and bands of a GPU, by default those shipped; none if it was not measured.

    Raises:
        GpuError: the analytical model is asked for, and there are none.
    """
    fit = (device_fits(gpu).device if fits is None else fits).get(gpu.key)
    if fit is None and model == "analytical":
        raise GpuError(
            f"device {gpu.key} has no fitted coefficients for the analytical model; "
            "use the roofline, or measure layers and fit"
        )
    return fit


def _estimate(layers: Layers, phase: str, gpu: Device, model: str, fit: Fit | None) -> Estimate:
    if fit is None or model == "roofline":
        return roofline(layers, gpu)
    return analytical(layers, phase, gpu, fit.coefficients)
