"""Stages: pure functions from one step of the work to the next, called through a :class:`Caller`.

A stage's result depends on its arguments alone. So whoever calls stages can be given a caller that
remembers results (:mod:`gscn_sim.run.memo`), and the stages know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Result = TypeVar("Result")


class Caller(Protocol):
    """Calls a stage, or finds what it returned for equal arguments before.

    Arguments are equal if they are as values; those with a ``digest`` are if their digests are.
    ``keep`` tells that the result is worth keeping on disk.
    """

    def __call__(
        self, stage: Callable[..., Result], *arguments: object, keep: bool = False
    ) -> Result: ...


def call(stage: Callable[..., Result], *arguments: object, keep: bool = False) -> Result:
    """The caller that remembers nothing."""
    return stage(*arguments)


@dataclass(frozen=True)
class Later(Generic[Result]):
    """A stage's result as an argument of another, worked out only if that one has to run."""

    caller: Caller
    stage: Callable[..., Result]
    arguments: tuple[object, ...]
    keep: bool = False

    def result(self) -> Result:
        """Call the stage."""
        return self.caller(self.stage, *self.arguments, keep=self.keep)
