"""Times of convolution layers on a named GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gscn_sim.gpu.device import load_device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.layers import checked_layers
from gscn_sim.gpu.roofline import roofline

if TYPE_CHECKING:
    import pandas as pd

PASSES = ("forward", "dgrad", "wgrad")
MODELS = ("roofline",)


def predict(
    layers: pd.DataFrame, device: str = "gtx-1080ti", model: str = "roofline"
) -> pd.DataFrame:
    """Predict the fp32 time of each layer's three passes on a GPU.

    ``layers`` has columns N, C, H, W, K, R, S, pad_h, pad_w, stride_h, stride_w and may have
    dilation_h, dilation_w, groups. Returned are its columns and, for each pass (forward, dgrad,
    wgrad), ``<pass>_ms``, ``<pass>_algorithm``, ``<pass>_bound`` and the band ``<pass>_low_ms`` to
    ``<pass>_high_ms``.

    Raises:
        GpuError: unknown device or model, a missing column, or an impossible value (row from 1).
    """
    if model not in MODELS:
        raise GpuError(f"GPU model must be one of {', '.join(MODELS)}, got {model!r}")
    gpu = load_device(device)
    sizes = checked_layers(layers)
    result = layers.copy()
    for name in PASSES:
        estimate = roofline(sizes, gpu)
        result[f"{name}_ms"] = estimate.time_ms
        result[f"{name}_algorithm"] = estimate.algorithm
        result[f"{name}_bound"] = estimate.bound
        result[f"{name}_low_ms"] = np.nan
        result[f"{name}_high_ms"] = np.nan
    return result
