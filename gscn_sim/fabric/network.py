"""The broadcast network between the global buffer and the PEs."""

from __future__ import annotations

from typing import NamedTuple

import simpy

from gscn_sim.fabric.component import Component


class Sent(NamedTuple):
    """The cycles in which the first and the last of a transfer's bytes arrive at the PEs."""

    first_cycle: int
    done_cycle: int


class BroadcastNetwork(Component):
    """Serves transfers one after the other at a fixed number of distinct bytes a cycle.

    A transfer reaches any number of PEs at once. It is asked for when its first byte is there to be
    sent: bytes that are still on their way from memory hold nobody up. ``bytes_per_cycle`` 0 never
    limits.
    """

    def __init__(self, env: simpy.Environment, bytes_per_cycle: int) -> None:
        super().__init__(env, "network")
        self.bytes_per_cycle = bytes_per_cycle
        self._free_at_bytes = 0  # time at which the network is idle, in bytes since cycle 0

    def transfer(self, size_bytes: int) -> Sent:
        """Send bytes as soon as the network is free.

        The cycle at which all have arrived is right if they are all there in time: who sends bytes
        as they come in waits for the last.
        """
        self.counters["bytes"] += size_bytes
        rate = self.bytes_per_cycle
        now = int(self.env.now)
        if rate == 0 or size_bytes == 0:
            return Sent(first_cycle=now, done_cycle=now)
        first_bytes = max(self._free_at_bytes, now * rate)
        self._free_at_bytes = first_bytes + size_bytes
        return Sent(first_cycle=first_bytes // rate, done_cycle=-(-self._free_at_bytes // rate))
