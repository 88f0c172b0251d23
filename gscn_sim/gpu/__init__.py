"""What a named GPU needs for the same convolutions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gscn_sim.gpu.device import Device, device_names, find_device, load_device
    from gscn_sim.gpu.errors import GpuError
    from gscn_sim.gpu.fitting import fit
    from gscn_sim.gpu.layers import layers_frame
    from gscn_sim.gpu.network import network_backward
    from gscn_sim.gpu.prediction import predict
    from gscn_sim.gpu.reporting import compare_layers, network_report, report, scatter_plot

# Loaded when first asked for, so that a command's --help does not wait for pandas.
_HOMES = {
    "Device": "device",
    "GpuError": "errors",
    "compare_layers": "reporting",
    "device_names": "device",
    "find_device": "device",
    "fit": "fitting",
    "layers_frame": "layers",
    "load_device": "device",
    "network_backward": "network",
    "network_report": "reporting",
    "predict": "prediction",
    "report": "reporting",
    "scatter_plot": "reporting",
}
__all__ = [
    "Device",
    "GpuError",
    "compare_layers",
    "device_names",
    "find_device",
    "fit",
    "layers_frame",
    "load_device",
    "network_backward",
    "network_report",
    "predict",
    "report",
    "scatter_plot",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
