"""A sparse backward pass as one differentiable function.

A method turns the dense gradient G, activation A and weights W of a layer into sparse D, A' and W',
and, if it has one, a shared gradient S of one sample. Then, for each sample n:

    gradient of the input    dgrad(D[n], W') + dgrad(S, W)
    gradient of the weights  wgrad(A', D) + wgrad(sum over n of A[n], S)

For ReSprop (Goli and Aamodt, CVPR 2020) D is the gradient delta and S the reused gradient. Both
second terms need one sample's work. The hardware computes them beside the forward pass (or, where S
depends on the whole gradient, after thresholding); here they are computed in the backward pass,
with the same result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from resprop_train.grouping import expand, group_sums
from resprop_train.methods.base import Operands, SparseOperands
from resprop_train.operators import Need, Operator, needed
from resprop_train.reuse import LayerEvent, LayerStep, Reuse, booked


class SparseBackward(torch.autograd.Function):
    """``SparseBackward.apply(activation, weight, bias, operator, reuse)``."""

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
        ctx.lease = reuse.open(activation, weight)
        return operator.forward(activation, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of activation, weight and bias."""
        activation, weight = ctx.saved_tensors
        operator: Operator = ctx.operator
        reuse: Reuse = ctx.reuse
        need = needed(ctx, ctx.needs_input_grad[:3])
        ctx.lease.end()
        if not any(need[:2]):
            tell_unneeded(reuse, operator, activation, weight)
            return (*operator.gradients(gradient, activation, weight, need), None, None)
        state = reuse.use(ctx.lease.key)
        wanted = reuse.wanted
        sparse = None
        because = "empty" if gradient.shape[0] == 0 else state.ready(gradient.shape[0])
        step = _step(reuse, operator, gradient, activation, weight, need, because)
        if because is None:
            operands = Operands(
                gradient=gradient,
                activation=activation,
                weight=weight,
                channel_axis=operator.channel_axis % gradient.dim(),
            )
            sparse = state.sparsify(operands, wanted)
            cosine = _cosine(gradient, sparse) if reuse.measure_cosine else None
            step = booked(step, sparse, need[:2], cosine)
            gradients = _two_terms(operator, operands, sparse, need)
        else:
            gradients = operator.gradients(gradient, activation, weight, need)
        reuse.tell(
            LayerEvent(
                layer=reuse.name,
                reuse=reuse,
                activation=activation if sparse is None else sparse.activation,
                weight=weight if sparse is None else sparse.weight,
                gradient=gradient if sparse is None else sparse.gradient,
                operator=operator,
                input_gradient=need[0],
                weight_gradient=need[1],
                step=step,
            )
        )
        if sparse is not None:
            state.learn(sparse, wanted)
        reuse.finish(step, gradient, state)
        return (*gradients, None, None)


def _two_terms(
    operator: Operator, operands: Operands, sparse: SparseOperands, need: Need
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of input, weights and bias; that of the bias is the dense gradient's."""
    gradient, activation, weight = operands.gradient, operands.activation, operands.weight
    of_input = of_weight = of_bias = None
    if need[2]:
        only_bias = (False, False, True)
        *_, of_bias = operator.gradients(gradient, activation, weight, only_bias)
    if sparse.activation is activation and sparse.weight is weight:
        both = (need[0], need[1], False)
        of_input, of_weight, _ = operator.gradients(sparse.gradient, activation, weight, both)
    else:
        if need[0]:
            of_input, *_ = operator.gradients(
                sparse.gradient, activation, sparse.weight, (True, False, False)
            )
        if need[1]:
            _, of_weight, _ = operator.gradients(
                sparse.gradient, sparse.activation, weight, (False, True, False)
            )
    if sparse.shared is not None:
        groups = len(sparse.shared)
        if of_input is not None:
            of_shared, *_ = operator.gradients(
                sparse.shared, activation[:groups], weight, (True, False, False)
            )
            assert of_shared is not None
            of_input.add_(expand(of_shared, len(activation)))
        if of_weight is not None:
            total = group_sums(activation, groups)
            _, of_shared, _ = operator.gradients(sparse.shared, total, weight, (False, True, False))
            assert of_shared is not None
            of_weight.add_(of_shared)
    return of_input, of_weight, of_bias


def _step(
    reuse: Reuse,
    operator: Operator,
    gradient: Tensor,
    activation: Tensor,
    weight: Tensor,
    need: Need,
    because: str | None,
) -> LayerStep:
    """The step as an ordinary one."""
    return LayerStep(
        layer=reuse.name,
        step=reuse.steps,
        batch_size=gradient.shape[0],
        density=1.0,
        threshold=0.0,
        dense_because=because,
        elements=gradient.numel(),
        macs=operator.macs(gradient, activation, weight),
        convolutions=sum(need[:2]),
    )


def _cosine(gradient: Tensor, sparse: SparseOperands) -> float:
    """Between the gradient and what it was replaced by."""
    used = sparse.gradient
    if sparse.shared is not None:
        used = used + expand(sparse.shared, len(used))
    a, b = gradient.reshape(-1).double(), used.reshape(-1).double()
    norm = float(a.norm() * b.norm())
    return float(torch.dot(a, b)) / norm if norm else 1.0


def watch_ordinary(
    reuse: Reuse,
    operator: Operator,
    activation: Tensor,
    weight: Tensor,
    output: Tensor,
) -> None:
    """Book the backward pass of an ordinary layer, whose output this is, as one that was off."""
    lease = reuse.open(activation, weight)
    flags = (activation.requires_grad, weight.requires_grad, False)
    # Held for an observer only: the graph has what it needs itself.
    watched = reuse.observers or reuse.observer is not None
    kept = (activation.detach(), weight.detach()) if watched else None
    macs = operator.macs(output, activation, weight)

    def book(gradient: Tensor) -> None:
        gradient = gradient.detach()
        lease.end()
        node: Any = torch._C._current_autograd_node()
        convolution = node is not None and node.name().startswith("ConvolutionBackward")
        need = needed(node, flags) if convolution else flags
        if not any(need[:2]):
            if kept is not None:
                tell_unneeded(reuse, operator, *kept)
            return
        step = LayerStep(
            layer=reuse.name,
            step=reuse.steps,
            batch_size=gradient.shape[0],
            density=1.0,
            threshold=0.0,
            dense_because="off",
            elements=gradient.numel(),
            macs=macs,
            convolutions=sum(need[:2]),
        )
        if kept is not None:
            reuse.tell(
                LayerEvent(
                    layer=reuse.name,
                    reuse=reuse,
                    activation=kept[0],
                    weight=kept[1],
                    gradient=gradient,
                    operator=operator,
                    input_gradient=need[0],
                    weight_gradient=need[1],
                    step=step,
                )
            )
        reuse.finish(step, gradient, reuse.use(lease.key))

    output.register_hook(book)


def tell_unneeded(
    reuse: Reuse, operator: Operator, activation: Tensor, weight: Tensor, *, backward: bool = True
) -> None:
    """Tell observers of a pass without a backward convolution."""
    reuse.tell(
        LayerEvent(
            layer=reuse.name,
            reuse=reuse,
            activation=activation.detach(),
            weight=weight.detach(),
            gradient=None,
            operator=operator,
            input_gradient=False,
            weight_gradient=False,
            step=None,
            backward=backward,
        )
    )
