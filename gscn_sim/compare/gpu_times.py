"""How long a GPU takes for what was simulated: each layer, and its whole backward pass."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from gscn_sim.gpu import layers_frame, network_backward, predict
from gscn_sim.gpu.device import find_device
from gscn_sim.gpu.prediction import fit_of
from gscn_sim.results.record import PhaseRecord
from workloads import LayerShape, Phase
from workloads.networks import conv_layers, network_layers, network_names

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
    frame = layers_frame([shape for shape, _ in layers], 1)
    frame["N"] = [batch_size for _, batch_size in layers]
    rows = predict(frame, device=gpu, model=model).to_dict(orient="records")
    return {
        layer: {
            **{str(name): float(row[name]) for name in row if str(name).endswith("_ms")},
            "gpu_note": str(row["gpu_note"]),
        }
        for layer, row in zip(layers, rows, strict=True)
    }


def whole_backward(
    records: tuple[PhaseRecord, ...], gpu: str | None, model: str
) -> Mapping[str, float]:
    """The GPU's whole backward pass in seconds, ``whole`` predicted and ``measured``.

    The mean over the iterations where their batch sizes differ. Nothing unless the
    records are those of a known network as it is.
    """
    network = records[0].network
    if gpu is None or network not in network_names() or model != "analytical":
        return {}
    iteration = records[0].iteration
    shapes = {
        r.layer: r.shape for r in records if r.iteration == iteration and r.phase is Phase.WGRAD
    }
    known = {
        layer.name: layer.shape for layer in network_layers(network) if layer.shape is not None
    }
    convolutions = dict(conv_layers(network))
    if not set(convolutions.items()) <= set(shapes.items()) <= set(known.items()):
        return {}
    batches = {record.iteration: record.batch_size for record in records}.values()
    each = [_predicted_backward(network, batch_size, gpu) for batch_size in batches]
    return {kind: sum(times[kind] for times in each) / len(each) for kind in each[0]}


@functools.lru_cache(maxsize=16)
def _predicted_backward(network: str, batch_size: int, gpu: str) -> dict[str, float]:
    row = network_backward(network, batch_size, gpu).iloc[0]
    return {
        "whole": float(row["backward_ms"]) / 1e3,
        "measured": float(row["measured_backward_ms"]) / 1e3,
    }
