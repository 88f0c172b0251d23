"""What an algorithm family is, and how one is registered.

A *family* is one way to compute some passes of some layers: a rule and a formula. A *library* (a
generation of cuDNN on one kind of arithmetic unit) is the set of families to choose from; the
fastest that applies wins. A new family is a class and a line with :func:`family`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gscn_sim.gpu.device import Device
from gscn_sim.gpu.layers import Array, Layers

Flags = NDArray[np.bool_]
T = TypeVar("T")
_FAMILIES: dict[str, list[Algorithm]] = {}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cost:
    """Milliseconds of a pass by one algorithm, one entry a layer; infinite where it cannot run.

    ``overlap`` says how well computation and memory time hide each other, as the exponent p of
    (compute^p + memory^p)^(1/p): infinite where the longer counts alone, 1 where the two add up.
    """

    compute_ms: Array
    memory_ms: Array
    launch_ms: Array
    overlap: float

    @property
    def time_ms(self) -> Array:
        """Total time."""
        if np.isinf(self.overlap):
            both = np.maximum(self.compute_ms, self.memory_ms)
        else:
            both = (self.compute_ms**self.overlap + self.memory_ms**self.overlap) ** (
                1 / self.overlap
            )
        return self.launch_ms + both

    @property
    def bound(self) -> NDArray[np.intp]:
        """Which part is the largest: 0 compute, 1 memory, 2 launch."""
        return np.stack([self.compute_ms, self.memory_ms, self.launch_ms]).argmax(axis=0)


class Algorithm(Protocol):
    """One way to compute some passes of some layers."""

    name: str

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        """Which layers it can compute in this pass (``forward``, ``dgrad`` or ``wgrad``)."""

    def cost(self, layers: Layers, phase: str, device: Device, c: Any) -> Cost:
        """What it costs, whether it applies or not; ``c`` are the library's coefficients."""


def family(library: str, *arguments: Any, **named: Any) -> Callable[[type[T]], type[T]]:
    """Offer a family in a library, made with these arguments; may be given several times."""

    def register(algorithm: type[T]) -> type[T]:
        _FAMILIES.setdefault(library, []).append(algorithm(*arguments, **named))  # type: ignore[arg-type]
        return algorithm

    return register


def families(library: str) -> tuple[Algorithm, ...]:
    """The families to choose from in a library, in the order in which they were registered."""
    return tuple(_FAMILIES.get(library, ()))


def is_single_pixel(layers: Layers) -> Flags:
    """Fully connected layers: 1x1 filters on 1x1 images."""
    return is_pointwise(layers) & (layers.H * layers.W * layers.P * layers.Q == 1)


def is_unit_stride(layers: Layers) -> Flags:
    """Layers whose stride is 1 in both directions."""
    return (layers.stride_h == 1) & (layers.stride_w == 1)


def is_undilated(layers: Layers) -> Flags:
    """Layers whose dilation is 1 in both directions."""
    return (layers.dilation_h == 1) & (layers.dilation_w == 1)


def is_pointwise(layers: Layers) -> Flags:
    """Layers with 1x1 filters."""
    return (layers.R == 1) & (layers.S == 1)


def is_depthwise(layers: Layers) -> Flags:
    """Layers whose groups have one input channel each."""
    return (layers.groups > 1) & (layers.groups == layers.C)
