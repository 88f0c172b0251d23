"""The way back to memory: writes the outputs of each round of a gang to DRAM."""

from __future__ import annotations

from collections.abc import Generator

import simpy

from gscn_sim.fabric.component import Component
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.gang import GangState
from gscn_sim.timeline import Timeline


class Drain(Component):
    """Writes a gang's rounds in order, each once all its PEs have post-processed it."""

    def __init__(
        self,
        env: simpy.Environment,
        gang: GangState,
        dram: Dram,
        timeline: Timeline | None = None,
    ) -> None:
        super().__init__(env, f"{gang.path}.drain")
        self.gang = gang
        self.dram = dram
        self.timeline = timeline
        self.process = env.process(self._run())

    def _run(self) -> Generator[simpy.Event]:
        env, state = self.env, self.gang
        for r, size_bytes in enumerate(state.gang.output_bytes.tolist()):
            yield from self.cycle_of(state.drained[r])
            yield from self.until(state.drained_cycle[r])
            before = int(env.now)
            done = self.dram.write(size_bytes, stream=self.path) if size_bytes else before
            if self.timeline is not None:
                self.timeline.span(f"drain/{self.path}", "write", before, done, round=r)
            self._settle(state.written[r], done - before)

    def _settle(self, written: simpy.Event, delay: int) -> None:
        """Report a round as written once its last byte is in DRAM; the next may be on its way."""
        if delay == 0:
            self.happens(written)
            return
        arrival = self.env.timeout(delay)
        assert arrival.callbacks is not None
        arrival.callbacks.append(lambda _: self.happens(written))
