"""What every component of the machine has: a simulation environment, a path and counters."""

from __future__ import annotations

from collections import Counter

import simpy


class Component:
    """A named part of the machine; errors and timelines use its dotted ``path``."""

    def __init__(self, env: simpy.Environment, path: str) -> None:
        self.env = env
        self.path = path
        self.counters: Counter[str] = Counter()
