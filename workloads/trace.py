"""A trace: the recorded layers of a training run, and what is known about that run."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral, Real
from typing import Any, overload

from workloads.errors import LayerError, TraceError, one_line
from workloads.layer import OPERANDS, Layer, check_label
from workloads.records import LayerRecord, canonical_json
from workloads.shape import LayerShape
from workloads.step import Step
from workloads.step_json import header_json, operations_json

MAX_INT = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True)
class TraceMetadata:
    """What is known about the run that a trace comes from; None where it is not.

    ``batch_size`` is the training batch N, of which each layer holds n <= N samples; a layer of an
    iteration with another batch has its own ``batch_size``.
    ``reuse_sparsity`` is the wanted and ``reuse_sparsity_reached`` the reached fraction of zeros in
    the gradient delta. ``epoch`` and ``iteration`` are where recording began; each layer has its
    own iteration. ``method`` is what made the gradient sparse, as ``resprop``. ``versions`` names
    what wrote the trace.

    Raises:
        TraceError: a value of the wrong type or out of its range.
    """

    network: str
    batch_size: int
    dataset: str | None = None
    epoch: int | None = None
    iteration: int | None = None
    reuse_sparsity: float | None = None
    reuse_sparsity_reached: float | None = None
    loss: float | None = None
    seed: int | None = None
    method: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked = {
            "network": _label("network", self.network),
            "batch_size": _int("batch_size", self.batch_size, minimum=1),
            "dataset": None if self.dataset is None else _label("dataset", self.dataset),
            "epoch": _optional_int("epoch", self.epoch),
            "iteration": _optional_int("iteration", self.iteration),
            "reuse_sparsity": _optional_real("reuse_sparsity", self.reuse_sparsity, 0, 1),
            "reuse_sparsity_reached": _optional_real(
                "reuse_sparsity_reached", self.reuse_sparsity_reached, 0, 1
            ),
            "loss": _optional_real("loss", self.loss, -math.inf, math.inf),
            "seed": _optional_int("seed", self.seed),
            "method": None if self.method is None else _label("method", self.method),
            "versions": _versions(self.versions),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def metadata(self) -> dict[str, Any]:
        """Return the fields of :class:`TraceMetadata` by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(TraceMetadata)}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trace(TraceMetadata):
    """Recorded layers, in order, with the metadata of their run.

    ``layers`` has a length and can be iterated over any number of times; those of a loaded or
    synthesised trace are made one at a time. ``step`` lists the operations of a whole training
    step, if they were recorded. Two traces are the same when their digests are.

    Raises:
        TraceError: bad metadata, no layers, two layers of one name and iteration, or more samples
            than the batch of the iteration.
    """

    layers: Sequence[Layer]
    step: Step | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step is not None and not isinstance(self.step, Step):
            raise TraceError(f"step must be a workloads.Step, got {type(self.step).__name__}")
        if isinstance(self.layers, LazyLayers):
            return
        layers = tuple(self.layers)
        object.__setattr__(self, "layers", layers)
        if not layers:
            raise TraceError("layers must hold at least one layer, got none")
        seen: set[tuple[int, str]] = set()
        for layer in layers:
            check_member(layer, self.batch_size, seen)

    def __getitem__(self, key: str | tuple[str, int]) -> Layer:
        """The layer of a name: ``trace["conv1"]`` where it was first recorded, or
        ``trace["conv1", 250]`` at iteration 250.

        Raises:
            TraceError: there is none.
        """
        name, iteration = key if isinstance(key, tuple) else (key, None)
        recorded = layer_keys(self.layers)
        for index, (found, when) in enumerate(recorded):
            if found == name and iteration in (None, when):
                return self.layers[index]
        iterations = [when for found, when in recorded if found == name]
        if iterations:
            raise TraceError(
                f"layer {name!r} was recorded at iterations "
                f"{', '.join(map(str, iterations))}, not at {iteration}"
            )
        names = ", ".join(dict.fromkeys(found for found, _ in recorded))
        raise TraceError(f"no layer {one_line(repr(name))[:80]}; layers are {names}")

    def __contains__(self, name: object) -> bool:
        """Whether a layer of this name was recorded."""
        return any(found == name for found, _ in layer_keys(self.layers))

    def __iter__(self) -> Iterator[Layer]:
        """The layers in order."""
        return iter(self.layers)

    def __len__(self) -> int:
        """Number of layer records."""
        return len(self.layers)

    def __repr__(self) -> str:
        """A few lines: where it comes from, how many layers it has."""
        recorded = layer_keys(self.layers)
        names = dict.fromkeys(name for name, _ in recorded)
        iterations = len({iteration for _, iteration in recorded})
        reuse = "" if self.reuse_sparsity is None else f", reuse sparsity {self.reuse_sparsity:g}"
        return (
            f"<Trace of {self.network}, batch {self.batch_size}{reuse}: {len(names)} layers, "
            f"{iterations} iterations; trace[{next(iter(names))!r}] is a layer>"
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the metadata, the masks and the step.

        It does not depend on compression, on member names or on whether values are stored, so that
        a trace, its file and the reloaded trace agree. The first use reads every layer.
        """
        for _ in self.digested():
            pass
        return str(self.__dict__["digest"])

    def digested(self) -> Iterator[Layer]:
        """The layers in order; once all were taken, :attr:`digest` is known without a reading."""
        known = self.metadata()
        if known["method"] is None:
            del known["method"]  # version 1 has none
        digest = hashlib.sha256(canonical_json(known))
        for layer in self.layers:
            digest.update(canonical_json(LayerRecord.of(layer).content()))
            for operand in OPERANDS:
                mask = layer.mask(operand)
                if mask is not None:
                    digest.update(mask.packed.data)
            yield layer
        if self.step is not None:
            digest.update(canonical_json(header_json(self.step)))
            digest.update(operations_json(self.step.operations))
        self.__dict__["digest"] = digest.hexdigest()

    @property
    def iterations(self) -> tuple[int, ...]:
        """The recorded iterations, ascending."""
        return tuple(sorted({iteration for _, iteration in layer_keys(self.layers)}))

    def without_matmuls(self) -> Trace:
        """The trace without its matmuls; itself if it has none.

        Raises:
            TraceError: nothing is left.
        """
        shapes = layer_shapes(self.layers)
        places = [n for n, shape in enumerate(shapes) if not shape.filters_per_sample]
        if len(places) == len(shapes):
            return self
        if not places:
            raise TraceError(f"{self.network}: nothing was recorded but matmuls")
        return dataclasses.replace(self, layers=Chosen(self.layers, places))

    def batch_of(self, layer: Layer) -> int:
        """Return the batch size of the iteration that ``layer`` was recorded in."""
        return layer.batch_size or self.batch_size


class LazyLayers(Sequence[Layer]):
    """Layers that are made when they are asked for, and were checked against each other before."""

    def keys(self) -> list[tuple[str, int]]:
        """Name and iteration of each layer, without making it where that can be avoided."""
        return [(layer.name, layer.iteration) for layer in self]

    def shapes(self) -> list[LayerShape]:
        """The shape of each layer, without making it where that can be avoided."""
        return [layer.shape for layer in self]


class Chosen(LazyLayers):
    """Some layers of others, at ``places``; ``change`` is what is done to each when it is made."""

    def __init__(
        self,
        layers: Sequence[Layer],
        places: Sequence[int],
        change: Callable[[Layer], Layer] = lambda layer: layer,
    ) -> None:
        self._layers, self._places, self._change = layers, places, change

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Layer]:
        places = set(self._places)
        for n, layer in enumerate(self._layers):
            if n in places:
                yield self._change(layer)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> list[Layer]: ...
    def __getitem__(self, index: int | slice) -> Layer | list[Layer]:
        chosen = self._places[index]
        if isinstance(chosen, int):
            return self._change(self._layers[chosen])
        return [self._change(self._layers[n]) for n in chosen]

    def keys(self) -> list[tuple[str, int]]:
        keys = layer_keys(self._layers)
        return [keys[n] for n in self._places]

    def shapes(self) -> list[LayerShape]:
        shapes = layer_shapes(self._layers)
        return [shapes[n] for n in self._places]


def layer_shapes(layers: Sequence[Layer]) -> list[LayerShape]:
    """The shape of each layer."""
    if isinstance(layers, LazyLayers):
        return layers.shapes()
    return [layer.shape for layer in layers]


def layer_keys(layers: Sequence[Layer]) -> list[tuple[str, int]]:
    """Name and iteration of each layer."""
    if isinstance(layers, LazyLayers):
        return layers.keys()
    return [(layer.name, layer.iteration) for layer in layers]


def check_member(layer: object, batch_size: int, seen: set[tuple[int, str]]) -> None:
    """Raise TraceError unless ``layer`` can join those in ``seen``; adds it there."""
    if not isinstance(layer, Layer):
        raise TraceError(f"layers must hold workloads.Layer, got {type(layer).__name__}")
    check_samples(layer.name, layer.n_samples, layer.batch_size or batch_size)
    key = (layer.iteration, layer.name)
    if key in seen:
        raise TraceError(
            f"layer {layer.name!r} (iteration {layer.iteration}) must be there only once"
        )
    seen.add(key)


def check_samples(name: str, samples: int, batch_size: int) -> None:
    """Raise TraceError when a layer has more samples than the batch."""
    if samples > batch_size:
        raise TraceError(
            f"layer {name!r}: samples must be at most batch_size {batch_size}, got {samples}"
        )


def _label(name: str, value: object) -> str:
    try:
        check_label(name, value)
    except LayerError as error:
        raise TraceError(str(error)) from None
    return str(value)


def _int(name: str, value: object, *, minimum: int) -> int:
    number = minimum - 1
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = operator.index(value)
    if not minimum <= number <= MAX_INT:
        raise TraceError(
            f"{name} must be an int from {minimum} to {MAX_INT}, got {one_line(repr(value))[:80]}"
        )
    return number


def _optional_int(name: str, value: object) -> int | None:
    return None if value is None else _int(name, value, minimum=0)


def _optional_real(name: str, value: object, low: float, high: float) -> float | None:
    if value is None:
        return None
    number = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if not math.isfinite(number) or not low <= number <= high:
        allowed = f"a number from {low} to {high}" if high == 1 else "a finite number"
        raise TraceError(f"{name} must be {allowed}, got {one_line(repr(value))[:80]}")
    return number


def _versions(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TraceError(f"versions must map names to texts, got {type(value).__name__}")
    return {_label("versions key", k): _label(f"versions[{k!r}]", value[k]) for k in value}
