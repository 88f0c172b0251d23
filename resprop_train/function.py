"""The ReSprop step as one differentiable function: both gradients from the delta plus pre-terms.

Goli and Aamodt, "ReSprop: Reuse Sparsified Backpropagation", CVPR 2020. With P the reused gradient
(one sample), D the gradient delta and A, W the operands of the layer, for each sample n:

    gradient of the input    dgrad(D[n], W) + dgrad(P, W)
    gradient of the weights  wgrad(A, D) + wgrad(sum over n of A[n], P)

Both second terms need one sample's work. The hardware computes them during the forward pass; here
they are computed in the backward pass, from the P and W of the forward pass, with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from resprop_train.reuse import LayerEvent, LayerStep, Reuse

Need = tuple[bool, bool, bool]
"""Which gradients are needed: of the input, the weights, the bias."""


class Operator(Protocol):
    """A layer that is linear in its input and in its weights."""

    def forward(self, activation: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's output [N, ...]."""
        ...

    def gradients(
        self, gradient: Tensor, activation: Tensor, weight: Tensor, need: Need
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of the input, the weights and the bias, each only if needed."""
        ...

    def macs(self, gradient: Tensor, weight: Tensor) -> int:
        """Multiply-accumulates of one sample in one convolution."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv2dOperator:
    """A 2-D convolution with the same zero padding on both sides."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def forward(self, activation: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Activation [N, C, H, W] to output [N, K, P, Q]."""
        return torch.nn.functional.conv2d(
            activation, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )

    def gradients(
        self, gradient: Tensor, activation: Tensor, weight: Tensor, need: Need
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """dgrad, wgrad and the bias's gradient of gradient [N, K, P, Q]."""
        if not any(need[:2]):
            return None, None, gradient.sum((0, 2, 3)) if need[2] else None
        of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient,
            activation,
            weight,
            [weight.shape[0]],
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0, 0),
            self.groups,
            need,
        )
        return of_input, of_weight, of_bias

    def macs(self, gradient: Tensor, weight: Tensor) -> int:
        """K * P * Q * C/groups * R * S."""
        return prod(gradient.shape[1:]) * weight[0].numel()


@dataclass(frozen=True, slots=True)
class LinearOperator:
    """A fully connected layer; axes between the first and the last count as positions."""

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

    def macs(self, gradient: Tensor, weight: Tensor) -> int:
        """K * C for each position."""
        return prod(gradient.shape[1:]) * weight.shape[1]


class ReSprop(torch.autograd.Function):
    """``ReSprop.apply(activation, weight, bias, operator, reuse)``."""

    @staticmethod
    def forward(
        ctx: Any,
        activation: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        operator: Operator,
        reuse: Reuse,
    ) -> Tensor:
        """The layer's ordinary output."""
        ctx.save_for_backward(activation, weight)
        ctx.operator, ctx.reuse = operator, reuse
        # P belongs to this forward pass, even if another backward pass comes in between.
        ctx.sample = reuse.sample if reuse.enabled else None
        return operator.forward(activation, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of activation, weight and bias."""
        activation, weight = ctx.saved_tensors
        operator: Operator = ctx.operator
        reuse: Reuse = ctx.reuse
        sample: Tensor | None = ctx.sample
        need: Need = ctx.needs_input_grad[:3]

        why_dense = reuse.why_dense(gradient, sample)
        density, threshold, cosine = 1.0, 0.0, None
        used = gradient
        if why_dense is None:
            assert sample is not None
            sample = sample.to(gradient)
            used, density, threshold, cosine = reuse.sparsify(gradient, sample)
        if why_dense is not None:
            of_input, of_weight, of_bias = operator.gradients(gradient, activation, weight, need)
        else:
            assert sample is not None
            only_bias = (False, False, need[2])
            *_, of_bias = operator.gradients(gradient, activation, weight, only_bias)
            of_input, of_weight, _ = operator.gradients(
                used, activation, weight, (*need[:2], False)
            )
            if of_input is not None:
                pre, *_ = operator.gradients(sample, activation[:1], weight, (True, False, False))
                _add(of_input, pre)
            if of_weight is not None:
                total = _sum_over_batch(activation)
                _, pre, _ = operator.gradients(sample, total, weight, (False, True, False))
                _add(of_weight, pre)

        step = LayerStep(
            layer=reuse.name,
            step=reuse.steps,
            batch_size=gradient.shape[0],
            density=density,
            threshold=threshold,
            dense_because=why_dense,
            elements=gradient.numel(),
            macs=operator.macs(gradient, weight),
            convolutions=sum(need[:2]),
            cosine=cosine,
        )
        if reuse.observer is not None:
            event = LayerEvent(
                layer=reuse.name,
                step=step,
                activation=activation,
                weight=weight,
                gradient=used,
                geometry=operator,
                input_gradient=need[0],
            )
            reuse.observer(event)
        reuse.finish(step, gradient, reuse.density)
        return of_input, of_weight, of_bias, None, None


def _add(total: Tensor, term: Tensor | None) -> None:
    assert term is not None
    total.add_(term)


def _sum_over_batch(activation: Tensor) -> Tensor:
    if activation.dim() == 4 and activation.is_contiguous(memory_format=torch.channels_last):
        # In memory order; summing the strided view is many times slower.
        return activation.permute(0, 2, 3, 1).sum(0, keepdim=True).permute(0, 3, 1, 2)
    return activation.sum(0, keepdim=True)
