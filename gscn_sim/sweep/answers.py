"""What a sweep's table says: the trade-offs, the best designs, and which parameters matter."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gscn_sim.results.sizes import ALIKE
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.metrics import with_metrics
from gscn_sim.sweep.search import Objective
from gscn_sim.sweep.table import (
    WORKLOAD,
    finished,
    parameter_names,
    workload_labels,
)

SMALLEST_REST = 0.0005
SHARE_DECIMALS = 12  # beyond them it is rounding of sums
MAX_LEVELS = 8


def pareto(
    frame: pd.DataFrame, objectives: Sequence[Objective], where: str | None = None
) -> pd.DataFrame:
    """The designs that no other beats in every objective, per workload, best first.

    Two designs with equal values stay both. Points without a value are left out.
    """
    metrics = [objective.metric for objective in objectives]
    done = with_metrics(finished(frame, where), metrics)
    done = done.dropna(subset=metrics)
    signs = np.array([-1.0 if objective.maximize else 1.0 for objective in objectives])
    kept = []
    for _, group in done.groupby(WORKLOAD, sort=False):
        costs = group[metrics].to_numpy(dtype=float) * signs
        front = group[non_dominated(costs)]
        kept.append(front.sort_values(metrics, ascending=[not o.maximize for o in objectives]))
    return pd.concat(kept, ignore_index=True)


def best(
    frame: pd.DataFrame, objective: Objective, count: int = 10, where: str | None = None
) -> pd.DataFrame:
    """The designs with the best geometric mean of a metric over all workloads of their sweep.

    One row per design, with the metric on each workload (``speedup[resnet34/16]``) when there are
    several. A design that is missing on a workload is left out.

    Raises:
        SpaceError: the metric is unknown or has no values.
    """
    done = with_metrics(finished(frame, where), [objective.metric])
    table = done.assign(_label=workload_labels(done)).pivot_table(
        index=["sweep", "config_digest"], columns="_label", values=objective.metric, sort=False
    )
    table = table.dropna()
    if table.empty:
        raise SpaceError(f"no design has {objective.metric} on every workload")
    score = np.exp(np.log(table).mean(axis=1)) if (table > 0).all(axis=None) else table.mean(axis=1)
    order = score.sort_values(ascending=not objective.maximize, kind="stable").index[:count]
    first = done.drop_duplicates(["sweep", "config_digest"]).set_index(["sweep", "config_digest"])
    axes = parameter_names(frame.loc[done.index])
    facts = ["limited_by", "area_mm2", "on_chip_bytes", "total_multipliers", "dram_gbps"]
    facts = [name for name in facts if name != objective.metric]
    each = table.add_prefix(f"{objective.metric}[").add_suffix("]")
    parts = [
        first[["point", *axes]].reindex(order),
        score.reindex(order).rename(objective.metric),
        each.reindex(order) if table.shape[1] > 1 else pd.DataFrame(index=order),
        first[facts].reindex(order),
    ]
    return pd.concat(parts, axis=1).reset_index(level="sweep").reset_index(drop=True)


def sensitivity(frame: pd.DataFrame, metric: str, where: str | None = None) -> pd.DataFrame:
    """How much of a metric's variation each parameter explains by itself, largest first.

    For each workload (trace and batch size) apart, which ``workload`` names. ``share`` is the
    variance of the means at the axis's levels over the total variance (eta squared, the first-order
    effect; on a full grid, what is left over is interaction of axes; elsewhere shares overlap, as
    :func:`overlap_note` says). ``lowest_mean`` and ``highest_mean`` are those means' extremes,
    ``at_lowest`` and ``at_highest`` their levels. A continuous axis is cut into eight levels of
    equally many points.

    Raises:
        SpaceError: the metric is unknown, or no axis takes more than one value.
    """
    tables = [
        _sensitivity(points, metric).pipe(_named, label)
        for label, points in _workloads(frame, metric, where)
        if parameter_names(points)
    ]
    if not tables:
        raise SpaceError("every axis has one value only: nothing to compare")
    return pd.concat(tables, ignore_index=True)


def _workloads(
    frame: pd.DataFrame, metric: str, where: str | None
) -> list[tuple[str, pd.DataFrame]]:
    """The points of each workload that have a value of the metric, by the workload's label."""
    done = with_metrics(finished(frame, where), [metric]).dropna(subset=[metric])
    groups = done.groupby(workload_labels(done), sort=False)
    return [(str(label), points) for label, points in groups]


def _named(table: pd.DataFrame, workload: str) -> pd.DataFrame:
    table.insert(0, "workload", workload)
    return table


def _sensitivity(done: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The main effects of one workload's points."""
    axes = parameter_names(done)
    total = float(done[metric].var(ddof=0))
    rows = []
    for axis in axes:
        effects = main_effects(done, metric, axis)
        weights = effects["points"] / effects["points"].sum()
        centre = float((weights * effects["mean"]).sum())
        between = float((weights * (effects["mean"] - centre) ** 2).sum())
        low, high = int(effects["mean"].argmin()), int(effects["mean"].argmax())
        rows.append(
            {
                "axis": axis,
                "levels": len(effects),
                "share": round(between / total, SHARE_DECIMALS) if total else 0.0,
                "lowest_mean": effects["mean"].iloc[low],
                "highest_mean": effects["mean"].iloc[high],
                "at_lowest": str(effects["level"].iloc[low]),
                "at_highest": str(effects["level"].iloc[high]),
            }
        )
    table = pd.DataFrame(rows).sort_values("share", ascending=False, kind="stable")
    return table.reset_index(drop=True)


def size_note(designs: pd.DataFrame) -> str:
    """A sentence if the designs of a table differ in area, multipliers or DRAM bandwidth."""
    sizes = {"area_mm2": "mm2", "total_multipliers": "multipliers", "dram_gbps": "GB/s of DRAM"}
    spans = {unit: (designs[name].min(), designs[name].max()) for name, unit in sizes.items()}
    unlike = [
        f"{low:.4g} to {high:.4g} {unit}"
        for unit, (low, high) in spans.items()
        if high > (1 + ALIKE) * low
    ]
    if not unlike:
        return ""
    return (
        f"These designs are of unlike size: {', '.join(unlike)}. At equal size: --iso of "
        "gscn-sim sweep, or a metric as 'speedup / area_mm2'."
    )


def main_effects(frame: pd.DataFrame, metric: str, axis: str) -> pd.DataFrame:
    """Mean, lowest and highest of a metric at each level of one axis."""
    values = frame[axis]
    if values.nunique() > MAX_LEVELS and pd.api.types.is_numeric_dtype(values):
        levels = pd.qcut(values.astype(float), MAX_LEVELS, duplicates="drop").astype(str)
    else:
        levels = values.astype(object)
    grouped = frame.groupby(levels, sort=False)[metric]
    effects = grouped.agg(points="count", mean="mean", lowest="min", highest="max")
    return effects.rename_axis("level").reset_index()


def effects_note(frame: pd.DataFrame, metric: str, where: str | None = None) -> str:
    """What the shares of :func:`sensitivity` leave out, or why they overlap, by workload."""
    return _by_workload(frame, metric, where, _effects_note)


def _by_workload(
    frame: pd.DataFrame, metric: str, where: str | None, note: Callable[[pd.DataFrame, str], str]
) -> str:
    """A note on each workload's points; its label before it where there are several."""
    groups = _workloads(frame, metric, where)
    notes = [(label, note(points, metric)) for label, points in groups if parameter_names(points)]
    return " ".join(f"{label}: {text}" if len(notes) > 1 else text for label, text in notes if text)


def _effects_note(done: pd.DataFrame, metric: str) -> str:
    if note := _overlap_note(done, metric):
        return note
    rest = 1 - float(_sensitivity(done, metric)["share"].sum())
    if rest < SMALLEST_REST:
        return ""
    return f"The other {100 * rest:.1f} % is what parameters do only together (interactions)."


def overlap_note(frame: pd.DataFrame, metric: str, where: str | None = None) -> str:
    """A sentence if the shares of :func:`sensitivity` overlap, else nothing.

    They do where axes vary together: in a search, a grid that was cut short, or with failed points.
    """
    return _by_workload(frame, metric, where, _overlap_note)


def _overlap_note(done: pd.DataFrame, metric: str) -> str:
    axes = parameter_names(done)
    points = done.groupby(axes).size()
    combinations = math.prod(done[name].nunique() for name in axes)
    if len(points) == combinations and points.nunique() == 1:
        return ""
    return (
        f"The {len(done):,} points are no full grid of the {combinations:,} combinations: "
        "an axis's share and means take in some of what other axes did."
    )


def non_dominated(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows no other row beats: at most equal everywhere and below somewhere.

    In lexicographic order only an earlier row can beat a later one. Up to three costs take
    n log n comparisons, more take n times the size of the front.
    """
    if len(costs) == 0:
        return np.zeros(0, dtype=bool)
    distinct, which = np.unique(costs, axis=0, return_inverse=True)
    if distinct.shape[1] <= 3:
        padding = np.zeros((len(distinct), 3 - distinct.shape[1]))
        keep = _staircase(np.hstack([padding, distinct]))
    else:
        keep = _pairwise(distinct)
    return keep[which.reshape(-1)]


def _staircase(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Non-dominated among distinct rows of three in lexicographic order.

    The second and third costs of the rows kept so far that matter form a staircase: ``seconds``
    rises while ``thirds`` falls.
    """
    keep = np.ones(len(rows), dtype=bool)
    seconds: list[float] = []
    thirds: list[float] = []
    for index, (_, second, third) in enumerate(rows.tolist()):
        place = bisect.bisect_right(seconds, second)
        if place and thirds[place - 1] <= third:
            keep[index] = False
            continue
        start = place - 1 if place and seconds[place - 1] == second else place
        end = start
        while end < len(thirds) and thirds[end] >= third:
            end += 1
        seconds[start:end] = [second]
        thirds[start:end] = [third]
    return keep


def _pairwise(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Non-dominated among distinct rows in lexicographic order, each against the front so far."""
    keep = np.zeros(len(rows), dtype=bool)
    front = np.empty_like(rows)
    size = 0
    for index, row in enumerate(rows):
        if not (front[:size] <= row).all(axis=1).any():
            keep[index] = True
            front[size] = row
            size += 1
    return keep
