"""The fitted coefficients: what each one means, its plausible range, and the file they live in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from gscn_sim.gpu.errors import GpuError
from gscn_sim.toml import TomlError, parse_toml, read_toml

SHIPPED = resources.files("gscn_sim.gpu") / "data" / "coefficients.toml"


def _coefficient(low: float, typical: float, high: float, meaning: str) -> Any:
    return field(metadata={"low": low, "typical": typical, "high": high, "meaning": meaning})


@dataclass(frozen=True, kw_only=True, slots=True)
class Coefficients:
    """The ten numbers fitted for a device.

    ``low`` and ``high`` bound the fit; ``typical`` is where it starts and what it is drawn to when
    the measurements do not decide. Efficiencies are relative to the peak at nominal boost clock:
    cards in the table sustained up to 1.1 times that clock, and operand loads are charged apart.
    """

    gemm_efficiency: float = _coefficient(
        0.7, 1.1, 1.4, "rate of an implicit GEMM's inner loop / peak, loads not counted"
    )
    prologue_steps: float = _coefficient(
        10, 50, 120, "reduction steps that a tile's prologue and epilogue take"
    )
    load_cost: float = _coefficient(
        1, 12, 40, "multiply-adds' time to load one operand of a reduction step, forward and dgrad"
    )
    wgrad_gemm_efficiency: float = _coefficient(
        0.6, 1.5, 2.2, "rate of the inner loop of wgrad's split-K GEMM / peak, loads not counted"
    )
    atomic_gb_s: float = _coefficient(
        60, 190, 1500, "bytes added atomically a second by a scattering dgrad or a split product"
    )
    partial_sum_gb_s: float = _coefficient(
        10, 35, 200, "bytes a second at which wgrad's tiles add their outputs to memory"
    )
    fused_winograd_efficiency: float = _coefficient(
        0.4, 0.85, 1.1, "rate of the fused F(2x2,3x3) kernel's multiplications / peak"
    )
    transformed_gemm_efficiency: float = _coefficient(
        0.7,
        1.0,
        1.45,
        "rate of the batched GEMM on Winograd-transformed tiles / peak, without loads",
    )
    transform_bandwidth: float = _coefficient(
        0.5, 1.0, 4.0, "bytes a second moved by transforms / DRAM peak (above 1: partly from L2)"
    )
    wgrad_transform_bandwidth: float = _coefficient(
        0.3, 0.8, 4.0, "transform_bandwidth of wgrad, whose transforms also transpose"
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value, low, high = getattr(self, f.name), f.metadata["low"], f.metadata["high"]
            if not low <= value <= high:
                raise GpuError(f"{f.name} must be from {low} to {high}, got {value}")


def coefficient_table() -> list[tuple[str, float, float, float, str]]:
    """Name, lowest, typical and highest value and meaning of every coefficient."""
    keys = ("low", "typical", "high", "meaning")
    return [(f.name, *(f.metadata[key] for key in keys)) for f in fields(Coefficients)]


def typical_coefficients() -> Coefficients:
    """The values a fit starts from."""
    return Coefficients(**{name: typical for name, _, typical, _, _ in coefficient_table()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """One device's entry of the data file.

    ``bands`` maps model and pass to the ratios measured / predicted that 10 % and 90 % of the
    measured layers stay below; for the analytical model each layer was predicted by a fit that had
    not seen its shape. ``errors`` maps pass to its figures; ``ranges`` maps a size to its smallest
    and largest measured value.
    """

    coefficients: Coefficients
    bands: Mapping[str, Mapping[str, tuple[float, float]]]
    errors: Mapping[str, Mapping[str, float]]
    ranges: Mapping[str, tuple[float, float]]
    fitted_on: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryLayers:
    """Parts of the DRAM peak that memory-bound layers reach, fitted on measured networks.

    ``bandwidth`` is that of all layers but max pooling, whose backward kernel searches the maxima
    again and reaches ``pool_bandwidth``.
    """

    bandwidth: float
    pool_bandwidth: float

    def __post_init__(self) -> None:
        for name, least in (("bandwidth", 0.3), ("pool_bandwidth", 0.05)):
            value = getattr(self, name)
            if not least <= value <= 1.0:
                raise GpuError(f"memory_layers.{name} must be from {least} to 1, got {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryFit:
    """The data file's entry on memory-bound layers; ``errors`` maps a network to percents."""

    coefficients: MemoryLayers
    errors: Mapping[str, Mapping[str, float]]
    fitted_on: str


def load_memory_fit(path: Path | None = None) -> MemoryFit:
    """Read the entry on memory-bound layers; of the package's own file without a path.

    Raises:
        GpuError: the file is missing or is not such a file.
    """
    table = _read(path, "memory_layers")
    try:
        return MemoryFit(
            coefficients=MemoryLayers(**table["coefficients"]),
            errors=table["errors"],
            fitted_on=table["fitted_on"],
        )
    except (KeyError, TypeError) as error:
        raise _not_a_fit(path, error) from error


def load_fits(path: Path | None = None) -> dict[str, Fit]:
    """Read a file written by ``write_fits``; the package's own without a path.

    Raises:
        GpuError: the file is missing or is not such a file.
    """
    try:
        return {name: _fit(table) for name, table in _read(path, "device").items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_a_fit(path, error) from error


def _read(path: Path | None, key: str) -> dict[str, Any]:
    try:
        found = parse_toml(SHIPPED.read_text()) if path is None else read_toml(path)
        table = found[key]
    except TomlError as error:
        raise GpuError(f"cannot read coefficients {path}: {error}") from None
    except KeyError as error:
        raise _not_a_fit(path, error) from error
    if not isinstance(table, dict):
        raise _not_a_fit(path, TypeError(f"{key} is no table"))
    return table


def _not_a_fit(path: Path | None, error: Exception) -> GpuError:
    return GpuError(f"{path} is not a file of coefficients as 'gpu fit' writes it: {error}")


def _fit(table: Mapping[str, Any]) -> Fit:
    return Fit(
        coefficients=Coefficients(**table["coefficients"]),
        bands={m: {p: (b[0], b[1]) for p, b in t.items()} for m, t in table["bands"].items()},
        errors=table["errors"],
        ranges={name: (low, high) for name, (low, high) in table["ranges"].items()},
        fitted_on=table["fitted_on"],
    )


def format_fits(fits: Mapping[str, Fit], memory: MemoryFit, heading: str) -> str:
    """The text of the data file: what was fitted, on what, and with what error."""
    lines = [f"# {line}" for line in heading.splitlines()]
    lines += ["", "[memory_layers]", f'fitted_on = "{memory.fitted_on}"']
    lines += ["", "[memory_layers.coefficients]"]
    lines += [f"{name} = {value:.6g}" for name, value in asdict(memory.coefficients).items()]
    for name, errors in memory.errors.items():
        lines += ["", f"[memory_layers.errors.{name}]"]
        lines += [f"{key} = {value:.4g}" for key, value in errors.items()]
    for device, fit in fits.items():
        lines += ["", f"[device.{device}]", f'fitted_on = "{fit.fitted_on}"']
        lines += ["", f"[device.{device}.coefficients]"]
        meanings = {name: meaning for name, _, _, _, meaning in coefficient_table()}
        for name, value in asdict(fit.coefficients).items():
            lines.append(f"{name} = {value:.6g} # {meanings[name]}")
        for name, errors in fit.errors.items():
            lines += ["", f"[device.{device}.errors.{name}]"]
            lines += [f"{key} = {value:.6g}" for key, value in errors.items()]
        for model, bands in fit.bands.items():
            lines += ["", f"[device.{device}.bands.{model}]"]
            lines += [f"{key} = [{low:.6g}, {high:.6g}]" for key, (low, high) in bands.items()]
        lines += ["", f"[device.{device}.ranges]"]
        lines += [f'"{key}" = [{low:.10g}, {high:.10g}]' for key, (low, high) in fit.ranges.items()]
    return "\n".join(lines) + "\n"
