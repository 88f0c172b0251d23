"""Difference, threshold and count of a layer's gradient in one pass over it, on a GPU.

One Triton kernel in place of five operations of PyTorch, each of which reads or writes the whole
gradient. Where there is no Triton, or it fails, the caller does without.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from resprop_train.scalars import Number

BLOCK = 4096
"""Elements that one program of the kernel works on."""
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def fused_delta(
    gradient: Tensor, reused: Tensor | None, threshold: Number, out: Tensor
) -> Tensor | None:
    """Write gradient - reused where its magnitude is above the threshold, else 0, into ``out``.

    All have one memory order; ``reused`` is [1, ...] or None. Returns how many elements are not
    zero, as a tensor that is not read, or None if the kernel cannot be used.
    """
    if gradient.device.type != "cuda" or gradient.dtype not in DTYPES or not gradient.numel():
        return None
    if reused is not None and len(reused) != 1:
        return None
    kernel = _kernel()
    if kernel is None:
        return None
    order = _memory_order(gradient)
    if order is None or _memory_order(out) != order:
        return None
    if reused is not None:
        reused = reused.contiguous(memory_format=order)
    try:
        return launch(kernel, gradient, reused, threshold, out)
    except Exception as error:  # a compiler that is missing or does not know the device
        _broken.append(error)
        _kernel.cache_clear()
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"no fused kernel, which costs time: {reason}", stacklevel=2)
        return None


def launch(
    kernel: Any, gradient: Tensor, reused: Tensor | None, threshold: Number, out: Tensor
) -> Tensor:
    """Run the kernel; see :func:`fused_delta`."""
    size = gradient.numel()
    count = torch.zeros(1, dtype=torch.int64, device=gradient.device)
    if not isinstance(threshold, Tensor):
        threshold = torch.full((), threshold, dtype=torch.float32, device=gradient.device)
    kernel[(-(-size // BLOCK),)](
        gradient,
        gradient if reused is None else reused,
        threshold,
        out,
        count,
        size,
        size // len(gradient),
        HAS_REUSED=reused is not None,
        BLOCK=BLOCK,
    )
    return count[0]


@cache
def _kernel() -> Any:
    if _broken:
        return None
    try:
        return build_kernel()
    except ImportError:
        return None


def build_kernel() -> Any:
    """The kernel; raises ImportError without Triton."""
    from resprop_train.fused_kernel import delta_kernel

    return delta_kernel


def _memory_order(tensor: Tensor) -> torch.memory_format | None:
    if tensor.is_contiguous():
        return torch.contiguous_format
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return None


_broken: list[Exception] = []
