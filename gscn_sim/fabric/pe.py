"""A processing element: computes its rounds and waits for operands, outputs and its gang."""

from __future__ import annotations

from collections.abc import Generator

import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.buffer import GlobalBuffer
from gscn_sim.fabric.component import Component
from gscn_sim.fabric.gang import GangState
from gscn_sim.timeline import Timeline


class ProcessingElement(Component):
    """One PE as a process.

    Counters: busy, operand_wait, output_wait and imbalance cycles, which add up to the time
    until its last round (the top adds what follows).

    Its drain post-processes one round at a time in order; with ``drain.overlap`` a second set of
    accumulators lets the next round compute meanwhile. The staging buffer behind the drain holds
    ``drain.staging_rounds`` rounds that are not yet written.
    """

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        row: int,
        gang: GangState,
        buffer: GlobalBuffer,
        config: Config,
        timeline: Timeline | None = None,
    ) -> None:
        super().__init__(env, f"pe[{number}]")
        self.gang = gang
        self.buffer = buffer
        self.row = row
        self.accumulator_sets = 2 if config.drain.overlap else 1
        self.staging_rounds = config.drain.staging_rounds
        self.meets = config.policy.barrier != "none"
        self.serial_exchange = config.policy.halo == "serial"
        self.busy = self.operand_wait = self.output_wait = self.imbalance = 0
        self.done_cycle = 0
        self.timeline = timeline if timeline is not None and timeline.shows(number) else None
        self.track = f"pe/{number}"
        self.process = env.process(self._run())

    def _run(self) -> Generator[simpy.Event]:
        env, state = self.env, self.gang
        gang = state.gang
        busy = gang.busy_cycles[self.row].tolist()
        lockstep = gang.lockstep_cycles.tolist()
        fill = gang.fill.tolist()
        exchange = gang.exchange_cycles.tolist()
        drain = gang.drain_cycles.tolist()
        arriving, filled = self.buffer.arriving, self.buffer.filled
        sets, staging = self.accumulator_sets, self.staging_rounds
        drained: list[int] = []
        last_drained = 0
        for r in range(gang.rounds):
            yield from self._wait_operand(arriving[fill[r]])
            # A set of accumulators must be free, and the staging buffer must have room.
            before = int(env.now)
            if r >= sets and drained[r - sets] > before:
                yield env.timeout(drained[r - sets] - before)
            if r >= sets + staging and not state.written[r - sets - staging].processed:
                yield state.written[r - sets - staging]
            self.output_wait += self._since(before, "output wait")
            state.start(r)
            before = int(env.now)
            cycles = busy[r]
            if lockstep[r] >= 0:
                self.imbalance += lockstep[r] - cycles
                self.busy += cycles
                cycles = lockstep[r]
            else:
                self.busy += cycles
            if cycles:
                yield env.timeout(cycles)
            self._since(before, "compute")
            yield from self._wait_operand(filled[fill[r]])
            yield from self._wait_operand(state.streamed[r])
            state.finish(r)
            if self.meets and not state.finished[r].processed:
                before = int(env.now)
                yield state.finished[r]
                self.imbalance += self._since(before, "imbalance")
            work = drain[r]
            if self.serial_exchange:
                if exchange[r]:
                    before = int(env.now)
                    yield env.timeout(exchange[r])
                    self.output_wait += self._since(before, "output wait")
            else:
                work += exchange[r]
            last_drained = max(last_drained, int(env.now)) + work
            drained.append(last_drained)
            state.drain(r, last_drained)
        self.done_cycle = int(env.now)

    def _wait_operand(self, event: simpy.Event) -> Generator[simpy.Event]:
        if not event.processed:
            before = int(self.env.now)
            yield event
            self.operand_wait += self._since(before, "operand wait")

    def _since(self, before: int, what: str) -> int:
        """Cycles since ``before``, put on the timeline."""
        now = int(self.env.now)
        if self.timeline is not None:
            self.timeline.span(self.track, what, before, now)
        return now - before
