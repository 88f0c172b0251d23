"""What a recorder has copied of one iteration so far."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from resprop_train.reuse import LayerStep
from resprop_train.spool import Copy

PLACE = operator.attrgetter("iteration", "module", "use")
"""The order of passes in a trace."""


class Pass(NamedTuple):
    """Where a copy stands in the trace.

    Passes of one layer are in the order of their backward passes, matmuls of one module in that of
    the forward pass.
    """

    iteration: int
    module: int
    use: int
    name: str
    copy: Copy


class Iteration:
    """The copies of an iteration, and ``because``: why it cannot be kept, if it cannot.

    ``matmuls`` have their number in the order of the forward pass, then the place and the name of
    their module.
    """

    def __init__(self, number: int, in_place_of: int | None) -> None:
        self.number = number
        self.in_place_of = in_place_of
        self.batch_size = 1
        self.because: str | None = None
        self.passes: list[Pass] = []
        self.matmuls: list[tuple[tuple[int, int], int, str, Copy]] = []
        self.names: list[str] = []
        self.steps: list[LayerStep] = []
        self.uses: Counter[int] = Counter()

    def numbered_matmuls(self) -> list[Pass]:
        """The matmuls by name: ``attn@1`` is the first one of module ``attn``."""
        uses: Counter[int] = Counter()
        passes = []
        for _, place, name, copy in sorted(self.matmuls, key=operator.itemgetter(0)):
            uses[place] += 1
            passes.append(Pass(self.number, place, uses[place], f"{name}@{uses[place]}", copy))
        return passes

    def copies(self) -> Iterator[Copy]:
        """All that is on the disk."""
        yield from (each.copy for each in self.passes)
        yield from (copy for *_, copy in self.matmuls)
