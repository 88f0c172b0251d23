"""The broadcast network between the global buffer and the PEs."""

from __future__ import annotations

import simpy

from gscn_sim.fabric.component import Component


class BroadcastNetwork(Component):
    """Serves transfers one after the other at a fixed number of distinct bytes a cycle.

    A transfer reaches any number of PEs at once. ``bytes_per_cycle`` 0 never limits.
    """

    def __init__(self, env: simpy.Environment, bytes_per_cycle: int) -> None:
        super().__init__(env, "network")
        self.bytes_per_cycle = bytes_per_cycle
        self._free_at_bytes = 0  # time at which the network is idle, in bytes since cycle 0

    def transfer(self, size_bytes: int) -> int:
        """Send bytes as soon as the network is free; return the cycle at which all arrived."""
        self.counters["bytes"] += size_bytes
        rate = self.bytes_per_cycle
        now = int(self.env.now)
        if rate == 0 or size_bytes == 0:
            return now
        self._free_at_bytes = max(self._free_at_bytes, now * rate) + size_bytes
        return -(-self._free_at_bytes // rate)
