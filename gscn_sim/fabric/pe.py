"""The processing elements of a gang: compute their rounds and wait for operands and outputs."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.buffer import GlobalBuffer
from gscn_sim.fabric.component import Component
from gscn_sim.fabric.drain import Drain
from gscn_sim.fabric.gang import GangState
from gscn_sim.geometry import Ints
from gscn_sim.timeline import Timeline


class ProcessingElements(Component):
    """The PEs of a gang as one process, each at its own pace.

    Whatever a PE waits for from outside (operands, room in the staging buffer) reaches the whole
    gang at one cycle, and whatever it tells the outside is told once the last PE of its gang has
    done it. So a round is a few vectors of absolute cycles, one element a PE, and costs the same
    events for any number of PEs.

    Counters, [pes] each: busy, operand_wait, output_wait and imbalance cycles, which add up to
    ``end``, the end of the last round (the top adds what follows).

    A PE's drain post-processes one round at a time in order; with ``drain.overlap`` a second set of
    accumulators lets the next round compute meanwhile. The staging buffer behind the drain holds
    ``drain.staging_rounds`` rounds that are not yet written.
    """

    def __init__(
        self,
        env: simpy.Environment,
        gang: GangState,
        buffer: GlobalBuffer,
        drain: Drain,
        config: Config,
        timeline: Timeline | None = None,
    ) -> None:
        numbers = gang.gang.pes.tolist()
        last = f"-{numbers[-1]}" if len(numbers) > 1 else ""
        super().__init__(env, f"pe[{numbers[0]}{last}]")
        self.gang = gang
        self.buffer = buffer
        self.drain = drain
        self.accumulator_sets = 2 if config.drain.overlap else 1
        self.staging_rounds = config.drain.staging_rounds
        self.meets = config.policy.barrier != "none"
        self.serial_exchange = config.policy.halo == "serial"
        self.busy = gang.gang.busy_cycles.sum(1)
        self.operand_wait, self.output_wait, self.imbalance, self.end = (
            np.zeros(len(numbers), np.int64) for _ in range(4)
        )
        self.timeline = timeline
        self.shown = [
            (row, f"pe/{number}")
            for row, number in enumerate(numbers)
            if timeline is not None and timeline.shows(number)
        ]
        self.process = env.process(self._run())

    def _run(self) -> Generator[simpy.Event]:
        state, gang = self.gang, self.gang.gang
        fill = gang.fill.tolist()
        lockstep = gang.lockstep_cycles.tolist()
        exchange, post = gang.exchange_cycles.tolist(), gang.drain_cycles.tolist()
        sets, staging = self.accumulator_sets, self.staging_rounds
        drained: list[Ints] = []
        self.buffer.open(state)
        for r, busy in enumerate(np.ascontiguousarray(gang.busy_cycles.T)):
            began = self.end
            arriving = yield from self.buffer.arriving.cycle_of(fill[r])
            fed = np.maximum(began, arriving)
            # A set of accumulators must be free, and the staging buffer must have room.
            start = fed if r < sets else np.maximum(fed, drained[r - sets])
            if r >= sets + staging:
                written = yield from state.written.cycle_of(r - sets - staging)
                start = np.maximum(start, written)
            yield from self.until(int(start.max()))
            self.buffer.begun(state, r)

            computed = start + (busy if lockstep[r] < 0 else lockstep[r])
            finished = np.maximum(computed, max(self.buffer.filled[fill[r]], state.streamed[r]))
            met = np.full_like(finished, finished.max()) if self.meets else finished
            self.end = met + exchange[r] if self.serial_exchange else met
            work = post[r] if self.serial_exchange else post[r] + exchange[r]
            drained.append((np.maximum(drained[-1], self.end) if r else self.end) + work)
            self.drain.write(r, int(drained[-1].max()))

            self.operand_wait += fed - began + finished - computed
            self.output_wait += start - fed + self.end - met
            self.imbalance += computed - start - busy + met - finished
            if self.shown:
                self._draw(
                    ("operand wait", began, fed),
                    ("output wait", fed, start),
                    ("compute", start, computed),
                    ("operand wait", computed, finished),
                    ("imbalance", finished, met),
                    ("output wait", met, self.end),
                )

    def _draw(self, *spans: tuple[str, Ints, Ints]) -> None:
        """Put what the PEs did in a round on the timeline."""
        assert self.timeline is not None
        for row, track in self.shown:
            for name, start, end in spans:
                self.timeline.span(track, name, int(start[row]), int(end[row]))
