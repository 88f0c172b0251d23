"""The processing elements of a gang: compute their rounds and wait for operands and outputs."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from itertools import pairwise

import numpy as np
import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.buffer import GlobalBuffer
from gscn_sim.fabric.component import Component, Probe
from gscn_sim.fabric.drain import Drain
from gscn_sim.fabric.gang import GangState
from gscn_sim.kernels import rounds as kernel
from gscn_sim.kernels.feed import feed_round
from gscn_sim.schedule.model import Lists

# What a PE does between one moment of a round and the next.
_SPANS = ("operand wait", "output wait", "compute", "operand wait", "imbalance", "output wait")


class ProcessingElements(Component):
    """The PEs of a gang as one process, each at its own pace.

    Whatever a PE waits for from outside (operands, room in the staging buffer) reaches the whole
    gang at one cycle, and whatever it tells the outside is told once the last PE of its gang has
    done it. So a round is a few vectors of absolute cycles, one element a PE, and costs the same
    events for any number of PEs (:mod:`gscn_sim.kernels.rounds`).

    Counters, [pes] each: busy, operand_wait, output_wait and imbalance cycles, which add up to
    ``end``, the end of the last round (the top adds what follows).

    A PE's drain post-processes one round at a time in order; with ``drain.overlap`` a second set of
    accumulators lets the next round compute meanwhile. The staging buffer behind the drain holds
    ``drain.staging_rounds`` rounds that are not yet written. PEs that share streamed lists are as
    far apart as a FIFO holds lists, at most (:func:`feed_round`).
    """

    def __init__(
        self,
        env: simpy.Environment,
        gang: GangState,
        buffer: GlobalBuffer,
        drain: Drain,
        config: Config,
        timeline: Probe | None = None,
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
        self.round_latency = config.pe.round_latency
        self.dispatch_latency = config.network.dispatch_latency
        self.fifo_entries = config.pe.streamed_fifo_entries
        self.in_fifo = np.zeros((2, 0), np.int64)  # lists' entries, and when all were done
        self.busy = gang.gang.busy_cycles.sum(1)
        self.moments = np.full((7, len(numbers)), int(env.now), np.int64)
        self.waits = np.zeros((3, len(numbers)), np.int64)
        self.end = self.moments[kernel.END]
        self.operand_wait, self.output_wait, self.imbalance = self.waits
        self.timeline = timeline
        self.shown = [
            (row, f"pe/{number}")
            for row, number in enumerate(numbers)
            if timeline is not None and timeline.shows(number)
        ]
        self.process = env.process(self._run())

    def _run(self) -> Generator[simpy.Event]:
        state, gang, moments = self.gang, self.gang.gang, self.moments
        fill = gang.fill.tolist()
        lockstep = gang.lockstep_cycles.tolist()
        exchange, post = gang.exchange_cycles.tolist(), gang.drain_cycles.tolist()
        sets, staging = self.accumulator_sets, self.staging_rounds
        drained = np.zeros((sets, len(self.end)), np.int64)
        start, computed = moments[kernel.START], moments[kernel.COMPUTED]
        self.buffer.open(state)
        for r, busy in enumerate(np.ascontiguousarray(gang.busy_cycles.T)):
            arriving = yield from self.buffer.arriving.cycle_of(fill[r])
            room = 0
            if r >= sets + staging:
                room = yield from state.written.cycle_of(r - sets - staging)
            started = kernel.begin_round(
                moments, arriving, self.round_latency, drained[r % sets], room
            )
            yield from self.until(started)
            self.at(started + self.dispatch_latency, partial(self.buffer.begun, state, r))

            if gang.lists is None:
                np.add(start, busy if lockstep[r] < 0 else lockstep[r], out=computed)
            else:
                self._compute_lists(gang.lists, r)
            filled = yield from self.buffer.filled.cycle_of(fill[r])
            there = max(filled, (yield from state.streamed.cycle_of(r)))
            serial, overlapped = (exchange[r], 0) if self.serial_exchange else (0, exchange[r])
            last = kernel.end_round(
                moments, self.waits, busy, there, self.meets, self.dispatch_latency, serial,
                post[r] + overlapped, drained[(r - 1) % sets], drained[r % sets],
            )  # fmt: skip
            self.drain.write(r, last)
            if self.timeline is not None:
                self.timeline.computed(start.copy(), computed.copy())
            for row, track in self.shown:
                self._draw(track, *moments[:, row].tolist())

    def _compute_lists(self, lists: Lists, r: int) -> None:
        """Compute a round whose lists reach all PEs at once."""
        pattern = lists.pattern[r]
        cycles, entries = lists.cycles[pattern], lists.entries[pattern]
        self.moments[kernel.COMPUTED], self.in_fifo = feed_round(
            self.moments[kernel.START],
            cycles,
            entries,
            self.fifo_entries,
            self.in_fifo,
            self.dispatch_latency,
        )

    def _draw(self, track: str, *moments: int) -> None:
        """Put what a PE did in a round on the timeline."""
        assert self.timeline is not None
        for name, (start, end) in zip(_SPANS, pairwise(moments), strict=True):
            self.timeline.span(track, name, start, end)
