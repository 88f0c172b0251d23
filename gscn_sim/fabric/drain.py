"""The way back to memory: writes the outputs of each round of a gang to DRAM."""

from __future__ import annotations

import simpy

from gscn_sim.fabric.component import Component, Probe
from gscn_sim.fabric.gang import GangState
from gscn_sim.fabric.memory_port import MemoryPort


class Drain(Component):
    """Writes a gang's rounds in order, each once all its PEs have post-processed it.

    ``end`` is the cycle at which everything asked for so far is in DRAM.
    """

    def __init__(
        self,
        env: simpy.Environment,
        gang: GangState,
        memory: MemoryPort,
        timeline: Probe | None = None,
    ) -> None:
        super().__init__(env, f"{gang.path}.drain")
        self.gang = gang
        self.memory = memory
        self.timeline = timeline
        self.sizes_bytes = gang.gang.output_bytes.tolist()
        self.end = 0

    def write(self, r: int, drained_cycle: int) -> None:
        """Write round ``r``, whose last PE will have post-processed it at a cycle to come.

        Rounds are asked for in order, with cycles that never fall.
        """
        self.at(drained_cycle, lambda: self._write(r))

    def _write(self, r: int) -> None:
        size_bytes, now = self.sizes_bytes[r], int(self.env.now)
        done = self.memory.write(size_bytes, stream=self.path) if size_bytes else now
        if self.timeline is not None:
            self.timeline.span(f"drain/{self.path}", "write", now, done, round=r)
        self.end = max(self.end, done)
        self.gang.written.decide(r, done)
