"""Which loss scale is in the gradients of the backward pass that is running.

Under fp16 a ``GradScaler`` multiplies the loss by a scale that changes from step to step, and a
gradient or threshold that is carried from one step to the next has to follow it. The scaler is not
told to the layers; a hook on each scaled loss says whose backward pass it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from resprop_train.scalars import Number, on_host, read

_running: list[torch.amp.GradScaler] = []
"""The scaler of the backward pass that is running, if it has one."""


def watch_scalers() -> None:
    """From now on every GradScaler's ``scale`` marks the loss that it returns."""
    original = torch.amp.GradScaler.scale
    if getattr(original, "watched", False):
        return

    @wraps(original)
    def scale(self: torch.amp.GradScaler, outputs: Any) -> Any:
        scaled = original(self, outputs)
        for tensor in _tensors(scaled) if self.is_enabled() else ():
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: _begin(self))
        return scaled

    scale.watched = True  # type: ignore[attr-defined]
    torch.amp.GradScaler.scale = scale  # type: ignore[method-assign]


def current_loss_scale() -> Number | None:
    """The scale of the running backward pass; None where there is no scaler."""
    scale = _running[-1]._scale if _running else None
    if scale is None:
        return None
    return read(scale) if on_host(scale) else scale


def _begin(scaler: torch.amp.GradScaler) -> None:
    _running[:] = [scaler]
    torch.autograd.Variable._execution_engine.queue_callback(_running.clear)


def _tensors(scaled: Any) -> Iterable[Tensor]:
    if isinstance(scaled, Tensor):
        return (scaled,)
    return (tensor for part in scaled for tensor in _tensors(part))
