"""Which layers lie far from all that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gscn_sim.gpu.families.base import Flags, is_depthwise
from gscn_sim.gpu.layers import Array, Layers

FAR = 2.0
"""A size beyond twice the largest or below half the smallest measured one is far outside."""
_RANGED = ("N", "C", "K", "R", "S")


def ranged_sizes(layers: Layers) -> dict[str, Array]:
    """The sizes whose ranges are kept: N, C, K, R, S, output pixels and operations."""
    sizes = {name: getattr(layers, name) for name in _RANGED}
    return {**sizes, "output pixels": layers.P * layers.Q, "operations": layers.flops}


def size_ranges(layers: Layers) -> dict[str, tuple[float, float]]:
    """Smallest and largest of each such size."""
    return {name: (float(v.min()), float(v.max())) for name, v in ranged_sizes(layers).items()}


def layer_kinds(layers: Layers) -> dict[str, Flags]:
    """Kinds of layers that a card may not have been measured on, and which layers are of each."""
    strided = (layers.stride_h > 1) | (layers.stride_w > 1)
    depthwise = is_depthwise(layers)
    return {
        "groups": (layers.groups > 1) & ~depthwise,
        "depthwise": depthwise,
        "dilation": (layers.dilation_h > 1) | (layers.dilation_w > 1),
        "stride above 2": (layers.stride_h > 2) | (layers.stride_w > 2),
        "strided 3x3": strided & (layers.R == 3) & (layers.S == 3) & ~depthwise,
    }


def measured_kinds(layers: Layers) -> tuple[str, ...]:
    """Those kinds that occur among measured layers."""
    return tuple(name for name, flags in layer_kinds(layers).items() if flags.any())


def unmeasured(
    layers: Layers, ranges: Mapping[str, tuple[float, float]], kinds: Sequence[str]
) -> NDArray[np.object_]:
    """For each layer, what sets it apart from every measured one, or an empty text."""
    words: list[list[str]] = [[] for _ in range(len(layers))]
    for name, flags in layer_kinds(layers).items():
        for row in np.flatnonzero(flags) if name not in kinds else ():
            words[row].append(f"{name} was not measured")
    for name, sizes in ranged_sizes(layers).items():
        if name not in ranges:
            continue
        low, high = ranges[name]
        for row in np.flatnonzero((sizes < low / FAR) | (sizes > high * FAR)):
            words[row].append(f"{name} {sizes[row]:.4g} is far from {low:.4g} to {high:.4g}")
    return np.array(["; ".join(parts) for parts in words], dtype=object)
