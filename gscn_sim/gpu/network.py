"""The whole backward pass of a known network beside its convolutions alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gscn_sim.gpu.device import Device, find_device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.fits import device_fits
from gscn_sim.gpu.layers import layers_frame
from gscn_sim.gpu.measured import measured_networks
from gscn_sim.gpu.network_step import network_step
from gscn_sim.gpu.prediction import predict
from gscn_sim.gpu.step import prepare, step_coefficients
from workloads.networks import conv_layers

if TYPE_CHECKING:
    import pandas as pd

BANDS = ("_ms", "_low_ms", "_high_ms")


def network_backward(
    name: str,
    batch_size: int = 16,
    device: str | Device = "gtx-1080ti",
    model: str = "analytical",
) -> pd.DataFrame:
    """Three denominators of a network-level speed-up, in one row.

    ``convolutions_ms`` is the predicted dgrad and wgrad of the convolutions alone, ``backward_ms``
    the predicted whole backward pass with every other operation (its busy time),
    ``measured_backward_ms`` a measured one (NaN where there is none), ``measured_source`` where it
    is from. The first two have a band ``_low_ms`` to ``_high_ms``: the sum of the convolutions'
    bands, as if all erred alike. The first layer's dgrad is left out: training has no use for it.
    ``forward_ms`` and ``measured_forward_ms`` are the forward pass.

    Raises:
        GpuError: unknown device or model, or a batch size below 1.
        GscnError: unknown network.
    """
    import pandas as pd

    if not isinstance(batch_size, int) or batch_size < 1:
        raise GpuError(f"batch_size must be a positive int, got {batch_size!r}")
    gpu = find_device(device) if isinstance(device, str) else device
    file = device_fits(gpu)
    prepared = prepare(network_step(name, batch_size), gpu, file)
    times_ms = 1e3 * prepared.seconds(step_coefficients(gpu, file))
    phases = np.array([operation.phase for operation in prepared.operations])
    is_convolution = np.zeros(len(phases), dtype=bool)
    is_convolution[list(prepared.convolutions)] = True
    rest_ms = float(times_ms[(phases == "backward") & ~is_convolution].sum())
    row: dict[str, object] = {"network": name, "batch_size": batch_size, "device": gpu.key}
    for column, convolutions in convolutions_ms(name, batch_size, gpu, model).items():
        row[f"convolutions{column}"] = convolutions
        row[f"backward{column}"] = convolutions + rest_ms
    row["forward_ms"] = float(times_ms[phases == "forward"].sum())
    known = measured_networks(gpu)
    known = known[(known["network"] == name) & (known["batch_size"] == batch_size)]
    for column in ("backward_ms", "forward_ms"):
        row[f"measured_{column}"] = known[column].iloc[0] if len(known) else np.nan
    row["measured_source"] = known["source"].iloc[0] if len(known) else ""
    return pd.DataFrame([row])


def convolutions_ms(
    name: str, batch_size: int, device: Device, model: str = "analytical"
) -> dict[str, float]:
    """dgrad and wgrad of a network's convolutions, and the band: ``_ms``, ``_low_ms``, ..."""
    shapes = [shape for _, shape in conv_layers(name)]
    times = predict(layers_frame(shapes, batch_size), device, model)
    result = {}
    for suffix in BANDS:
        both = times[f"dgrad{suffix}"].to_numpy() + times[f"wgrad{suffix}"].to_numpy()
        both[0] = times[f"wgrad{suffix}"].iloc[0]  # nobody needs the gradient of the pictures
        result[suffix] = float(both.sum())
    return result
