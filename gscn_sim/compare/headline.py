"""A run in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gscn_sim.results.tables import SLOTS, headline_row
from gscn_sim.results.words import duration, factor

_SCOPES = {
    "backward": "backward convolutions",
    "backward_with_pre": "backward convolutions with their pre-phases",
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


def headline(summary: pd.DataFrame, *, machine: str, gpu: str, cautions: Sequence[str] = ()) -> str:
    """Say time, speed-ups, useful slots and limit of the most complete pass of a run's summary.

    The other machines run the same convolutions, dense and without pre-phases. ``cautions`` say
    what the figure rests on that it should not be quoted without.
    """
    row = headline_row(summary)
    scope = _SCOPES.get(row["phase"], row["phase"])
    useful = f"{100 * row['utilization']:.0f} % of multiplier slots useful"
    parts = [
        f"{scope} on {machine}: {duration(row['seconds'])}{compare(row, gpu)}",
        useful,
        f"limited by {_limit(row)}",
    ]
    if cautions:
        parts.append(f"mind: {', '.join(cautions)}")
    return "; ".join(parts)


def compare(row: Mapping[str, Any], gpu: str) -> str:
    """The speed-ups in words, nothing where a machine has no time to compare with."""
    others = []
    speedup, over_dense = row["speedup"], row["speedup_over_dense"]
    if math.isfinite(speedup):
        others.append(f"{factor(speedup, row['speedup_low'], row['speedup_high'])} than {gpu}")
    if math.isfinite(over_dense):
        others.append(f"{factor(over_dense)} than the dense array")
    return f", {' and '.join(others)} at the same convolutions" if others else ""


def _limit(row: Mapping[str, Any]) -> str:
    cause = row["limited_by"]
    total = sum(row[name] for name in SLOTS)
    if f"slots_{cause}" not in row or not total:
        return _LIMITS[cause]
    return f"{_LIMITS[cause]} ({100 * row[f'slots_{cause}'] / total:.0f} %)"
