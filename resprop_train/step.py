"""``trace_step``: every operation of a training step of any model, without running it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from resprop_train.capture import versions
from resprop_train.conversion import reuse_layers
from resprop_train.step_recorder import StepRecorder
from workloads.errors import GscnError, StepError, one_line
from workloads.step import Step

MakeOptimizer = Callable[[list[nn.Parameter]], Any]
"""Parameters to anything with a ``step`` method."""
Loss = Callable[[Any], Tensor]
"""The model's output to a scalar."""

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, foreach=True),
    "sgd-momentum": lambda parameters: torch.optim.SGD(
        parameters, lr=0.1, momentum=0.9, weight_decay=1e-4, foreach=True
    ),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, foreach=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, foreach=True),
}


def trace_step(
    model: nn.Module,
    input_shape: Sequence[int] | None = None,
    optimizer: str | MakeOptimizer = "sgd-momentum",
    *,
    inputs: Any = None,
    loss: Loss | None = None,
    network: str | None = None,
) -> Step:
    """List the operations of one training step of ``model``, batch size first in ``input_shape``.

    A copy of the model without memory (on the meta device) takes two steps, of which the second is
    recorded: the first ReSprop step is an ordinary one, and optimizers set up their state. The
    model stays as it is, and no value is computed. Mixed precision by ``torch.autocast`` does not
    show; attention and recurrent layers appear as the operations that they are made of.

    Args:
        input_shape: shape of the one input, of the type of the model's parameters.
        optimizer: a name in ``OPTIMIZERS``, or a function from the parameters that learn to
            anything with a ``step`` method.
        inputs: instead of a shape: the arguments of the model, a tuple or (by name) a dict, whose
            tensors may be on any device.
        loss: output to scalar; by default the cross-entropy of classes along the last axis, or
            along axis 1 of a picture [N, classes, H, W].
        network: name for the step; the model's class by default.

    Raises:
        StepError: an unknown optimizer, no loss for what the model returns, or a model that cannot
            be recorded, as one that branches on values.
    """
    if isinstance(optimizer, str) and optimizer not in OPTIMIZERS:
        raise StepError(
            f"optimizer must be one of {', '.join(OPTIMIZERS)} or a function, got {optimizer!r}"
        )
    make = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    name = network or type(model).__name__
    with _one_line(name):
        copied = _without_memory(model)
        arguments, by_name = _arguments(copied, input_shape, inputs)
        given = [leaf for leaf in tree_leaves((arguments, by_name)) if isinstance(leaf, Tensor)]
        if not given:
            raise StepError("the model's inputs must hold a tensor, got none")
        batch_size = given[0].shape[0] if given[0].dim() else 1
        learning = [p for p in copied.parameters() if p.requires_grad]
        if not learning:
            raise StepError("no parameter of the model requires a gradient")
        update = make(learning)
        first = StepRecorder(copied, batch_size, recording=False)
        _step(copied, arguments, by_name, loss, update, first)
        recorder = StepRecorder(copied, batch_size)
        with recorder.modules.following():
            _step(copied, arguments, by_name, loss, update, recorder)
    return Step(
        network=name,
        batch_size=batch_size,
        input_shapes=tuple(tuple(tensor.shape) for tensor in given),
        optimizer=optimizer if isinstance(optimizer, str) else type(update).__name__,
        operations=recorder.finished(),
        synchronisations=recorder.synchronisations,
        left_out=dict(recorder.left_out),
        versions=versions(),
    )


def _step(
    model: nn.Module,
    arguments: tuple[Any, ...],
    by_name: dict[str, Any],
    loss: Loss | None,
    update: Any,
    recorder: StepRecorder,
) -> None:
    """Take one training step."""
    with recorder, torch.device("meta"), _AsOnDevices():
        output = model(*arguments, **by_name)
        with recorder.loss():
            value = loss(output) if loss is not None else _cross_entropy(output)
        recorder.enter("backward")
        value.backward()
    with recorder:
        recorder.enter("optimizer")
        update.step()
    for parameter in model.parameters():
        parameter.grad = None


def _cross_entropy(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() < 2:
        raise StepError(
            f"loss must be given: the model returns {type(output).__name__}, which is no tensor of "
            "classes"
        )
    if output.dim() != 4:
        output = output.flatten(0, -2)
    size = (output.shape[0], *output.shape[2:])
    return nn.functional.cross_entropy(output, torch.empty(size, dtype=torch.long, device="meta"))


def _arguments(
    model: nn.Module, input_shape: Sequence[int] | None, inputs: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the model's forward pass, on the meta device."""
    if (input_shape is None) == (inputs is None):
        raise StepError("either input_shape or inputs must be given")
    if input_shape is not None:
        if not all(isinstance(size, int) and size > 0 for size in input_shape):
            raise StepError(f"input_shape must be positive ints, got {input_shape!r}")
        dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
        dtype = dtypes[0] if dtypes else torch.get_default_dtype()
        return (torch.empty(tuple(input_shape), dtype=dtype, device="meta"),), {}
    moved = tree_map(lambda leaf: _to_meta(leaf) if isinstance(leaf, Tensor) else leaf, inputs)
    if isinstance(moved, dict):
        return (), moved
    return (tuple(moved) if isinstance(moved, list | tuple) else (moved,)), {}


def _without_memory(model: nn.Module) -> nn.Module:
    """A copy of the model in training mode, all tensors on the meta device, that reuses nothing."""
    if isinstance(model, torch._dynamo.eval_frame.OptimizedModule):
        model = model._orig_mod
    if any(nn.parameter.is_lazy(tensor) for tensor in _parameters_and_buffers(model)):
        raise StepError("a lazy module has no shapes yet: run the model once")
    with _MetaCopy():
        copied = copy.deepcopy(model)  # without those who look on
    for reuse in reuse_layers(copied).values():
        reuse.reset()
    return copied.train()


def _parameters_and_buffers(model: nn.Module) -> Iterable[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _to_meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta").requires_grad_(tensor.requires_grad)


class _MetaCopy(TorchFunctionMode):
    """Inside it, copies of tensors are on the meta device and take no memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Copy without memory; leave everything else as it is."""
        if func is Tensor.clone:
            return torch.empty_like(args[0], device="meta")
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = _to_meta(tensor.detach()).requires_grad_(tensor.requires_grad)
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))


class _AsOnDevices(TorchFunctionMode):
    """Inside it, dropout is the one operation that it is on devices."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace dropout in training; leave everything else as it is."""
        if func is nn.functional.dropout:
            return _dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or not 0 < p < 1 or not input.is_meta:
        return nn.functional.dropout(input, p, training, inplace)
    return torch.native_dropout(input, p, True)[0]


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Name the model in errors of recording, each one line."""
    try:
        stance = getattr(torch.compiler, "set_stance", None)  # not in PyTorch 2.4
        with stance("force_eager") if stance else nullcontext():
            yield
    except GscnError as error:
        raise StepError(f"{name}: {error}") from error
    except Exception as error:
        raise StepError(
            f"{name}: cannot be recorded: {type(error).__name__}: {one_line(error)[:300]}"
        ) from error
