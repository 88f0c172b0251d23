"""Metrics of a point by name or by an expression over names, as ``energy_j * seconds``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.expressions import formula_value
from gscn_sim.sweep.schema import METRICS

PRODUCTS: dict[str, tuple[str, ...]] = {
    "edp_js": ("energy_j", "seconds"),
    "ed2p_js2": ("energy_j", "seconds", "seconds"),
}
"""Metrics that are not stored, since they are products of others: energy times delay."""
NAMES = (*METRICS, *PRODUCTS)


def check_metric_name(metric: str, what: str = "metric") -> None:
    """Check that a metric is one of ``NAMES``, or an expression over them.

    Raises:
        SpaceError: it is neither, or its value is no number.
    """
    if metric in NAMES:
        return
    if not metric or metric.isidentifier():
        raise SpaceError(
            f"{what} {metric!r} must be one of {', '.join(NAMES)}, or an expression of them"
        )
    try:
        found = formula_value(metric, NAMES, {name: 1.5 + n for n, name in enumerate(NAMES)})
    except ArithmeticError:  # nothing for these values; it may have one for a point
        return
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise SpaceError(f"{what} {metric!r}: must be a number, not {found!r:.40}")


def metric_value(metric: str, row: Mapping[str, Any]) -> float | None:
    """The metric of a point with these metrics; None where it has no value."""
    if metric in METRICS:
        value: float | None = row[metric]
        return value
    numbers = {name: math.nan if row[name] is None else float(row[name]) for name in METRICS}
    for name, parts in PRODUCTS.items():
        numbers[name] = math.prod(numbers[part] for part in parts)
    if metric in PRODUCTS:
        return numbers[metric]
    try:
        return float(formula_value(metric, NAMES, numbers))
    except ArithmeticError:  # as of points whose divisor is 0
        return None


def with_metrics(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The table with a column for each metric that it lacks.

    Raises:
        SpaceError: no such metric, or no point has a value of it.
    """
    for metric in metrics:
        check_metric_name(metric)
        if metric not in METRICS:
            rows = frame[list(METRICS)].to_dict(orient="records")
            values = [metric_value(metric, row) for row in rows]  # type: ignore[arg-type]
            frame = frame.assign(**{metric: pd.Series(values, index=frame.index, dtype=float)})
        if not any(math.isfinite(value) for value in frame[metric]):
            raise SpaceError(f"no point has a value of {metric}")
    return frame
