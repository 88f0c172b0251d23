"""The PEs of a gang as a process each, with the gang's events counted PE by PE."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.buffer import GlobalBuffer
from gscn_sim.fabric.component import Calendar, Component
from gscn_sim.fabric.drain import Drain
from gscn_sim.fabric.gang import GangState
from gscn_sim.results.timeline import Timeline


class OneByOne(Component):
    """Stands in for :class:`gscn_sim.fabric.pe.ProcessingElements`."""

    def __init__(
        self,
        env: simpy.Environment,
        gang: GangState,
        buffer: GlobalBuffer,
        drain: Drain,
        config: Config,
        timeline: Timeline | None = None,
    ) -> None:
        super().__init__(env, f"{gang.path}.pes")
        self.gang = gang
        self.buffer, self.writer = buffer, drain
        count, rounds = gang.gang.busy_cycles.shape
        self.finished = [env.event() for _ in range(rounds)]
        self.drained_cycle = [0] * rounds
        self.missing = {what: [count] * rounds for what in ("start", "finish", "drain")}
        lists = gang.gang.lists
        self.entries = [
            [] if lists is None else lists.entries[lists.pattern[r]].tolist() for r in range(rounds)
        ]
        self.lengths = [size for entries in self.entries for size in entries]
        self.fifo_entries = config.pe.streamed_fifo_entries
        self.list_done = [env.event() for _ in self.lengths]
        self.list_done_cycle = [0] * len(self.lengths)
        self.dispatch_latency = config.network.dispatch_latency
        self.missing["list"] = [count] * len(self.lengths)
        self.pes = [
            OnePe(env, number, row, self, buffer, config, timeline)
            for row, number in enumerate(gang.gang.pes.tolist())
        ]
        self.process = env.all_of([pe.process for pe in self.pes])
        self.process.is_alive = False  # the PEs are not asked one by one whether they wait

    def __getattr__(self, name: str) -> np.ndarray:
        if name in ("busy", "operand_wait", "output_wait", "imbalance", "end"):
            return np.array([getattr(pe, name) for pe in self.pes])
        raise AttributeError(name)

    def blocking(self, x: int) -> int:
        """The last list that must have left all FIFOs before list x can be sent, -1 if none."""
        y = x
        while y > 0 and sum(self.lengths[y - 1 : x + 1]) <= self.fifo_entries:
            y -= 1
        return y - 1

    def done_with(self, x: int) -> None:
        if self.is_last("list", x):
            self.list_done_cycle[x] = int(self.env.now)
            self.list_done[x].succeed()

    def is_last(self, what: str, r: int) -> bool:
        self.missing[what][r] -= 1
        return self.missing[what][r] == 0

    def start(self, r: int) -> None:
        if self.is_last("start", r):
            known = int(self.env.now) + self.dispatch_latency
            self.at(known, lambda: self.buffer.begun(self.gang, r))

    def finish(self, r: int) -> None:
        if self.is_last("finish", r):
            self.finished[r].succeed()

    def drain(self, r: int, cycle: int) -> None:
        self.drained_cycle[r] = max(self.drained_cycle[r], cycle)
        if self.is_last("drain", r):
            self.writer.write(r, self.drained_cycle[r])


class OnePe(Component):
    """One PE: every wait is an event of its own."""

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        row: int,
        together: OneByOne,
        buffer: GlobalBuffer,
        config: Config,
        timeline: Timeline | None,
    ) -> None:
        super().__init__(env, f"pe[{number}]")
        self.together = together
        self.buffer = buffer
        self.row = row
        self.accumulator_sets = 2 if config.drain.overlap else 1
        self.staging_rounds = config.drain.staging_rounds
        self.meets = config.policy.barrier != "none"
        self.round_latency = config.pe.round_latency
        self.dispatch_latency = config.network.dispatch_latency
        self.serial_exchange = config.policy.halo == "serial"
        self.busy = self.operand_wait = self.output_wait = self.imbalance = self.end = 0
        self.timeline = timeline if timeline is not None and timeline.shows(number) else None
        self.track = f"pe/{number}"
        self.process = env.process(self.run())

    def run(self) -> Generator[simpy.Event]:
        env, state = self.env, self.together.gang
        gang = state.gang
        arriving, filled = self.buffer.arriving, self.buffer.filled
        sets, staging = self.accumulator_sets, self.staging_rounds
        drained: list[int] = []
        last_drained = 0
        if self.row == 0:
            self.buffer.open(state)
        for r in range(gang.rounds):
            fill = int(gang.fill[r])
            yield from self.wait_operand(arriving, fill)
            if self.round_latency:
                before = int(env.now)
                yield env.timeout(self.round_latency)
                self.operand_wait += self.since(before, "operand wait")
            before = int(env.now)
            if r >= sets and drained[r - sets] > before:
                yield env.timeout(drained[r - sets] - before)
            if r >= sets + staging:
                written = yield from state.written.cycle_of(r - sets - staging)
                yield from self.until(written)
            self.output_wait += self.since(before, "output wait")
            self.together.start(r)
            before = int(env.now)
            cycles, lockstep = int(gang.busy_cycles[self.row, r]), int(gang.lockstep_cycles[r])
            self.busy += cycles
            if lockstep >= 0:
                self.imbalance += lockstep - cycles
                cycles = lockstep
            if gang.lists is not None:
                first = sum(map(len, self.together.entries[:r]))
                for i, each in enumerate(gang.lists.cycles[gang.lists.pattern[r]][self.row]):
                    blocking = self.together.blocking(first + i)
                    if blocking >= 0:
                        if not self.together.list_done[blocking].processed:
                            yield self.together.list_done[blocking]
                        known = self.together.list_done_cycle[blocking] + self.dispatch_latency
                        yield from self.until(known)
                    if each:
                        yield env.timeout(int(each))
                    self.together.done_with(first + i)
                self.imbalance += int(env.now) - before - cycles
            elif cycles:
                yield env.timeout(cycles)
            self.since(before, "compute")
            yield from self.wait_operand(filled, fill)
            yield from self.wait_operand(state.streamed, r)
            self.together.finish(r)
            if self.meets:
                before = int(env.now)
                if not self.together.finished[r].processed:
                    yield self.together.finished[r]
                if self.dispatch_latency:
                    yield env.timeout(self.dispatch_latency)
                self.imbalance += self.since(before, "imbalance")
            work, exchange = int(gang.drain_cycles[r]), int(gang.exchange_cycles[r])
            if not self.serial_exchange:
                work += exchange
            elif exchange:
                before = int(env.now)
                yield env.timeout(exchange)
                self.output_wait += self.since(before, "output wait")
            last_drained = max(last_drained, int(env.now)) + work
            drained.append(last_drained)
            self.together.drain(r, last_drained)
        self.end = int(env.now)

    def wait_operand(self, there: Calendar, number: int) -> Generator[simpy.Event]:
        before = int(self.env.now)
        cycle = yield from there.cycle_of(number)
        if cycle > before:
            yield from self.until(cycle)
            self.operand_wait += self.since(before, "operand wait")

    def since(self, before: int, what: str) -> int:
        now = int(self.env.now)
        if self.timeline is not None:
            self.timeline.span(self.track, what, before, now)
        return now - before
