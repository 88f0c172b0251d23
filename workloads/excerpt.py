"""A part of a trace: fewer samples of each batch, or some of its iterations."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from workloads.errors import TraceError
from workloads.layer import Layer, operand_shape
from workloads.masks import Mask
from workloads.phase import OPERANDS
from workloads.trace import Chosen, Trace, layer_keys


def excerpt(
    trace: Trace,
    *,
    samples: int | None = None,
    iterations: Collection[int] | None = None,
    step: bool = True,
) -> Trace:
    """A trace with the first ``samples`` of each batch, of some iterations (None: all).

    Batch sizes stay: the samples stand for their batch. ``step`` tells whether the operations of
    the training step stay.

    Raises:
        TraceError: fewer than one sample, or an iteration that was not recorded.
    """
    if samples is not None and samples < 1:
        raise TraceError(f"samples must be at least 1, got {samples}")
    recorded = [iteration for _, iteration in layer_keys(trace.layers)]
    wanted = set(recorded) if iterations is None else set(iterations)
    if not wanted or not wanted <= set(recorded):
        known = ", ".join(map(str, trace.iterations))
        missing = ", ".join(map(str, sorted(wanted - set(recorded)))) or "none"
        raise TraceError(f"iterations must be of {known}, got {missing}")
    places = [n for n, iteration in enumerate(recorded) if iteration in wanted]
    layers = Chosen(trace.layers, places, partial(_first, samples=samples))
    return replace(trace, layers=layers, step=trace.step if step else None)


def _first(layer: Layer, samples: int | None) -> Layer:
    """The layer with its first samples."""
    if samples is None or samples >= layer.n_samples:
        return layer
    lengths = {o: operand_shape(layer.shape, o, samples)[0] for o in OPERANDS}
    values = {
        operand: stored[: lengths[operand]]
        for operand in OPERANDS
        if (stored := layer.values(operand)) is not None
    }
    masks = {operand: _first_of(layer.mask(operand), lengths[operand]) for operand in OPERANDS}
    return replace(layer, **masks, stored_values=values)  # type: ignore[arg-type]


def _first_of(mask: Mask | None, length: int) -> Mask | None:
    if mask is None or mask.shape[0] == length:
        return mask
    return Mask.from_array(mask.dense()[:length])
