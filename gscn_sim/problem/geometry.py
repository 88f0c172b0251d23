"""One geometry for all phases: which operand stands still, which streams by, where products land.

Along each axis a stationary coordinate y and a streamed coordinate r meet at the output coordinate
(alpha * y + beta + gamma * r) / div, which counts only if it is whole and inside the output.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.errors import ConfigError
from workloads import Layer, LayerShape, Mask, Phase

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A layer-phase in the machine's terms.

    ``axes`` [2, 5] holds alpha, beta, gamma, div and output size for y and x. ``is_wgrad`` tells
    whether the streamed operand is a gradient (reduced over samples and positions) or the weights.
    """

    phase: Phase
    shape: LayerShape
    batch_size: int
    is_wgrad: bool
    axes: Ints
    stationary_channels: int
    stationary_plane: tuple[int, int]
    streamed_plane: tuple[int, int]
    output_channels: int

    @property
    def groups(self) -> int:
        """Convolution groups."""
        return self.shape.groups

    @property
    def output_plane(self) -> tuple[int, int]:
        """Height and width of the output."""
        return int(self.axes[0, 4]), int(self.axes[1, 4])

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of the dense convolution, all samples."""
        return self.batch_size * self.shape.dense_macs

    @property
    def output_elements(self) -> int:
        """Values this phase writes."""
        y, x = self.output_plane
        if self.is_wgrad:
            return self.output_channels * (self.shape.C // self.groups) * y * x
        return self.batch_size * self.output_channels * y * x


def make_problem(shape: LayerShape, phase: Phase, batch_size: int) -> Problem:
    """Describe a phase of a layer; the pre-phases run on one sample."""
    rows = []
    for axis in range(2):
        stride, pad, dilation = shape.stride[axis], shape.padding[axis], shape.dilation[axis]
        size = (shape.H, shape.W)[axis]
        kernel = (shape.R, shape.S)[axis]
        output = (shape.P, shape.Q)[axis]
        if phase is Phase.FORWARD:
            rows.append((1, pad, -dilation, stride, output))
        elif phase in (Phase.DGRAD, Phase.PRE_DGRAD):
            rows.append((stride, -pad, dilation, 1, size))
        else:
            rows.append((1, pad, -stride, dilation, kernel))
    is_wgrad = phase in (Phase.WGRAD, Phase.PRE_WGRAD)
    from_gradient = phase in (Phase.DGRAD, Phase.PRE_DGRAD)
    gradient_plane = (shape.P, shape.Q)
    return Problem(
        phase=phase,
        shape=shape,
        batch_size=1 if phase.is_pre_phase else batch_size,
        is_wgrad=is_wgrad,
        axes=np.array(rows, np.int64),
        stationary_channels=shape.K if from_gradient else shape.C,
        stationary_plane=gradient_plane if from_gradient else (shape.H, shape.W),
        streamed_plane=gradient_plane if is_wgrad else (shape.R, shape.S),
        output_channels=shape.C if from_gradient else shape.K,
    )


@dataclass(frozen=True, kw_only=True)
class Operands:
    """The masks of a layer-phase as the kernels read them.

    stationary [n, channels, Y, X]; streamed [n or 1, J, R, S, outputs / groups], where list J is a
    reduction channel (sparse weights) or a convolution group (dense weights, gradients).
    ``is_dense`` tells that both hold no zero.
    """

    stationary: Bytes
    streamed: Bytes
    list_of_channel: Ints
    group_of_list: Ints
    is_dense: bool
    dense_weights: bool

    @property
    def samples(self) -> int:
        """Recorded samples."""
        return int(self.stationary.shape[0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of all of it."""
        found = hashlib.sha256(repr((self.is_dense, self.dense_weights)).encode())
        for array in (self.stationary, self.streamed, self.list_of_channel, self.group_of_list):
            found.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    @cached_property
    def stationary_work(self) -> Ints:
        """Non-zeros of each stationary channel, all recorded samples."""
        return self.stationary.sum((0, 2, 3), dtype=np.int64)

    @cached_property
    def streamed_work(self) -> Ints:
        """Non-zeros of each output channel of a group, all recorded samples and lists."""
        return self.streamed.sum((0, 1, 2, 3), dtype=np.int64)


def make_operands(layer: Layer, problem: Problem) -> Operands:
    """Unpack and arrange the masks of one layer-phase.

    Raises:
        ConfigError: the layer lacks an operand that the phase needs.
    """
    shape, phase = problem.shape, problem.phase
    dense_weights = layer.weight is None or layer.weight.nonzeros == layer.weight.size
    if phase.is_pre_phase:
        activation = np.ones((1, *shape.activation_shape), np.uint8)
        gradient = np.ones((1, *shape.gradient_shape), np.uint8)
    else:
        activation = _maps(layer, layer.activation, "activation", phase, phase is not Phase.DGRAD)
        gradient = _maps(layer, layer.gradient, "gradient", phase, phase is not Phase.FORWARD)
    if problem.is_wgrad:
        stationary = activation
        streamed = _by_group(gradient, shape.groups)
        lists = np.arange(shape.groups)
    else:
        stationary = activation if phase is Phase.FORWARD else gradient
        per_group = problem.stationary_channels // shape.groups
        if dense_weights:  # every channel of a group meets the same list
            per_output = problem.output_channels // shape.groups
            streamed = np.ones((1, shape.groups, shape.R, shape.S, per_output), np.uint8)
            lists = np.arange(shape.groups)
        else:
            assert layer.weight is not None
            streamed = weight_lists(layer.weight.dense().view(np.uint8), problem)[None]
            lists = np.arange(problem.stationary_channels) // per_group
    per_group = problem.stationary_channels // shape.groups
    by_channel = len(lists) == problem.stationary_channels and not problem.is_wgrad
    channel = np.arange(problem.stationary_channels)
    return Operands(
        stationary=np.ascontiguousarray(stationary),
        streamed=np.ascontiguousarray(streamed),
        list_of_channel=channel if by_channel else channel // per_group,
        group_of_list=lists.astype(np.int64),
        is_dense=phase.is_pre_phase and (problem.is_wgrad or dense_weights),
        dense_weights=dense_weights,
    )


def _maps(layer: Layer, mask: Mask | None, operand: str, phase: Phase, needed: bool) -> Bytes:
    if mask is None:
        if needed:
            raise ConfigError(f"layer {layer.name}: {phase} needs the {operand}, which is absent")
        return np.empty((0, 0, 0, 0), np.uint8)
    return mask.dense().view(np.uint8)


def _by_group(gradient: Bytes, groups: int) -> Bytes:
    n, k, p, q = gradient.shape
    split = gradient.reshape(n, groups, k // groups, p, q)
    return split.transpose(0, 1, 3, 4, 2)


def weight_lists(weight: NDArray[Any], problem: Problem) -> NDArray[Any]:
    """Weights [K, C / groups, R, S] as [J, R, S, outputs / groups], a list a reduction channel."""
    shape = problem.shape
    groups = shape.groups
    if problem.phase is Phase.FORWARD:
        split = weight.reshape(groups, shape.K // groups, shape.C // groups, shape.R, shape.S)
        lists = split.transpose(0, 2, 3, 4, 1)
        return lists.reshape(shape.C, shape.R, shape.S, shape.K // groups)
    return weight.transpose(0, 2, 3, 1)  # dgrad: a filter's channels are its outputs


def count_useful(problem: Problem, operands: Operands) -> Ints:
    """Useful products of each recorded sample, counted from the masks without any machine.

    For each filter position, the number of valid meetings of stationary and streamed non-zeros is
    a product of per-position counts, summed over positions.
    """
    shape = problem.shape
    groups = problem.groups
    totals = np.zeros(operands.samples, np.int64)
    stationary = operands.stationary
    n, channels, height, width = stationary.shape
    per_group = channels // groups
    if problem.is_wgrad:
        act = stationary.reshape(n, groups, per_group, height, width).sum(2, dtype=np.int64)
        grad = operands.streamed.sum(4, dtype=np.int64)  # [n, groups, P, Q]
        for r in range(shape.R):
            h = np.arange(shape.P) * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
            rows = (h >= 0) & (h < height)
            for s in range(shape.S):
                w = np.arange(shape.Q) * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
                cols = (w >= 0) & (w < width)
                window = act[:, :, h[rows]][:, :, :, w[cols]]
                totals += (window * grad[:, :, rows][:, :, :, cols]).sum((1, 2, 3))
        return totals
    # Weights: non-zeros of each (list, r, s), to be met by each stationary channel.
    per_list = operands.streamed[0].sum(3, dtype=np.int64)
    for r in range(shape.R):
        rows = _lands_inside(problem, 0, r, height)
        for s in range(shape.S):
            cols = _lands_inside(problem, 1, s, width)
            meet = stationary[:, :, rows][:, :, :, cols].sum((2, 3), dtype=np.int64)
            totals += meet @ per_list[operands.list_of_channel, r, s]
    return totals


def _lands_inside(problem: Problem, axis: int, streamed: int, size: int) -> NDArray[np.bool_]:
    alpha, beta, gamma, div, output = (int(v) for v in problem.axes[axis])
    value = alpha * np.arange(size) + beta + gamma * streamed
    return (value % div == 0) & (value >= 0) & (value < output * div)
