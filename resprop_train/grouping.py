"""A batch in equal parts of consecutive samples, as data parallelism deals it to devices."""

from __future__ import annotations

import torch
from torch import Tensor


def group_count(batch_size: int, groups: int) -> int:
    """How many groups a batch really has: its size is dealt out in equal parts, rounded up."""
    part = -(-batch_size // groups)
    return -(-batch_size // part)


def split_groups(tensor: Tensor, groups: int) -> tuple[Tensor, ...]:
    """The parts of ``tensor`` [N, ...]."""
    return tensor.split(-(-len(tensor) // groups))


def expand(shared: Tensor, batch_size: int) -> Tensor:
    """[groups, ...] to what broadcasts over [N, ...]: each sample gets its group's."""
    groups = len(shared)
    if groups == 1:
        return shared
    return shared.repeat_interleave(-(-batch_size // groups), 0)[:batch_size]


def group_sums(tensor: Tensor, groups: int) -> Tensor:
    """The sum over each group of ``tensor`` [N, ...]: [groups, ...]."""
    if groups == 1:
        return _sum(tensor)
    return torch.cat([_sum(part) for part in split_groups(tensor, groups)])


def _sum(tensor: Tensor) -> Tensor:
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        # In memory order; summing the strided view is many times slower.
        return tensor.permute(0, 2, 3, 1).sum(0, keepdim=True).permute(0, 3, 1, 2)
    return tensor.sum(0, keepdim=True)
