"""A run in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from gscn_sim.results.tables import SLOTS, headline_row

_SCOPES = {
    "backward": "backward pass",
    "backward_with_pre": "backward pass with its pre-phases",
}
_LIMITS = {
    "multipliers": "the multipliers themselves",
    "redundant": "products that land outside the output",
    "placeholder": "placeholders of long zero runs",
    "fragmentation": "vectors that non-zeros do not fill",
    "bank_conflict": "accumulator bank conflicts",
    "operand_wait": "waiting for operands",
    "output_wait": "waiting for the drain",
    "imbalance": "unequal work of the PEs",
    "dram": "DRAM bandwidth",
}


def headline(summary: pd.DataFrame, *, machine: str, gpu: str) -> str:
    """Say time, speed-up, useful slots and limit of the most complete pass of a run's summary."""
    row = headline_row(summary)
    scope = _SCOPES.get(row["phase"], row["phase"])
    useful = f"{100 * row['utilization']:.0f} % of multiplier slots useful"
    limit = f"limited by {_limit(row)}"
    speed = compare(row, gpu)
    return f"{scope} on {machine}: {duration(row['seconds'])}{speed}; {useful}; {limit}"


def compare(row: Mapping[str, Any], gpu: str) -> str:
    """The speed-up in words with its band, nothing where the GPU has no time to compare with."""
    speedup = row["speedup"]
    if not math.isfinite(speedup):
        return ""
    factor, word = (speedup, "faster") if speedup >= 1 else (1 / speedup, "slower")
    low, high = row["speedup_low"], row["speedup_high"]
    if speedup < 1 and math.isfinite(low) and math.isfinite(high):
        low, high = 1 / high, 1 / low
    band = f" ({low:.1f}x to {high:.1f}x)" if math.isfinite(low) and math.isfinite(high) else ""
    return f", {factor:.1f}x{band} {word} than {gpu}"


def duration(seconds: float) -> str:
    """A time with the unit that suits it."""
    from gscn_sim.results.words import time_unit

    unit, scale = time_unit(seconds)
    return f"{seconds * scale:.3g} {unit}"


def _limit(row: Mapping[str, Any]) -> str:
    cause = row["limited_by"]
    total = sum(row[name] for name in SLOTS)
    if f"slots_{cause}" not in row or not total:
        return _LIMITS[cause]
    return f"{_LIMITS[cause]} ({100 * row[f'slots_{cause}'] / total:.0f} %)"
