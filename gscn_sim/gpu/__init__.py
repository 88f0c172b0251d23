"""What a named GPU needs for the same convolutions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gscn_sim.gpu.device import Device, device_names, load_device
    from gscn_sim.gpu.errors import GpuError
    from gscn_sim.gpu.layers import layers_frame
    from gscn_sim.gpu.prediction import predict

# Loaded when first asked for, so that a command's --help does not wait for pandas.
_HOMES = {
    "Device": "device",
    "GpuError": "errors",
    "device_names": "device",
    "layers_frame": "layers",
    "load_device": "device",
    "predict": "prediction",
}
__all__ = ["Device", "GpuError", "device_names", "layers_frame", "load_device", "predict"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
