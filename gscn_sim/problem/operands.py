"""The masks of a layer-phase, arranged as the kernels read them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.errors import ConfigError
from gscn_sim.problem.geometry import Ints, Problem
from workloads import Layer, Mask, Operand
from workloads.matmul import as_convolution

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Operands:
    """The masks of a layer-phase as the kernels read them.

    stationary [n, channels, Y, X]; streamed [n or 1, J, R, S, outputs / groups], where list J is a
    reduction channel (sparse weights) or a convolution group (dense weights, gradients).
    ``is_dense`` tells that both hold no zero. ``digest`` says what they were made of: operands are
    equal if their digests are.
    """

    stationary: Bytes
    streamed: Bytes
    list_of_channel: Ints
    group_of_list: Ints
    is_dense: bool
    dense_weights: bool
    digest: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operands) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def samples(self) -> int:
        """Recorded samples."""
        return int(self.stationary.shape[0])

    @cached_property
    def stationary_work(self) -> Ints:
        """Non-zeros of each stationary channel, all recorded samples."""
        return self.stationary.sum((0, 2, 3), dtype=np.int64)

    @cached_property
    def streamed_work(self) -> Ints:
        """Non-zeros of each output channel of a group, all recorded samples and lists."""
        return self.streamed.sum((0, 1, 2, 3), dtype=np.int64)

    def in_order(self, stationary: Ints, outputs: Ints) -> Operands:
        """The operands with their stationary and output channels in another order.

        The same object if it is the same order.
        """
        if _is_sorted(stationary) and _is_sorted(outputs):
            return self
        return replace(
            self,
            stationary=np.ascontiguousarray(self.stationary[:, stationary]),
            streamed=np.ascontiguousarray(self.streamed[..., outputs]),
            digest=_digest(self.digest, stationary.tobytes(), outputs.tobytes()),
        )

    def without_zeros(self) -> Operands:
        """The operands as a machine without sparsity support sees them: no element is absent."""
        return replace(
            self,
            stationary=np.ones_like(self.stationary[:1]),
            streamed=np.ones_like(self.streamed[:1]),
            is_dense=True,
            digest=_digest("without zeros", self.stationary.shape, self.streamed.shape),
        )


def make_operands(layer: Layer, problem: Problem) -> Operands:
    """Unpack and arrange the masks of one layer-phase.

    Raises:
        ConfigError: the layer lacks an operand that the phase needs.
    """
    if layer.is_matmul:
        layer = as_convolution(layer, problem.samples)
    shape, phase = problem.shape, problem.phase
    weight = (
        None
        if layer.weight is None or layer.weight.nonzeros == layer.weight.size
        else (layer.weight)
    )
    stationary = _map(layer, problem, phase.stationary)
    if problem.is_reduction:
        streamed = _by_group(_map(layer, problem, phase.streamed), shape.groups)
        lists = np.arange(shape.groups)
    else:
        per_group = problem.stationary_channels // shape.groups
        if weight is None:  # every channel of a group meets the same list
            per_output = problem.output_channels // shape.groups
            streamed = np.ones((1, shape.groups, shape.R, shape.S, per_output), np.uint8)
            lists = np.arange(shape.groups)
        else:
            streamed = weight_lists(weight.dense().view(np.uint8), problem)[None]
            lists = np.arange(problem.stationary_channels) // per_group
    per_group = problem.stationary_channels // shape.groups
    by_channel = len(lists) == problem.stationary_channels and not problem.is_reduction
    channel = np.arange(problem.stationary_channels)
    return Operands(
        stationary=np.ascontiguousarray(stationary),
        streamed=np.ascontiguousarray(streamed),
        list_of_channel=channel if by_channel else channel // per_group,
        group_of_list=lists.astype(np.int64),
        is_dense=phase.one_sample and (problem.is_reduction or weight is None),
        dense_weights=weight is None,
        digest=_layer_digest(layer, problem, weight),
    )


def _map(layer: Layer, problem: Problem, operand: Operand) -> Bytes:
    """[n, channels, Y, X] mask of a feature map; without a zero in a one-sample phase."""
    if problem.phase.one_sample:
        shape = problem.shape
        size = shape.activation_shape if operand == "activation" else shape.gradient_shape
        return np.ones((1, *size), np.uint8)
    mask = layer.mask(operand)
    if mask is None:
        raise ConfigError(
            f"layer {layer.name}: {problem.phase} needs the {operand}, which is absent"
        )
    return mask.dense().view(np.uint8)


def _layer_digest(layer: Layer, problem: Problem, weight: Mask | None) -> str:
    """What the operands of a phase depend on: the masks as they are recorded, hashed packed."""
    phase = problem.phase
    parts: list[object] = [phase.whole_batch.value, phase.one_sample, problem.shape]
    for operand in (phase.stationary, phase.streamed):
        mask = weight if operand == "weight" else layer.mask(operand)
        if operand != "weight" and phase.one_sample:
            mask = None
        parts += [operand, None if mask is None else mask.digest]
    return _digest(*parts)


def _digest(*parts: object) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes | memoryview) else repr(part).encode())
        found.update(b"\0")
    return found.hexdigest()


def _is_sorted(channels: Ints) -> bool:
    return bool((channels == np.arange(len(channels))).all())


def _by_group(gradient: Bytes, groups: int) -> Bytes:
    n, k, p, q = gradient.shape
    split = gradient.reshape(n, groups, k // groups, p, q)
    return split.transpose(0, 1, 3, 4, 2)


def weight_lists(weight: NDArray[Any], problem: Problem) -> NDArray[Any]:
    """Weights [K, C / groups, R, S] as [J, R, S, outputs / groups], a list a reduction channel."""
    shape = problem.shape
    groups = shape.groups
    if problem.phase.result == "gradient":
        split = weight.reshape(groups, shape.K // groups, shape.C // groups, shape.R, shape.S)
        lists = split.transpose(0, 2, 3, 4, 1)
        return lists.reshape(shape.C, shape.R, shape.S, shape.K // groups)
    return weight.transpose(0, 2, 3, 1)  # dgrad: a filter's channels are its outputs


def count_useful(problem: Problem, operands: Operands) -> Ints:
    """Useful products of each recorded sample, counted from the masks without any machine."""
    return count_by_group(problem, operands).sum(1)


def count_by_group(problem: Problem, operands: Operands) -> Ints:
    """[n, groups] useful products.

    For each filter position, the number of valid meetings of stationary and streamed non-zeros is
    a product of per-position counts, summed over positions.
    """
    shape = problem.shape
    groups = problem.groups
    totals = np.zeros((operands.samples, groups), np.int64)
    stationary = operands.stationary
    n, channels, height, width = stationary.shape
    per_group = channels // groups
    if problem.is_reduction:
        act = stationary.reshape(n, groups, per_group, height, width).sum(2, dtype=np.int64)
        grad = operands.streamed.sum(4, dtype=np.int64)  # [n, groups, P, Q]
        for r in range(shape.R):
            h = np.arange(shape.P) * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
            rows = (h >= 0) & (h < height)
            for s in range(shape.S):
                w = np.arange(shape.Q) * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
                cols = (w >= 0) & (w < width)
                window = act[:, :, h[rows]][:, :, :, w[cols]]
                totals += (window * grad[:, :, rows][:, :, :, cols]).sum((2, 3))
        return totals
    # Weights: non-zeros of each (list, r, s), to be met by each stationary channel.
    per_list = operands.streamed[0].sum(3, dtype=np.int64)
    for r in range(shape.R):
        rows = _lands_inside(problem, 0, r, height)
        for s in range(shape.S):
            cols = _lands_inside(problem, 1, s, width)
            meet = stationary[:, :, rows][:, :, :, cols].sum((2, 3), dtype=np.int64)
            met = meet * per_list[operands.list_of_channel, r, s]
            totals += met.reshape(n, groups, per_group).sum(2)
    return totals


def _lands_inside(problem: Problem, axis: int, streamed: int, size: int) -> NDArray[np.bool_]:
    alpha, beta, gamma, div, output = (int(v) for v in problem.axes[axis])
    value = alpha * np.arange(size) + beta + gamma * streamed
    return (value % div == 0) & (value >= 0) & (value < output * div)
