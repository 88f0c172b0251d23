"""What the components of the machine share: an environment, a path, counters, decided cycles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from typing import Any, Protocol

import simpy

from gscn_sim.problem.geometry import Ints


class Probe(Protocol):
    """Who wants to see what the machine does and when (a timeline)."""

    def shows(self, pe: int) -> bool:
        """Whether it wants to see a PE."""

    def span(self, track: str, name: str, start_cycle: int, end_cycle: int, **args: Any) -> None:
        """Something happened on a track from one cycle to another."""

    def counter(self, track: str, name: str, cycle: int, value: float) -> None:
        """A quantity has a value from a cycle on."""

    def moved(self, start_cycle: float, end_cycle: float, size_bytes: int) -> None:
        """The memory moved so many bytes between two cycles."""

    def computed(self, start_cycles: Ints, end_cycles: Ints) -> None:
        """Each of some PEs computed from one cycle to another."""


class Component:
    """A named part of the machine; errors and timelines use its dotted ``path``."""

    def __init__(self, env: simpy.Environment, path: str) -> None:
        self.env = env
        self.path = path
        self.counters: Counter[str] = Counter()

    def until(self, cycle: int) -> Generator[simpy.Event]:
        """Sleep until a cycle, if it is still to come."""
        if cycle > self.env.now:
            yield self.env.timeout(cycle - int(self.env.now))

    def at(self, cycle: int, action: Callable[[], None]) -> None:
        """Do something at a cycle: at once if that is now (or past)."""
        delay = cycle - int(self.env.now)
        if delay <= 0:
            action()
            return
        due = self.env.timeout(delay)
        assert due.callbacks is not None
        due.callbacks.append(lambda _: action())


class Calendar:
    """The cycles at which numbered things happen, each known from its decision on.

    A server that reserves time (memory, network) decides when something will be there long before
    it is. Who waits for it computes with that cycle; an event is needed only if it is not decided.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._cycles: dict[int, int] = {}
        self._waiting: dict[int, simpy.Event] = {}

    def decide(self, number: int, cycle: int) -> None:
        """Thing ``number`` happens at ``cycle``."""
        self._cycles[number] = cycle
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.succeed()

    def __getitem__(self, number: int) -> int:
        """The cycle of something decided."""
        return self._cycles[number]

    def cycle_of(self, number: int) -> Generator[simpy.Event, None, int]:
        """Wait until it is decided when ``number`` happens; return that cycle."""
        if number not in self._cycles:
            if number not in self._waiting:
                self._waiting[number] = self._env.event()
            yield self._waiting[number]
        return self._cycles[number]
