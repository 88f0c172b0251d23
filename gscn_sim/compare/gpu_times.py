"""How long a GPU takes for what was simulated: each layer, and its whole backward pass."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from gscn_sim.gpu import layers_frame, network_backward, predict
from gscn_sim.gpu.device import find_device
from gscn_sim.gpu.prediction import fit_of
from gscn_sim.results.record import PhaseRecord
from workloads import LayerShape, Phase
from workloads.networks import conv_layers, network_layers, network_names


def check_gpu(gpu: str | None, model: str) -> None:
    """Check that a GPU's times can be told.

    Raises:
        GpuError: the device is unknown, or was not measured and its roofline is not asked for.
    """
    if gpu is not None:
        fit_of(find_device(gpu), model)


def layer_times(
    shapes: tuple[LayerShape, ...], batch_size: int, gpu: str | None, model: str
) -> Mapping[LayerShape, Mapping[str, float]]:
    """The GPU's times of each distinct shape, by the columns of ``gpu.predict``.

    The pre-phases have none: the GPU runs ordinary back-propagation. Without a GPU none has any.
    """
    if gpu is None:
        return {shape: {} for shape in shapes}
    return _predicted(shapes, batch_size, gpu, model)


@functools.lru_cache(maxsize=16)  # the points of a sweep ask for the same again
def _predicted(
    shapes: tuple[LayerShape, ...], batch_size: int, gpu: str, model: str
) -> dict[LayerShape, dict[str, float]]:
    rows = predict(layers_frame(list(shapes), batch_size), device=gpu, model=model).to_dict(
        orient="records"
    )
    return {
        shape: {str(name): float(row[name]) for name in row if str(name).endswith("_ms")}
        for shape, row in zip(shapes, rows, strict=True)
    }


def whole_backward(
    records: tuple[PhaseRecord, ...], batch_size: int, gpu: str | None, model: str
) -> Mapping[str, float]:
    """The GPU's whole backward pass in seconds, ``whole`` predicted and ``measured``.

    Nothing unless the records are those of a known network as it is.
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
    return _predicted_backward(network, batch_size, gpu)


@functools.lru_cache(maxsize=16)
def _predicted_backward(network: str, batch_size: int, gpu: str) -> dict[str, float]:
    row = network_backward(network, batch_size, gpu).iloc[0]
    return {
        "whole": float(row["backward_ms"]) / 1e3,
        "measured": float(row["measured_backward_ms"]) / 1e3,
    }
