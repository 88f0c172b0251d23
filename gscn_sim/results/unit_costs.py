"""Cited unit costs of energy and area, read from ``data/unit_costs.toml``."""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any


@functools.cache
def unit_costs() -> Mapping[str, Any]:
    """The file as it is: every entry with ``value``, ``mark`` and ``source``."""
    file = resources.files("gscn_sim.data").joinpath("unit_costs.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def value(name: str) -> float:
    """A single figure."""
    return float(unit_costs()[name]["value"])


def power_law(name: str, at: float) -> float:
    """A figure between or beyond the cited points: a straight line on logarithmic axes.

    Beyond the points the nearest two go on. ``at`` is in the unit of the table's first key.
    """
    table = unit_costs()[name]
    axis = next(iter(table[0]))
    points = sorted((float(row[axis]), float(row["value"])) for row in table)
    upper = next((i for i, (x, _) in enumerate(points[1:-1], 1) if at <= x), len(points) - 1)
    (x0, y0), (x1, y1) = points[upper - 1], points[upper]
    exponent = math.log(y1 / y0) / math.log(x1 / x0)
    return y0 * (at / x0) ** exponent


def dram_pj_per_bit(kind: str) -> float:
    """Energy of a bit moved to or from a kind of memory."""
    return next(
        float(row["value"]) for row in unit_costs()["dram_pj_per_bit"] if row["kind"] == kind
    )
