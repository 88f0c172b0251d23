"""Measured against predicted: tables and a scatter plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from gscn_sim.gpu.device import device_keys, load_device
from gscn_sim.gpu.fits import Fit
from gscn_sim.gpu.fitting import error_figures
from gscn_sim.gpu.measured import measured_kernels, measured_layers, measured_networks
from gscn_sim.gpu.network import network_backward
from gscn_sim.gpu.prediction import PASSES, predict
from workloads.networks import network_names

if TYPE_CHECKING:
    import pandas as pd


def compare_layers(
    devices: Sequence[str] | None = None,
    model: str = "analytical",
    fits: Mapping[str, Fit] | None = None,
) -> pd.DataFrame:
    """One row a device, measured layer and pass: shape, measured_ms, predicted_ms, algorithm."""
    import pandas as pd

    parts = []
    for name in device_keys() if devices is None else devices:
        table = measured_layers(load_device(name))
        if not len(table):
            continue
        shapes = table.drop(columns=[f"{p}_ms" for p in PASSES])
        predicted = predict(shapes, name, model, fits)
        for phase in PASSES:
            part = shapes.assign(
                device=name,
                phase=phase,
                measured_ms=table[f"{phase}_ms"],
                predicted_ms=predicted[f"{phase}_ms"],
                algorithm=predicted[f"{phase}_algorithm"],
                bound=predicted[f"{phase}_bound"],
            )
            parts.append(part.dropna(subset=["measured_ms"]))
    result = pd.concat(parts, ignore_index=True)
    result["error_percent"] = 100 * (result["predicted_ms"] / result["measured_ms"] - 1)
    return result


KERNELS = (
    ("fft2d", "fourier"),
    ("pointwise_mult_and_sum_complex", "fourier"),
    ("winograd", "winograd"),
    ("depthwise", "depthwise"),
    ("_c1_k1_", "depthwise"),
    ("grouped_direct", "direct"),
    ("foldedNhwc", "folded"),
    ("wgrad_alg0_engine_NHWC", "direct"),
    ("convolve_common_engine_float_NHWC", "direct"),
    ("implicit_convolve_sgemm", "product"),
)
"""Parts of kernels' names and the kind of family they stand for; any other is a product."""
FAMILY_KINDS = {
    "fft_16x16": "fourier",
    "fft_32x32": "fourier",
    "winograd_2x2": "winograd",
    "winograd_4x4": "winograd",
    "winograd_2x2_fused": "winograd",
    "depthwise": "depthwise",
    "cuda_core_direct": "direct",
    "outer_product": "direct",
    "tensor_folded": "folded",
}


def kernel_kind(kernels: str) -> str:
    """The kind of family that ran, from the names of its kernels."""
    return next((kind for part, kind in KERNELS if part in kernels), "product")


def compare_families(
    devices: Sequence[str] | None = None, fits: Mapping[str, Fit] | None = None
) -> pd.DataFrame:
    """Chosen families against the kernels that ran, where their names were recorded.

    One row a device, pass, chosen family and kind that ran (product, winograd, fourier, direct,
    folded, depthwise), with how many layers there are and ``same``: whether the kinds agree.
    """
    import pandas as pd

    parts = []
    for name in device_keys() if devices is None else devices:
        table = measured_kernels(load_device(name))
        if not len(table):
            continue
        predicted = predict(table, name, fits=fits)
        part = pd.DataFrame({"device": name, "phase": table["phase"]})
        part["family"] = [
            predicted[f"{phase}_algorithm"].iloc[row] for row, phase in enumerate(table["phase"])
        ]
        part["ran"] = [kernel_kind(kernels) for kernels in table["kernels"]]
        parts.append(part)
    if not parts:
        return pd.DataFrame(columns=["device", "phase", "family", "ran", "layers", "same"])
    keys = ["device", "phase", "family", "ran"]
    result = pd.concat(parts).groupby(keys, sort=False).size().rename("layers").reset_index()
    result["same"] = [
        FAMILY_KINDS.get(family, "product") == ran
        for family, ran in zip(result["family"], result["ran"], strict=True)
    ]
    return result.sort_values(["device", "phase", "layers"], ascending=[True, True, False])


def report(
    devices: Sequence[str] | None = None,
    model: str = "analytical",
    fits: Mapping[str, Fit] | None = None,
) -> pd.DataFrame:
    """Errors in percent by device, phase and filter size (and over all filters).

    Columns device, phase, filter, layers, mean_percent, median_percent, sum_percent. These are the
    layers that the coefficients were fitted on; the data file holds the errors on unseen shapes.
    """
    import pandas as pd

    table = compare_layers(devices, model, fits)
    table["filter"] = table["R"].astype(str) + "x" + table["S"].astype(str)
    rows = []
    for (device, phase), group in table.groupby(["device", "phase"], sort=False):
        for name, part in [("all", group), *group.groupby("filter", sort=True)]:
            figures = error_figures(part["measured_ms"].to_numpy(), part["predicted_ms"].to_numpy())
            rows.append({"device": device, "phase": phase, "filter": name, **figures})
    return pd.DataFrame(rows)


def network_report(devices: Sequence[str] | None = None) -> pd.DataFrame:
    """Every measured whole backward pass in fp32 of 4 to 32 samples, the prediction beside it."""
    import pandas as pd

    parts = []
    for name in device_keys() if devices is None else devices:
        device = load_device(name)
        if device.precision != "fp32":
            continue
        measured = measured_networks(device)
        for network, size in zip(measured["network"], measured["batch_size"], strict=True):
            if network in network_names() and 4 <= size <= 32:
                parts.append(network_backward(str(network), int(size), name))
    if not parts:
        return pd.DataFrame()
    result = pd.concat(parts, ignore_index=True)
    result["error_percent"] = 100 * (result["backward_ms"] / result["measured_backward_ms"] - 1)
    return result.sort_values(["device", "batch_size", "network"], ignore_index=True)


def scatter_plot(table: pd.DataFrame, suffix: str = "svg") -> bytes:
    """Measured against predicted times of ``compare_layers``' table, one panel a pass, as a file.

    ``suffix`` is a format that matplotlib writes: svg, png, pdf.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    panels = figure.subplots(1, len(PASSES), sharex=True, sharey=True)
    low = 0.8 * table[["measured_ms", "predicted_ms"]].min().min()
    high = 1.25 * table[["measured_ms", "predicted_ms"]].max().max()
    for panel, phase in zip(panels, PASSES, strict=True):
        for factor, style in ((1.0, "-"), (1.2, ":"), (1 / 1.2, ":")):
            panel.plot([low, high], [low * factor, high * factor], style, color="gray", lw=0.8)
        for device, group in table[table["phase"] == phase].groupby("device", sort=True):
            panel.plot(group["measured_ms"], group["predicted_ms"], "o", ms=3, label=str(device))
        panel.set(xscale="log", yscale="log", title=phase, xlabel="measured (ms)")
        panel.set(xlim=(low, high), ylim=(low, high))
    panels[0].set_ylabel("predicted (ms)")
    panels[0].legend(fontsize="small")
    figure.suptitle("Convolution layers, measured against predicted; dotted: 20 % apart")
    buffer = BytesIO()
    metadata = {"Date": None} if suffix == "svg" else None
    figure.savefig(buffer, format=suffix, metadata=metadata, dpi=150)
    return buffer.getvalue()
