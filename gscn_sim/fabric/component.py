"""What every component of the machine has: a simulation environment, a path and counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

import simpy


class Component:
    """A named part of the machine; errors and timelines use its dotted ``path``.

    The value of an event is the cycle at which it happened.
    """

    def __init__(self, env: simpy.Environment, path: str) -> None:
        self.env = env
        self.path = path
        self.counters: Counter[str] = Counter()

    def happens(self, event: simpy.Event) -> None:
        """An event takes place now."""
        event.succeed(int(self.env.now))

    def until(self, cycle: int) -> Generator[simpy.Event]:
        """Sleep until a cycle, if it is still to come."""
        if cycle > self.env.now:
            yield self.env.timeout(cycle - int(self.env.now))

    def cycle_of(self, event: simpy.Event) -> Generator[simpy.Event, None, int]:
        """Wait for an event if it is still to come; return the cycle at which it happened."""
        if not event.processed:
            yield event
        assert isinstance(event.value, int)
        return event.value
