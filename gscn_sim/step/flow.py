"""Who writes and who reads each tensor of a training step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

from workloads.step import Operation


class Flow:
    """The operations of a step with, for each tensor, what made it and what uses it.

    A tensor is a storage between two writes: in-place results start a new one.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self._writer: dict[tuple[int, int], int] = {}  # (operation, storage read) -> who wrote it
        self._users: dict[tuple[int, int], list[int]] = defaultdict(list)
        last: dict[int, int] = {}
        for i, operation in enumerate(operations):
            for tensor in operation.inputs:
                if tensor.storage in last:
                    writer = last[tensor.storage]
                    self._writer[i, tensor.storage] = writer
                    if i not in self._users[writer, tensor.storage]:
                        self._users[writer, tensor.storage].append(i)
            for tensor in operation.outputs:
                last[tensor.storage] = i

    @cached_property
    def parameters(self) -> frozenset[int]:
        """Storages that the forward or backward pass reads and the optimizer writes."""
        read: set[int] = set()
        written: set[int] = set()
        for operation in self.operations:
            if operation.kind == "optimizer":
                written |= {tensor.storage for tensor in operation.outputs}
            else:
                read |= {tensor.storage for tensor in operation.inputs}
        return frozenset(read & written)

    def writer(self, operation: int, storage: int) -> Operation | None:
        """What wrote the tensor that an operation reads; None if it was there before the step."""
        found = self._writer.get((operation, storage))
        return None if found is None else self.operations[found]

    def writer_number(self, operation: int, storage: int) -> int | None:
        """The number of what wrote it, as for :meth:`writer`."""
        return self._writer.get((operation, storage))

    def users(self, operation: int, storage: int) -> list[Operation]:
        """What reads the tensor that an operation writes, before it is written again."""
        return [self.operations[i] for i in self._users[operation, storage]]
