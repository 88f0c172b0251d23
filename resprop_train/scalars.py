"""Single numbers that stay where the tensors are: on the host, or on the device unread.

Reading one number from a GPU makes the host wait for everything before it. Thresholds and densities
are therefore computed by the same formulas from Python floats (tensors in the host's memory) or
from 0-dimensional tensors (all others), and read once a step at most.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Number = float | Tensor
"""A float, or a 0-dimensional tensor on a device."""


def on_host(tensor: Tensor) -> bool:
    """Whether numbers of this tensor can be read at once: it has values, in the host's memory."""
    plain = type(tensor) in (Tensor, torch.nn.Parameter)  # a fake tensor has none
    return plain and tensor.device.type == "cpu"


def read(tensor: Tensor) -> float:
    """The value of a one-element tensor in the host's memory."""
    return float(tensor.detach().double().numpy())


def exp(x: Number) -> Number:
    """e ** x."""
    return x.exp() if isinstance(x, Tensor) else math.exp(x)


def power_of_two(x: Number) -> Number:
    """2 ** x."""
    return torch.exp2(x) if isinstance(x, Tensor) else 2.0**x


def choose(condition: bool | Tensor, yes: Number, no: Number) -> Number:
    """``yes`` where the condition holds, else ``no``; both must be finite."""
    if not isinstance(condition, Tensor):
        return yes if condition else no
    if isinstance(yes, Tensor) and isinstance(no, Tensor):
        return torch.where(condition, yes, no)
    # Floats reach a device as arguments of a kernel, not as tensors that have to be copied.
    share = condition.to(_float_dtype(condition.device))
    return yes * share + no * (1.0 - share)


def clamp(x: Number, low: float, high: float) -> Number:
    """x between its bounds."""
    return x.clamp(low, high) if isinstance(x, Tensor) else min(max(x, low), high)


def fraction(count: int | Tensor, total: int) -> Number:
    """count / total in double precision, where the device has it."""
    if isinstance(count, Tensor):
        return count.to(_float_dtype(count.device)) / total
    return count / total


def assign(old: Number | None, new: Number) -> Number:
    """``new``, in the memory of ``old`` where it can be: a captured CUDA graph finds it there."""
    if isinstance(old, Tensor) and isinstance(new, Tensor) and old.device == new.device:
        return old.copy_(new)
    return new


def copied(x: Number) -> Number:
    """The same number in memory of its own."""
    return x.clone() if isinstance(x, Tensor) else x


def _float_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
