"""The whole backward pass of a network: its convolutions, and the layers that only move bytes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gscn_sim.gpu.coefficients import Fit, MemoryLayers, load_memory_fit
from gscn_sim.gpu.device import Device, find_device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.layers import layers_frame
from gscn_sim.gpu.measured import measured_networks
from gscn_sim.gpu.prediction import predict
from workloads.networks import LayerKind, NetworkLayer, network_layers

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """How often the backward pass of a layer moves its input's and its output's size, in fp32.

    ``kernels`` are launched for it.
    """

    inputs: int
    outputs: int
    kernels: int


# What Torch7 with cuDNN 5 does, as in the measured networks: batch-norm reads activation and
# gradient twice (sums, then the result) and writes once; ReLU and dropout read two and write one;
# where the branches of an addition began, one gradient is copied and the other added
# (nn.ConcatTable; the addition itself, in place, moves nothing); pooling reads the output and its
# gradient and writes one; max pooling also reads each window again, to find its maximum.
TRAFFIC: Mapping[LayerKind, Traffic] = {
    LayerKind.BATCH_NORM: Traffic(inputs=3, outputs=2, kernels=2),
    LayerKind.RELU: Traffic(inputs=1, outputs=2, kernels=1),
    LayerKind.DROPOUT: Traffic(inputs=1, outputs=2, kernels=1),
    LayerKind.ADD: Traffic(inputs=5, outputs=0, kernels=2),
    LayerKind.MAX_POOL: Traffic(inputs=1, outputs=2, kernels=1),
    LayerKind.AVG_POOL: Traffic(inputs=1, outputs=1, kernels=1),
}


def memory_bytes(network: list[NetworkLayer], batch_size: int) -> Iterator[tuple[str, float, int]]:
    """Kind, fp32 bytes moved and kernels of each memory-bound part of a backward pass.

    Beside the layers of ``TRAFFIC``: the bias gradient of each convolution that no batch-norm
    follows, and adding a fully connected layer's weight gradient to what is accumulated.
    """
    for layer, following in itertools.zip_longest(network, network[1:]):
        if layer.kind in TRAFFIC:
            traffic = TRAFFIC[layer.kind]
            moved = traffic.inputs * math.prod(layer.input_size)
            searched = layer.window**2 if layer.kind is LayerKind.MAX_POOL else 0
            moved += (traffic.outputs + searched) * math.prod(layer.output_size)
            yield layer.kind, 4.0 * batch_size * moved, traffic.kernels
        elif layer.kind is LayerKind.LINEAR and layer.shape is not None:
            yield "gradient_accumulation", 4.0 * math.prod(layer.shape.weight_shape), 0
        elif following is not None and following.kind is not LayerKind.BATCH_NORM:
            yield "bias", 4.0 * batch_size * math.prod(layer.output_size), 1


def memory_layers_ms(
    network: list[NetworkLayer], batch_size: int, device: Device, memory: MemoryLayers
) -> float:
    """Time of all memory-bound layers of a backward pass, launches included."""
    total_ms = 0.0
    for kind, size_bytes, kernels in memory_bytes(network, batch_size):
        reached = memory.pool_bandwidth if kind == LayerKind.MAX_POOL else memory.bandwidth
        total_ms += size_bytes / (device.bytes_per_ms * reached)
        total_ms += kernels * device.launch_overhead_us / 1e3
    return total_ms


def network_backward(
    name: str,
    batch_size: int = 16,
    device: str | Device = "gtx-1080ti",
    model: str = "analytical",
) -> pd.DataFrame:
    """Three denominators of a network-level speed-up, in one row.

    ``convolutions_ms`` is the predicted dgrad and wgrad of the convolutions alone, ``backward_ms``
    the predicted whole backward pass with every other layer, ``measured_backward_ms`` a measured
    one (NaN where there is none), ``measured_source`` where it is from. The first two have a band
    ``_low_ms`` to ``_high_ms``: the sum of the layers' bands, as if all erred alike. The first
    layer's dgrad is left out: training has no use for it.

    Raises:
        GpuError: unknown device or model, or a batch size below 1.
        GscnError: unknown network.
    """
    import pandas as pd

    if not isinstance(batch_size, int) or batch_size < 1:
        raise GpuError(f"batch_size must be a positive int, got {batch_size!r}")
    gpu = find_device(device) if isinstance(device, str) else device
    network = network_layers(name)
    memory = load_memory_fit().coefficients
    memory_ms = memory_layers_ms(network, batch_size, gpu, memory)
    row: dict[str, object] = {"network": name, "batch_size": batch_size, "device": gpu.name}
    for column, (convolutions, weighted) in weighted_ms(network, batch_size, gpu, model).items():
        row[f"convolutions{column}"] = convolutions
        row[f"backward{column}"] = weighted + memory_ms
    known = measured_networks(gpu)
    known = known[(known["network"] == name) & (known["batch_size"] == batch_size)]
    row["measured_backward_ms"] = known["backward_ms"].iloc[0] if len(known) else np.nan
    row["measured_source"] = known["source"].iloc[0] if len(known) else ""
    return pd.DataFrame([row])


def weighted_ms(
    network: list[NetworkLayer],
    batch_size: int,
    device: Device,
    model: str = "analytical",
    fits: Mapping[str, Fit] | None = None,
) -> dict[str, tuple[float, float]]:
    """Backward time of the convolutions, and of them with the fully connected layers.

    Keys are ``_ms`` and the band's ``_low_ms`` and ``_high_ms``.
    """
    weighted = [layer for layer in network if layer.shape is not None]
    shapes = [layer.shape for layer in weighted if layer.shape is not None]
    times = predict(layers_frame(shapes, batch_size), device, model, fits)
    is_conv = np.array([layer.kind is LayerKind.CONV for layer in weighted])
    result = {}
    for suffix in ("_ms", "_low_ms", "_high_ms"):
        both = times[f"dgrad{suffix}"].to_numpy() + times[f"wgrad{suffix}"].to_numpy()
        both[0] = times[f"wgrad{suffix}"].iloc[0]  # nobody needs the gradient of the pictures
        result[suffix] = (float(both[is_conv].sum()), float(both.sum()))
    return result
