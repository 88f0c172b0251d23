"""Layers that are linear in their input and in their weights: the three convolutions of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from math import prod
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

Need = tuple[bool, bool, bool]
"""Which gradients are needed: of the input, the weights, the bias."""


class Operator(Protocol):
    """A layer that is linear in its input and in its weights."""

    channel_axis: ClassVar[int]
    """Where its output has the channels."""

    def forward(self, activation: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's output [N, ...]."""
        ...

    def gradients(
        self, gradient: Tensor, activation: Tensor, weight: Tensor, need: Need
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of the input, the weights and the bias, each only if needed."""
        ...

    def macs(self, gradient: Tensor, activation: Tensor, weight: Tensor) -> int:
        """Multiply-accumulates of one sample in one convolution."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvolutionOperator:
    """A convolution of one to three dimensions with the same zero padding on both sides.

    ``transposed`` ones are those of ``ConvTranspose*``, with weights [C, K / groups, ...].
    """

    channel_axis: ClassVar[int] = 1

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    def forward(self, activation: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Activation [N, C, ...] to output [N, K, ...]."""
        return torch.convolution(
            activation,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self._output_padding,
            self.groups,
        )

    def gradients(
        self, gradient: Tensor, activation: Tensor, weight: Tensor, need: Need
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """dgrad, wgrad and the bias's gradient of gradient [N, K, ...]."""
        if not any(need[:2]):
            axes = (0, *range(2, gradient.dim()))
            return None, None, gradient.sum(axes) if need[2] else None
        of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient,
            activation,
            weight,
            [gradient.shape[1]],
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self._output_padding,
            self.groups,
            need,
        )
        return of_input, of_weight, of_bias

    def macs(self, gradient: Tensor, activation: Tensor, weight: Tensor) -> int:
        """Each filter element once for every window."""
        windows = activation if self.transposed else gradient
        return prod(windows.shape[1:]) * weight[0].numel()

    @property
    def _output_padding(self) -> tuple[int, ...]:
        return self.output_padding or (0,) * len(self.stride)


@dataclass(frozen=True, slots=True)
class LinearOperator:
    """A fully connected layer; axes between the first and the last count as positions."""

    channel_axis: ClassVar[int] = -1

    def forward(self, activation: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Activation [N, ..., C] to output [N, ..., K]."""
        return torch.nn.functional.linear(activation, weight, bias)

    def gradients(
        self, gradient: Tensor, activation: Tensor, weight: Tensor, need: Need
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The three gradients of gradient [N, ..., K]."""
        of_input = gradient @ weight if need[0] else None
        of_weight = gradient.flatten(0, -2).T @ activation.flatten(0, -2) if need[1] else None
        of_bias = gradient.flatten(0, -2).sum(0) if need[2] else None
        return of_input, of_weight, of_bias

    def macs(self, gradient: Tensor, activation: Tensor, weight: Tensor) -> int:
        """K * C for each position."""
        return prod(gradient.shape[1:]) * weight.shape[1]


def needed(node: Any, flags: Need) -> Need:
    """Which of the gradients the running backward pass asks this node for.

    ``flags`` say which inputs require a gradient at all; ``torch.autograd.grad`` and
    ``backward(inputs=...)`` may want fewer.
    """
    edges = [edge for edge, _ in node.next_functions]
    of_input, of_weight, of_bias = (
        flag and edge is not None and _will_run(edge)
        for flag, edge in zip_longest(flags, edges[:3])
    )
    return of_input, of_weight, of_bias


def _will_run(node: Any) -> bool:
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # a leaf whose gradient torch.autograd.grad returns
        return True
