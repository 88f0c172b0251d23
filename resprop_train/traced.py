"""One pass through a converted layer as a layer of a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import workloads
from resprop_train.operators import ConvolutionOperator, LinearOperator, Operator
from resprop_train.reuse import LayerEvent
from workloads.layer import PRE_PHASES

MAX_NAME_LENGTH = 180
"""Longer names lose their middle; a trace takes 200 characters, and uses add a number."""


class NotTraceable(Exception):
    """The trace has no form for such a layer."""


def to_layer(
    event: LayerEvent, *, name: str, iteration: int, samples: int | None
) -> workloads.Layer:
    """The first samples of one pass as a layer of a trace.

    A fully connected layer becomes a 1x1 convolution, on 1x1 or on its positions; a 1-D one a
    convolution over one row.

    Raises:
        NotTraceable: a layer of three dimensions, or a transposed one.
        GscnError: an operand that a trace cannot hold, as one that is not finite.
    """
    check_traceable(event.operator, event.weight)
    activation, weight = event.activation[:samples], event.weight
    gradient = None if event.gradient is None else event.gradient[:samples]
    geometry: dict[str, Any] = {}
    operator = event.operator
    if isinstance(operator, ConvolutionOperator):
        pairs = {f: getattr(operator, f) for f in ("stride", "padding", "dilation")}
        if len(operator.stride) == 1:
            activation, weight = activation.unsqueeze(2), weight.unsqueeze(2)
            gradient = None if gradient is None else gradient.unsqueeze(2)
            rows = {"stride": 1, "padding": 0, "dilation": 1}
            pairs = {f: (rows[f], *pair) for f, pair in pairs.items()}
        geometry = pairs | {"groups": operator.groups}
    else:
        activation = _as_picture(activation)
        gradient = None if gradient is None else _as_picture(gradient)
        weight = weight[:, :, None, None]
    _, channels, height, width = activation.shape
    shape = workloads.LayerShape(
        C=channels,
        H=height,
        W=width,
        K=weight.shape[0],
        R=weight.shape[2],
        S=weight.shape[3],
        **geometry,
    )
    sparse = event.step is not None and event.step.dense_because is None
    added = sparse and event.reuse.method.extra_phases != "none"
    return workloads.layer_from_arrays(
        name,
        activation=as_array(activation),
        weight=as_array(weight),
        gradient=None if gradient is None else as_array(gradient),
        shape=shape,
        iteration=iteration,
        batch_size=event.activation.shape[0],
        input_gradient=event.input_gradient,
        weight_gradient=event.weight_gradient,
        extra_phases=PRE_PHASES if added else (),
        post_phases=added and event.reuse.method.extra_phases == "post",
    )


def check_traceable(operator: Operator, weight: Tensor) -> None:
    """Raise NotTraceable for a layer that a trace has no form for."""
    if isinstance(operator, LinearOperator):
        return
    assert isinstance(operator, ConvolutionOperator)
    if operator.transposed:
        raise NotTraceable("a trace has no transposed convolution")
    if weight.dim() > 4:
        raise NotTraceable("a trace has no 3-D convolution")


def label(name: str, model: nn.Module) -> str:
    """The name of a layer in a trace: its path, or the class of a model that is one itself."""
    if not name:
        return type(model).__name__.removeprefix("Parametrized").removeprefix("ReSprop")
    name = "".join(character if character.isprintable() else "?" for character in name)
    if len(name) > MAX_NAME_LENGTH:
        half = MAX_NAME_LENGTH // 2
        name = f"{name[: half - 2]}...{name[-half + 1 :]}"
    return name


def _as_picture(tensor: Tensor) -> Tensor:
    """[n, ..., C] to [n, C, positions, 1]."""
    return tensor.flatten(1, -2).transpose(1, 2)[..., None] if tensor.dim() > 2 else tensor[
        :, :, None, None
    ]  # fmt: skip


def as_array(tensor: Tensor) -> NDArray[Any]:
    """A tensor as an array of a dtype that traces have."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.ascontiguousarray(tensor.cpu().numpy())
