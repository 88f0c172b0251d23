"""How long a GPU takes for each layer that was simulated."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from gscn_sim.gpu import predict
from gscn_sim.gpu.device import find_device
from gscn_sim.gpu.layers import sized_frame
from gscn_sim.gpu.prediction import fit_of
from workloads import LayerShape

MATMUL = "matrix products were not measured: priced as a grouped convolution"
"""The note of a matmul."""
SizedLayer = tuple[LayerShape, int]
"""A layer's shape and the batch size of an iteration."""


def check_gpu(gpu: str | None, model: str) -> None:
    """Check that a GPU's times can be told.

    Raises:
        GpuError: the device is unknown, or was not measured and its roofline is not asked for.
    """
    if gpu is not None:
        fit_of(find_device(gpu), model)


def layer_times(
    layers: tuple[SizedLayer, ...], gpu: str | None, model: str
) -> Mapping[SizedLayer, Mapping[str, Any]]:
    """The GPU's times and note of each shape and batch size, by the columns of ``gpu.predict``.

    The pre-phases have none: the GPU runs ordinary back-propagation. Without a GPU none has any.
    """
    if gpu is None:
        return {layer: {} for layer in layers}
    return _predicted(layers, gpu, model)


@functools.lru_cache(maxsize=16)  # the points of a sweep ask for the same again
def _predicted(
    layers: tuple[SizedLayer, ...], gpu: str, model: str
) -> dict[SizedLayer, dict[str, Any]]:
    rows = predict(sized_frame(layers), device=gpu, model=model).to_dict(orient="records")
    return {
        layer: {
            **{str(name): float(row[name]) for name in row if str(name).endswith("_ms")},
            "gpu_note": MATMUL if layer[0].filters_per_sample else str(row["gpu_note"]),
        }
        for layer, row in zip(layers, rows, strict=True)
    }
