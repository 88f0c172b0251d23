"""Scratch memory that all layers of a model share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Workspace:
    """One scratch buffer that all layers of a model share for their gradient delta.

    Allocating hundreds of megabytes anew in each layer costs more than the arithmetic on them.
    """

    def __init__(self) -> None:
        self.buffers: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        """An uninitialised tensor of that shape and memory order, and the same memory flat."""
        size = tensor.numel()
        if tensor.device.type != "cpu":  # devices cache their memory, and graphs must own it
            flat = torch.empty(size, dtype=tensor.dtype, device=tensor.device)
        else:
            key = (tensor.device, tensor.dtype)
            buffer = self.buffers.get(key)
            if buffer is None or buffer.numel() < size or type(buffer) is not type(tensor):
                buffer = torch.empty(size, dtype=tensor.dtype, device=tensor.device)
                self.buffers[key] = buffer
            flat = buffer[:size]
        if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
            n, k, p, q = tensor.shape
            return flat.view(n, p, q, k).permute(0, 3, 1, 2), flat
        return flat.view(tensor.shape), flat

    def __getstate__(self) -> dict[str, Any]:
        return {"buffers": {}}
