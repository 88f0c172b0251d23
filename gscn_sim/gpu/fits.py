"""The files that fitted coefficients live in: the package's own, one of 'gpu fit', a device's."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from gscn_sim.gpu.coefficients import (
    LIBRARIES,
    Coefficients,
    EnergyCoefficients,
    SparseCoefficients,
    StepCoefficients,
)
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.toml import TomlError, parse_toml, read_toml
from workloads.errors import one_line

SHIPPED = resources.files("gscn_sim.gpu") / "data" / "coefficients.toml"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Convolutions on one device in one precision.

    ``bands`` maps model and pass to the ratios measured / predicted that 10 % and 90 % of the
    measured layers stay below; for the analytical model each layer was predicted by a fit that had
    not seen its shape. ``errors`` maps pass to its figures; ``ranges`` maps a size to its smallest
    and largest measured value; ``kinds`` are the unusual kinds of layers that were measured.
    """

    library: str
    coefficients: Coefficients
    bands: Mapping[str, Mapping[str, tuple[float, float]]]
    errors: Mapping[str, Mapping[str, float]]
    ranges: Mapping[str, tuple[float, float]]
    kinds: tuple[str, ...]
    fitted_on: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """Coefficients of anything else; ``errors`` maps what was predicted to its figures."""

    coefficients: Any
    errors: Mapping[str, Mapping[str, float]]
    fitted_on: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FitFile:
    """All that a file of fits holds, each by the key of its device (``h100:bf16``).

    ``step``: operations other than convolutions; ``energy``: joules; ``sparse``: the card's own
    sparse products.
    """

    device: Mapping[str, Fit]
    step: Mapping[str, Fitted]
    energy: Mapping[str, Fitted]
    sparse: Mapping[str, Fitted]


OTHERS: Mapping[str, type[Coefficients]] = {
    "step": StepCoefficients,
    "energy": EnergyCoefficients,
    "sparse": SparseCoefficients,
}
"""Tables of a file beside ``device``, and what their coefficients are."""


def load_file(path: Path | None = None) -> FitFile:
    """Read a file that 'gpu fit' wrote, or the package's own without a path.

    Raises:
        GpuError: the file is missing or is not such a file.
    """
    if path is None:
        return _shipped()
    try:
        tables = read_toml(path)
    except TomlError as error:
        raise GpuError(f"cannot read coefficients {path}: {error}") from None
    return read_tables(tables, str(path))


@functools.cache
def _shipped() -> FitFile:
    return read_tables(parse_toml(SHIPPED.read_text(encoding="utf-8")), str(SHIPPED))


def read_tables(tables: Mapping[str, Any], where: str) -> FitFile:
    """The same from tables already read.

    Raises:
        GpuError: they are not such tables.
    """
    try:
        return FitFile(
            device={key: _fit(table) for key, table in tables["device"].items()},
            **{
                name: {key: _fitted(table, kind) for key, table in tables.get(name, {}).items()}
                for name, kind in OTHERS.items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise GpuError(
            f"{where} is not a file of coefficients as 'gpu fit' writes it: "
            f"{one_line(str(error))[:120]}"
        ) from error


def device_fits(device: Device) -> FitFile:
    """The fits of a device: those in its own file, or of a device that ships the package's.

    Raises:
        GpuError: the file is not what it should be.
    """
    if not device.file:
        return load_file()
    tables = read_toml(device.file)
    found: dict[str, dict[str, Any]] = {"device": {}}
    for name in ("device", *OTHERS):
        for precision, table in tables.get(name, {}).items():
            key = device.at(precision).key
            found.setdefault(name, {})[key] = table
    return read_tables(found, device.file)


def load_fits(path: Path | None = None) -> Mapping[str, Fit]:
    """The fits of convolutions, by device key, of a file (the package's own without a path).

    Raises:
        GpuError: the file is missing or is not such a file.
    """
    return load_file(path).device


def _fit(table: Mapping[str, Any]) -> Fit:
    library = table["library"]
    return Fit(
        library=library,
        coefficients=LIBRARIES[library](**table["coefficients"]),
        bands={m: {p: (b[0], b[1]) for p, b in t.items()} for m, t in table["bands"].items()},
        errors=table["errors"],
        ranges={name: (low, high) for name, (low, high) in table["ranges"].items()},
        kinds=tuple(table["kinds"]),
        fitted_on=table["fitted_on"],
    )


def _fitted(table: Mapping[str, Any], kind: type[Coefficients]) -> Fitted:
    return Fitted(
        coefficients=kind(**table["coefficients"]),
        errors=table["errors"],
        fitted_on=table["fitted_on"],
    )


def format_file(fits: FitFile, heading: str) -> str:
    """The text of the file: what was fitted, on what, and with what error."""
    lines = [f"# {line}" for line in heading.splitlines()]
    for name in ("device", *OTHERS):
        for key, one in getattr(fits, name).items():
            prefix = f"{name}.{json.dumps(key)}"
            lines += ["", f"[{prefix}]"]
            lines += [f"{field} = {_value(getattr(one, field))}" for field in _plain(one)]
            meanings = {n: meaning for n, _, _, _, meaning in one.coefficients.table()}
            lines += ["", f"[{prefix}.coefficients]"]
            lines += [
                f"{n} = {value:.6g} # {meanings[n]}"
                for n, value in asdict(one.coefficients).items()
            ]
            for field in ("errors", "bands", "ranges"):
                lines += _table(f"{prefix}.{field}", getattr(one, field, {}))
    return "\n".join(lines) + "\n"


def _plain(one: Fit | Fitted) -> tuple[str, ...]:
    return ("library", "kinds", "fitted_on") if isinstance(one, Fit) else ("fitted_on",)


def _table(prefix: str, table: Mapping[str, Any]) -> list[str]:
    """Lines of a table; tables within it follow as tables of their own."""
    nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    values = [f"{json.dumps(k)} = {_value(v)}" for k, v in table.items() if k not in nested]
    lines = ["", f"[{prefix}]", *values] if values or not nested else []
    for key, value in nested.items():
        lines += _table(f"{prefix}.{json.dumps(key)}", value)
    return lines


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return f"{value:.10g}" if isinstance(value, int) else f"{value:.6g}"


def pick(table: Mapping[str, T], key: str, missing: Callable[[], str]) -> T:
    """The entry of a device.

    Raises:
        GpuError: there is none; ``missing`` says what to do.
    """
    if key not in table:
        raise GpuError(missing())
    return table[key]
