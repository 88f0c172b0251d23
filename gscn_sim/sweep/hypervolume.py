"""How much of the space of objectives a sweep's designs cover, point by point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gscn_sim.sweep.metrics import with_metrics
from gscn_sim.sweep.search import Objective
from gscn_sim.sweep.table import WORKLOAD, finished, workload_labels

COLUMN = "hypervolume"
NEARLY = 0.95


def hypervolume_history(
    frame: pd.DataFrame, objectives: Sequence[Objective], where: str | None = None
) -> pd.Series[float]:
    """The hypervolume of each point and those before it, in the order of their sweep and workload.

    It is the part of a box that these designs beat: each objective runs from the best to the worst
    value that any design of the workload reached. So 1 would be a design that has the best of all.
    The order of points is that in which a search proposed them. NaN for points without a value.
    """
    metrics = [objective.metric for objective in objectives]
    done = with_metrics(finished(frame, where), metrics).dropna(subset=metrics)
    signs = np.array([-1.0 if objective.maximize else 1.0 for objective in objectives])
    history = pd.Series(np.nan, index=frame.index, name=COLUMN)
    for _, group in done.groupby(WORKLOAD, sort=False):
        costs = _in_a_box(group[metrics].to_numpy(dtype=float) * signs)
        for _, part in pd.DataFrame(costs, index=group.index).groupby(group["sweep"], sort=False):
            ordered = part.loc[group.loc[part.index, "point"].sort_values().index]
            history.loc[ordered.index] = np.array(growing_hypervolume(ordered.to_numpy()))
    return history


def growing_hypervolume(costs: NDArray[np.float64]) -> list[float]:
    """The hypervolume of the first row, of the first two, ..., up to 1 in every cost (least best).

    ``costs`` is [points, objectives], from 0 to 1.
    """
    import moocore

    front = np.empty((0, costs.shape[1]))
    covered, found = 0.0, []
    for row in costs:
        if not (front <= row).all(axis=1).any():
            front = np.vstack([front[~(row <= front).all(axis=1)], row])
            covered = float(moocore.hypervolume(front, ref=1.0))
        found.append(covered)
    return found


def hypervolume_note(history: pd.Series[float], frame: pd.DataFrame) -> str:
    """What each workload's points cover in the end, and after how many they nearly did.

    Where a store has several sweeps, of the last.
    """
    said = []
    known = frame.assign(**{COLUMN: history}).dropna(subset=[COLUMN])
    for label, group in known.groupby(workload_labels(known), sort=False):
        last = group[group["sweep"] == group["sweep"].max()].sort_values("point")
        values = last[COLUMN].to_numpy(dtype=float)
        enough = 1 + int(np.argmax(values >= NEARLY * values[-1]))
        said.append(
            f"{label}: {values[-1]:.3g} after {len(values):,} points, "
            f"{NEARLY:.0%} of that after {enough:,}"
        )
    return f"hypervolume, of the box from best to worst: {'; '.join(said)}" if said else ""


def _in_a_box(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each cost from 0 (the best of all rows) to 1 (the worst); 0 where all are the same."""
    best, worst = costs.min(axis=0), costs.max(axis=0)
    span = np.where(worst > best, worst - best, 1.0)
    return (costs - best) / span
