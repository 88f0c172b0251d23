"""What the runs of an accuracy study say: each setting against ordinary training, by seed."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from resprop_train.study import Outcome, Run

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One setting against the baseline, over the seeds that both have.

    ``loss_points`` are percentage points of accuracy lost, paired by seed: the mean and the ends
    of its Student-t interval.
    """

    model: str
    dataset: str
    judged_on: str
    method: str
    rule: str
    epochs: int
    batch_size: int
    learning_rate: float
    clip_norm: float | None
    reuse_sparsity: float
    density_margin: float
    warmup_epochs: float
    seeds: int
    baseline_accuracy: float
    accuracy: float
    loss_points: float
    loss_points_low: float
    loss_points_high: float
    mean_density: float
    backward_work_reduction: float
    whole_run_work_reduction: float


def compare(done: dict[Run, Outcome]) -> list[Comparison]:
    """Compare each setting with the baseline of the same seeds, of which it takes two."""
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in done:
        if run.reuse_sparsity is not None and run.baseline in done:
            groups[_setting(run)].append(run)
    rows = []
    for _, runs in sorted(groups.items()):
        if len(runs) < 2:
            continue
        ours = [done[run] for run in runs]
        theirs = [done[run.baseline] for run in runs]
        losses = [100 * (b.accuracy - a.accuracy) for a, b in zip(ours, theirs, strict=True)]
        loss, low, high = interval(losses)
        first = runs[0]
        assert first.reuse_sparsity is not None
        rows.append(
            Comparison(
                model=first.model,
                dataset=first.dataset,
                judged_on=first.judged_on,
                method=first.method,
                rule=first.rule,
                epochs=first.epochs,
                batch_size=first.batch_size,
                learning_rate=first.learning_rate,
                clip_norm=first.clip_norm,
                reuse_sparsity=first.reuse_sparsity,
                density_margin=first.density_margin,
                warmup_epochs=first.warmup_epochs,
                seeds=len(runs),
                baseline_accuracy=statistics.fmean(o.accuracy for o in theirs),
                accuracy=statistics.fmean(o.accuracy for o in ours),
                loss_points=loss,
                loss_points_low=low,
                loss_points_high=high,
                mean_density=statistics.fmean(o.mean_density for o in ours),
                backward_work_reduction=statistics.fmean(o.backward_work_reduction for o in ours),
                whole_run_work_reduction=statistics.fmean(o.whole_run_work_reduction for o in ours),
            )
        )
    return rows


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and the ends of its two-sided 95 % Student-t confidence interval."""
    from scipy.stats import t

    mean = statistics.fmean(values)
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * statistics.stdev(values)
    half /= math.sqrt(len(values))
    return mean, mean - half, mean + half


def _setting(run: Run) -> tuple[Any, ...]:
    # 0 for no clipping, so that settings sort
    return tuple(getattr(run, field.name) or 0 for field in fields(run) if field.name != "seed")
