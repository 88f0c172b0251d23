"""How large a design is, and the same design at another size (``--iso``).

Two designs are compared fairly where they have the same of what is scarce: area, multipliers or
DRAM bandwidth. A design is brought to such a size by the number of its PEs, or of its DRAM's
channels; all else about it stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.results.energy import area_mm2
from workloads.records import shown

ALIKE = 0.01
"""By how much sizes may differ that are called equal."""
MAX_SIDE = 1 << 12
OBLONG = 2.0
"""By how much the ratio of columns to rows may leave the design's own."""
ROUNDING = 1e-9


def design_sizes(config: Config) -> dict[str, float]:
    """Multipliers, area in mm2 and DRAM bandwidth in GB/s (infinite where it never limits)."""
    return {
        "multipliers": float(config.num_pes * config.multipliers),
        "area": area_mm2(config).total,
        "DRAM bandwidth": math.inf if config.dram.kind == "ideal" else config.dram.peak_gbps,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Iso:
    """A size that designs are brought to: ``quantity`` as in ``QUANTITIES``."""

    quantity: str
    value: float

    def __str__(self) -> str:
        return f"{self.quantity}={self.value:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """What can be equal: its size, its unit, and how a design comes nearest to it from below."""

    size: str
    unit: str
    keys: tuple[str, ...]
    changes: Callable[[Config, float], dict[str, Any]]


def parse_iso(texts: Iterable[str]) -> tuple[Iso, ...]:
    """Read ``area=50``, ``multipliers=1024``, ``bandwidth_gbs=400``.

    Raises:
        ConfigError: another quantity, no positive number, or two that ask for the number of PEs.
    """
    found = []
    for text in texts:
        quantity, _, value = (part.strip() for part in text.partition("="))
        check_quantity(quantity, text)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise ConfigError(f"--iso {quantity} must be a positive number, got {shown(value)}")
        found.append(Iso(quantity=quantity, value=number))
    _check_apart([each.quantity for each in found])
    return tuple(found)


def size_of(config: Config, quantity: str) -> float:
    """A design's own size, as ``--iso`` names it.

    Raises:
        ConfigError: no such quantity.
    """
    check_quantity(quantity, quantity)
    return design_sizes(config)[QUANTITIES[quantity].size]


def check_quantity(quantity: str, text: str) -> None:
    """Check a quantity's name.

    Raises:
        ConfigError: it is none.
    """
    if quantity not in QUANTITIES:
        known = ", ".join(f"{name}={each.unit or 'N'}" for name, each in QUANTITIES.items())
        raise ConfigError(f"--iso must be one of {known}; got {shown(text)}")


def _check_apart(quantities: Sequence[str]) -> None:
    scaled = [QUANTITIES[name].keys for name in quantities]
    if len(set(scaled)) < len(scaled):
        raise ConfigError(
            "--iso takes each quantity once, and one of area and multipliers: both are met by the "
            "number of PEs"
        )


def iso_keys(isos: Iterable[Iso]) -> list[str]:
    """The configuration keys that bringing a design to these sizes changes."""
    return [key for each in isos for key in QUANTITIES[each.quantity].keys]


def at_size(config: Config, isos: Iterable[Iso]) -> Config:
    """The design at these sizes, or as near as it comes from below.

    Area and multipliers are met by the number of PEs: of all arrays that fit and are at most twice
    as oblong as the design's own the one with most PEs, of these the one nearest in shape.
    Bandwidth is met by the number of the DRAM's channels.

    Raises:
        ConfigError: not even one PE or channel fits, or more than a machine can have would be
            needed.
    """
    for each in isos:
        config = config.replace(QUANTITIES[each.quantity].changes(config, each.value))
    return config


def scaling_words(before: Config, after: Config, isos: Iterable[Iso]) -> str:
    """What :func:`at_size` changed, in a line."""
    said = []
    sizes = design_sizes(after)
    for each in isos:
        quantity = QUANTITIES[each.quantity]
        if each.quantity == "bandwidth_gbs":
            parts = f"{after.dram.channels} instead of {before.dram.channels} DRAM channels"
        else:
            parts = f"{_grid(after)} instead of {_grid(before)} PEs"
        said.append(
            f"{parts}: {quantity.size} {sizes[quantity.size]:.4g} of {each.value:.4g} "
            f"{quantity.unit}".rstrip()
        )
    return f"{before.name}: {'; '.join(said)}"


def unlike_sizes(ratios: Mapping[str, float], whose: str) -> str:
    """A caution if a design's sizes are not those of what it is compared with, else nothing.

    ``ratios`` are its sizes over the other's, by name.
    """
    unlike = [f"{r:.3g} times the {name}" for name, r in ratios.items() if abs(r - 1) > ALIKE]
    return f"designs of unlike size: {whose} has {', '.join(unlike)}" if unlike else ""


def _by_area(config: Config, target: float) -> dict[str, Any]:
    area = area_mm2(config)
    each = (area.total - area.global_buffer) / config.num_pes
    most = math.floor((target - area.global_buffer) / each * (1 + ROUNDING))
    if most < 1:
        least = each + area.global_buffer
        raise ConfigError(
            f"{config.name}: one PE and the global buffer take {least:.3g} mm2, more than "
            f"--iso area={target:g}"
        )
    return _array(config, most, f"area={target:g}")


def _by_multipliers(config: Config, target: float) -> dict[str, Any]:
    most = int(target / config.multipliers)
    if most < 1:
        raise ConfigError(
            f"{config.name}: one PE has {config.multipliers} multipliers, more than "
            f"--iso multipliers={target:g}"
        )
    return _array(config, most, f"multipliers={target:g}")


def _array(config: Config, most: int, what: str) -> dict[str, Any]:
    """The largest array of at most so many PEs, in about the design's own shape."""
    if most > MAX_SIDE**2:
        raise ConfigError(
            f"{config.name}: --iso {what} takes {most:,} PEs, at most {MAX_SIDE**2:,}"
        )
    own = config.array.pe_cols / config.array.pe_rows
    found = _arrays(most, own, OBLONG) or _arrays(most, own, math.inf)
    rows, cols = max(found, key=lambda rc: (rc[0] * rc[1], -_oblong(rc[0], rc[1], own)))
    return {"array.pe_rows": rows, "array.pe_cols": cols}


def _arrays(most: int, own: float, oblong: float) -> list[tuple[int, int]]:
    """For each number of rows the most columns."""
    every = [
        (rows, int(min(most // rows, MAX_SIDE, rows * own * oblong)))
        for rows in range(1, min(most, MAX_SIDE) + 1)
    ]
    near = math.log(oblong) + ROUNDING
    return [(rows, cols) for rows, cols in every if cols and _oblong(rows, cols, own) <= near]


def _oblong(rows: int, cols: int, own: float) -> float:
    """How far a shape is from another: 0 for the same, log 2 for twice as oblong."""
    return abs(math.log(cols / (rows * own)))


def _by_channels(config: Config, target: float) -> dict[str, Any]:
    if config.dram.kind == "ideal":
        raise ConfigError(
            f"{config.name}: an ideal memory has no bandwidth for --iso bandwidth_gbs"
        )
    each = config.dram.peak_gbps / config.dram.channels
    channels = int(target / each * (1 + ROUNDING))
    if channels < 1:
        raise ConfigError(
            f"{config.name}: one DRAM channel has {each:.3g} GB/s, more than "
            f"--iso bandwidth_gbs={target:g}"
        )
    return {"dram.channels": channels}


def _grid(config: Config) -> str:
    return f"{config.array.pe_rows} x {config.array.pe_cols}"


_PES = ("array.pe_rows", "array.pe_cols")
QUANTITIES = {
    "area": Quantity(size="area", unit="mm2", keys=_PES, changes=_by_area),
    "multipliers": Quantity(size="multipliers", unit="", keys=_PES, changes=_by_multipliers),
    "bandwidth_gbs": Quantity(
        size="DRAM bandwidth", unit="GB/s", keys=("dram.channels",), changes=_by_channels
    ),
}
