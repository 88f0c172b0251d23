"""What a reader of a headline must know about the trace that it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gscn_sim.results.record import PhaseRecord
from workloads import Phase

FAR = 0.1
"""Reached density of the deltas further than this from the wanted one, relative: worth a word."""


def trace_cautions(records: Sequence[PhaseRecord], facts: Mapping[str, Any]) -> list[str]:
    """Whether deltas are far from the density that training wanted, or of its first steps.

    ``facts`` is the trace's metadata. Density is weighted by the multiply-adds that meet it.
    """
    return [*_far_from_wanted(records, facts.get("reuse_sparsity")), *_early(records, facts)]


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
        if record.phase in (Phase.DGRAD, Phase.WGRAD) and record.gradient_density is not None:
            dense += record.dense_macs
            sparse += record.dense_macs * record.gradient_density
    if not dense or not wanted:
        return []
    reached = sparse / dense
    if abs(reached - (1 - wanted)) <= FAR * (1 - wanted):
        return []
    return [f"gradients {100 * reached:.3g} % dense, {100 * (1 - wanted):.3g} % wanted"]


def _early(records: Sequence[PhaseRecord], facts: Mapping[str, Any]) -> list[str]:
    if facts.get("epoch") != 0:
        return []
    last = max(record.iteration for record in records)
    return [f"first epoch of training (to iteration {last:,})"]
