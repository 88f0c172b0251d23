"""What a reader of a headline must know about the trace that it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.results.record import PhaseRecord
from workloads import Phase

FAR = 0.1
"""Reached density of the deltas further than this from the wanted one, relative: worth a word."""

SMALL = 0.005
"""Standard error of the batch's work below which nothing is said of it."""


def trace_cautions(records: Sequence[PhaseRecord], facts: Mapping[str, Any]) -> list[str]:
    """Whether deltas are far from the density that training wanted, or of its first steps, and how
    far off the samples that stand for the batch may be.

    ``facts`` is the trace's metadata. Density is weighted by the multiply-adds that meet it.
    """
    return [
        *_far_from_wanted(records, facts.get("reuse_sparsity")),
        *_early(records, facts),
        *_few_samples(records),
    ]


def gpu_caution(layers: Iterable[tuple[float, str]]) -> list[str]:
    """How many layers, of (GPU seconds, note), lie far from all that the GPU was measured on."""
    found = list(layers)
    total = sum(seconds for seconds, _ in found)
    far = [seconds for seconds, note in found if note]
    if not far or not total:
        return []
    share = 100 * sum(far) / total
    return [f"GPU not measured on the like of {len(far)} of {len(found)} layers ({share:.0f} %)"]


def _far_from_wanted(records: Sequence[PhaseRecord], wanted: float | None) -> list[str]:
    dense, sparse = 0, 0.0
    for record in records:
        if record.shape.filters_per_sample:  # its gradient is no delta
            continue
        if record.phase in (Phase.DGRAD, Phase.WGRAD) and record.gradient_density is not None:
            dense += record.dense_macs
            sparse += record.dense_macs * record.gradient_density
    if not dense or not wanted:
        return []
    reached = sparse / dense
    if abs(reached - (1 - wanted)) <= FAR * (1 - wanted):
        return []
    return [f"gradients {100 * reached:.3g} % dense, {100 * (1 - wanted):.3g} % wanted"]


def _few_samples(records: Sequence[PhaseRecord]) -> list[str]:
    """Where recorded samples stand for a larger batch: the standard error of its mean work.

    A sample's work is its useful products in all layers and phases of an iteration. The error of
    the mean of n out of N samples is s / sqrt(n) * sqrt(1 - n / N), relative to that mean.
    """
    work: dict[int, NDArray[np.float64]] = {}
    recorded = {
        (len(r.products_by_sample), r.batch_size) for r in records if not r.phase.one_sample
    }
    if len(recorded) != 1:  # iterations or layers of unlike batches: no sample is one of the batch
        return []
    ((n, batch),) = recorded
    if not 0 < n < batch:
        return []
    if n < 2:
        return [f"{n} of {batch:,} samples recorded"]
    for record in records:
        if not record.phase.one_sample:
            products = np.array(record.products_by_sample, np.float64)
            work[record.iteration] = work.get(record.iteration, 0) + products
    errors = [
        each.std(ddof=1) / max(each.mean(), 1.0) * np.sqrt((1 - n / batch) / n)
        for each in work.values()
    ]
    error = float(np.sqrt(np.mean(np.square(errors))))
    if error < SMALL:
        return []
    return [f"{n} of {batch:,} samples recorded (work +- {100 * error:.2g} %)"]


def _early(records: Sequence[PhaseRecord], facts: Mapping[str, Any]) -> list[str]:
    if facts.get("epoch") != 0:
        return []
    last = max(record.iteration for record in records)
    return [f"first epoch of training (to iteration {last:,})"]
