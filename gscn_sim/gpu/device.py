"""GPUs by their public figures, one data file each."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from gscn_sim.gpu.errors import GpuError
from gscn_sim.toml import TomlError, parse_toml, read_toml
from workloads.errors import one_line
from workloads.records import shown

_DATA = resources.files("gscn_sim.gpu") / "data"
NOT_DEVICES = frozenset({"coefficients"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A GPU's public figures; ``measured_as`` names it in the table of measured layers."""

    name: str
    title: str
    architecture: str
    sms: int
    cores_per_sm: int
    boost_clock_ghz: float
    bandwidth_gb_s: float
    l2_bytes: int
    shared_bytes_per_sm: int
    launch_overhead_us: float
    achieved_bandwidth: float
    cudnn: int
    wgrad_narrow_side: str
    source: str
    measured_as: str = ""
    measured_network_as: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not 0 < value < math.inf:
                raise GpuError(f"device {self.name}: {field.name} must be positive, got {value}")
        if self.wgrad_narrow_side not in ("none", "channels", "filters"):
            raise GpuError(
                f"device {self.name}: wgrad_narrow_side must be none, channels or filters, "
                f"got {self.wgrad_narrow_side!r}"
            )

    @property
    def peak_flops_per_ms(self) -> float:
        """Single-precision operations a millisecond at boost clock, two in a multiply-add."""
        return 2 * self.sms * self.cores_per_sm * self.boost_clock_ghz * 1e6

    @property
    def bytes_per_ms(self) -> float:
        """DRAM bytes a millisecond at the nominal bandwidth."""
        return self.bandwidth_gb_s * 1e6

    @property
    def achieved_bytes_per_ms(self) -> float:
        """DRAM bytes a millisecond that kernels reach."""
        return self.bytes_per_ms * self.achieved_bandwidth


def device_names() -> list[str]:
    """Names of the devices that ship with the package."""
    stems = (p.name.removesuffix(".toml") for p in _DATA.iterdir() if p.name.endswith(".toml"))
    return sorted(set(stems) - NOT_DEVICES)


def load_device(name: str) -> Device:
    """Read the data file of a device that ships with the package.

    Raises:
        GpuError: the device is unknown; the message lists those that are known.
    """
    if name not in device_names():
        raise GpuError(f"GPU device must be one of {', '.join(device_names())}, got {name!r}")
    return _device(name, parse_toml((_DATA / f"{name}.toml").read_text()), name)


def find_device(name: str) -> Device:
    """A device by its name, or by the path of a data file like those that ship.

    Raises:
        GpuError: unknown name, or a file that is missing, unreadable or incomplete.
    """
    if not name.endswith(".toml"):
        return load_device(name)
    try:
        return _device(Path(name).stem, read_toml(name), name)
    except TomlError as error:
        raise GpuError(f"{name}: cannot be read as a device: {error}") from None


def _device(name: str, table: dict[str, Any], where: str) -> Device:
    known = {f.name: f for f in fields(Device) if f.name != "name"}
    needed = {key for key, f in known.items() if f.default is MISSING}
    if wrong := sorted((needed - table.keys()) | (table.keys() - known.keys())):
        raise GpuError(
            f"{where}: a device has the keys {', '.join(known)}; check {one_line(wrong[0])[:80]}"
        )
    for key, value in table.items():
        types: Any = {"str": str, "int": int, "float": (int, float)}[str(known[key].type)]
        if not isinstance(value, types) or isinstance(value, bool):
            raise GpuError(f"{where}: {key} must be of type {known[key].type}, got {shown(value)}")
    return Device(name=name, **table)
