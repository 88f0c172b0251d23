"""Random choices of a layer: they depend on its seed, name and step, and on nothing else."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from resprop_train.scalars import on_host

TABLE_LENGTH = 128
"""Draws that a device gets at a time; in a captured CUDA graph they repeat after so many steps."""


class _Table:
    """Draws of steps ``start`` and after on a device, and a counter there of how many are used."""

    def __init__(self, draws: Tensor, position: Tensor) -> None:
        self.draws = draws
        self.position = position
        self.start = -1


class Draws:
    """Which sample of a batch is kept in each step of a layer."""

    def __init__(self, seed: int, name: str) -> None:
        self.seed = seed
        self.name = name
        self.step = 0
        self._tables: dict[tuple[int, torch.device], _Table] = {}

    def pick(self, tensor: Tensor) -> Tensor:
        """A copy [1, ...] of the sample of ``tensor`` [N, ...] that is drawn in this step."""
        count = tensor.shape[0]
        if on_host(tensor):
            index = self._draw(self.step, count)
            return tensor[index : index + 1].clone(memory_format=torch.preserve_format)
        table = self._table(count, tensor.device)
        picked = tensor.index_select(0, table.draws.index_select(0, table.position))
        table.position.add_(1).remainder_(TABLE_LENGTH)
        return picked

    def _draw(self, step: int, count: int) -> int:
        return random.Random(f"{self.seed}/{self.name}/{step}").randrange(count)

    def _table(self, count: int, device: torch.device) -> _Table:
        """The draws of the steps to come, and where in them this step is."""
        key = (count, device)
        table = self._tables.get(key)
        if table is not None and _capturing():
            return table
        start = self.step // TABLE_LENGTH * TABLE_LENGTH
        if table is None or table.start != start:
            draws = torch.tensor([self._draw(start + i, count) for i in range(TABLE_LENGTH)])
            if table is None:
                table = _Table(draws.to(device), torch.zeros(1, dtype=torch.int64, device=device))
                self._tables[key] = table
            else:
                table.draws.copy_(draws)
            table.start = start
        table.position.fill_(self.step - start)
        return table

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_tables": {}}


class Noise:
    """Random numbers for each element, from a generator of the layer's own."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws

    def like(self, tensor: Tensor) -> Tensor:
        """Uniform in [0, 1), of the tensor's shape."""
        noise = torch.empty_like(tensor)
        if tensor.device.type == "meta" or _capturing():
            return noise.uniform_()  # a graph knows the device's own generator only
        generator = torch.Generator(device=tensor.device)
        seed = f"{self.draws.seed}/{self.draws.name}/{self.draws.step}/noise"
        generator.manual_seed(random.Random(seed).getrandbits(63))
        return noise.uniform_(generator=generator)


def _capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
