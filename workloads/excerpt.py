"""A part of a trace: fewer samples of each batch, or some of its iterations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import overload

from workloads.errors import TraceError
from workloads.layer import Layer
from workloads.masks import Mask
from workloads.phase import OPERANDS
from workloads.trace import LazyLayers, Trace, layer_keys


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
    layers = _Excerpt(trace.layers, places, samples)
    return replace(trace, layers=layers, step=trace.step if step else None)


class _Excerpt(LazyLayers):
    def __init__(self, layers: Sequence[Layer], places: Sequence[int], samples: int | None) -> None:
        self._layers, self._places, self._samples = layers, places, samples

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Layer]:
        places = set(self._places)
        for n, layer in enumerate(self._layers):
            if n in places:
                yield _first(layer, self._samples)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> list[Layer]: ...
    def __getitem__(self, index: int | slice) -> Layer | list[Layer]:
        chosen = self._places[index]
        if isinstance(chosen, int):
            return _first(self._layers[chosen], self._samples)
        return [_first(self._layers[n], self._samples) for n in chosen]

    def keys(self) -> list[tuple[str, int]]:
        keys = layer_keys(self._layers)
        return [keys[n] for n in self._places]


def _first(layer: Layer, samples: int | None) -> Layer:
    """The layer with its first samples."""
    if samples is None or samples >= layer.n_samples:
        return layer
    values = {
        operand: stored if operand == "weight" else stored[:samples]
        for operand in OPERANDS
        if (stored := layer.values(operand)) is not None
    }
    return replace(
        layer,
        activation=_first_of(layer.activation, samples),
        gradient=_first_of(layer.gradient, samples),
        stored_values=values,
    )


def _first_of(mask: Mask | None, samples: int) -> Mask | None:
    return None if mask is None else Mask.from_array(mask.dense()[:samples])
