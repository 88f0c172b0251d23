"""GPUs by their public figures, one data file each, and the precision they compute in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from gscn_sim.gpu.coefficients import LIBRARIES
from gscn_sim.gpu.errors import GpuError
from gscn_sim.toml import TomlError, parse_toml, read_toml
from workloads.errors import did_you_mean, one_line
from workloads.records import shown

_DATA = resources.files("gscn_sim.gpu") / "data"
NOT_DEVICES = frozenset({"coefficients"})
FIRST_PRECISION = "fp32"
"""What a GPU computes in when nothing is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """How a GPU computes in one precision: the library of algorithms, the peak, an element's size.

    A peak of 0 stands for that of the CUDA cores at boost clock.
    """

    kernel_library: str
    peak_tflops: float = 0.0
    element_bytes: int = 4

    def __post_init__(self) -> None:
        if self.kernel_library not in LIBRARIES:
            raise GpuError(
                f"kernel_library must be one of {', '.join(LIBRARIES)}, got {self.kernel_library!r}"
            )
        if not 0 <= self.peak_tflops < math.inf:
            raise GpuError(f"peak_tflops must be positive, or 0, got {self.peak_tflops}")
        if self.element_bytes not in (1, 2, 4, 8):
            raise GpuError(f"element_bytes must be 1, 2, 4 or 8, got {self.element_bytes}")


OLDER = Precision(kernel_library="cudnn-5-to-7")
"""Devices without a table of precisions: fp32 on CUDA cores, by the algorithms of their time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A GPU's public figures and the precision asked for.

    ``measured_as`` names it in the tables of measurements; ``file`` is where it was read from, ""
    for a device that ships.
    """

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
    source: str
    wgrad_narrow_side: str = "none"
    measured_as: str = ""
    measured_network_as: str = ""
    precisions: Mapping[str, Precision] = field(default_factory=lambda: {FIRST_PRECISION: OLDER})
    precision: str = FIRST_PRECISION
    file: str = ""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, int | float) and not 0 < value < math.inf:
                raise GpuError(f"device {self.name}: {f.name} must be positive, got {value}")
        if self.wgrad_narrow_side not in ("none", "channels", "filters"):
            raise GpuError(
                f"device {self.name}: wgrad_narrow_side must be none, channels or filters, "
                f"got {self.wgrad_narrow_side!r}"
            )
        if self.precision not in self.precisions:
            raise GpuError(
                f"precision of GPU device {self.name} must be one of "
                f"{', '.join(self.precisions)}, got {one_line(self.precision)[:40]!r}"
            )

    @property
    def key(self) -> str:
        """Its name in files of coefficients and results: the precision added where not fp32."""
        return self.name if self.precision == FIRST_PRECISION else f"{self.name}:{self.precision}"

    @property
    def kernel_library(self) -> str:
        """The library of algorithms it computes with."""
        return self.precisions[self.precision].kernel_library

    @property
    def element_bytes(self) -> int:
        """Bytes of a tensor's element."""
        return self.precisions[self.precision].element_bytes

    @property
    def is_channels_first(self) -> bool:
        """Whether tensors lie in memory as NCHW: on CUDA cores; tensor cores take NHWC."""
        return self.kernel_library != "cudnn-9-tensor"

    @property
    def lanes_per_ms(self) -> float:
        """Instructions that all lanes of the CUDA cores issue a millisecond at boost clock."""
        return self.sms * self.cores_per_sm * self.boost_clock_ghz * 1e6

    @property
    def cuda_flops_per_ms(self) -> float:
        """Single-precision operations a millisecond at boost clock, two in a multiply-add."""
        return 2 * self.lanes_per_ms

    @property
    def peak_flops_per_ms(self) -> float:
        """Operations a millisecond in the precision asked for, two in a multiply-add."""
        return self.precisions[self.precision].peak_tflops * 1e9 or self.cuda_flops_per_ms

    @property
    def bytes_per_ms(self) -> float:
        """DRAM bytes a millisecond at the nominal bandwidth."""
        return self.bandwidth_gb_s * 1e6

    @property
    def achieved_bytes_per_ms(self) -> float:
        """DRAM bytes a millisecond that kernels reach."""
        return self.bytes_per_ms * self.achieved_bandwidth

    def at(self, precision: str) -> Device:
        """The same GPU computing in another precision."""
        return replace(self, precision=precision)


def device_names() -> list[str]:
    """Names of the devices that ship with the package."""
    stems = (p.name.removesuffix(".toml") for p in _DATA.iterdir() if p.name.endswith(".toml"))
    return sorted(set(stems) - NOT_DEVICES)


def device_keys() -> list[str]:
    """Every device that ships, once for each precision it has: ``h100``, ``h100:bf16``, ..."""
    devices = [load_device(name) for name in device_names()]
    return [device.at(precision).key for device in devices for precision in device.precisions]


def load_device(name: str, precision: str | None = None) -> Device:
    """Read the data file of a device that ships with the package, by ``NAME`` or NAME:PRECISION.

    Raises:
        GpuError: the device or precision is unknown; the message lists those that are known.
    """
    return _load(*_split(name, precision))


def find_device(name: str, precision: str | None = None) -> Device:
    """A device by its name, or by the path of a data file like those that ship.

    Either may be followed by a colon and a precision: ``h100:bf16``, ``mine.toml:tf32``.

    Raises:
        GpuError: unknown name or precision, or a file that is missing, unreadable or incomplete.
    """
    name, precision = _split(name, precision)
    if not name.endswith(".toml"):
        return _load(name, precision)
    try:
        table = read_toml(name)
    except TomlError as error:
        raise GpuError(f"{one_line(name)}: {error}") from None
    device = replace(_device(Path(name).stem, table, name), file=name)
    return device if precision is None else device.at(precision)


def _split(name: str, precision: str | None) -> tuple[str, str | None]:
    """Device and precision that a text such as ``h100:bf16`` names."""
    stem, colon, said = name.partition(":")
    if colon and precision is not None and said != precision:
        raise GpuError(f"{one_line(name)[:80]} names another precision than {precision!r}")
    return stem, said if colon else precision


def _load(name: str, precision: str | None) -> Device:
    if name not in device_names():
        raise GpuError(
            f"GPU device must be one of {', '.join(device_names())}, got {one_line(name)[:80]!r}"
            f"{did_you_mean(name, device_names())}"
        )
    device = _device(name, parse_toml((_DATA / f"{name}.toml").read_text(encoding="utf-8")), name)
    return device if precision is None else device.at(precision)


_INTERNAL = ("name", "precisions", "precision", "file")
_TABLES = ("precision", "device", "step", "energy", "sparse")
"""Tables that a device's file may have beside its figures."""


def _device(name: str, table: dict[str, Any], where: str) -> Device:
    known = {f.name: f for f in fields(Device) if f.name not in _INTERNAL}
    tables = {key: table.pop(key) for key in _TABLES if key in table}
    needed = {key for key, f in known.items() if f.default is MISSING}
    if wrong := sorted((needed - table.keys()) | (table.keys() - known.keys())):
        raise GpuError(
            f"{where}: a device has the keys {', '.join(known)}; check {one_line(wrong[0])[:80]}"
        )
    for key, value in table.items():
        types: Any = {"str": str, "int": int, "float": (int, float)}[str(known[key].type)]
        if not isinstance(value, types) or isinstance(value, bool):
            raise GpuError(f"{where}: {key} must be of type {known[key].type}, got {shown(value)}")
    if "precision" in tables:
        table["precisions"] = _precisions(tables["precision"], where)
        table["precision"] = next(iter(table["precisions"]))
    return Device(name=name, **table)


def _precisions(tables: Any, where: str) -> dict[str, Precision]:
    try:
        found = {key: Precision(**values) for key, values in tables.items()}
    except (TypeError, AttributeError) as error:
        raise GpuError(
            f"{where}: a precision has the keys kernel_library, peak_tflops, element_bytes; {error}"
        ) from error
    if not found:
        raise GpuError(f"{where}: a device computes in at least one precision")
    return found
