"""The global buffer: brings operands from DRAM and sends them to the PEs ahead of their use."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import simpy

from gscn_sim.fabric.component import Component
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.gang import GangState
from gscn_sim.fabric.network import BroadcastNetwork
from gscn_sim.schedule import Schedule


class GlobalBuffer(Component):
    """Fills stationary buffers, and streams the other operand to each gang.

    Operands arrive channel by channel and are used in that order: a round may begin when its fill
    begins to arrive, and cannot end before all of it is there. As many fills are loaded ahead as
    the buffers hold; if they hold one, the next takes its place, channel by channel, during its
    last round. A gang's stream for a round may travel once all its PEs have begun the round before:
    the FIFOs hold no more.
    """

    def __init__(
        self,
        env: simpy.Environment,
        schedule: Schedule,
        dram: Dram,
        network: BroadcastNetwork,
        gangs: Sequence[GangState],
    ) -> None:
        super().__init__(env, "buffer")
        self.dram = dram
        self.network = network
        self.gangs = gangs
        self.schedule = schedule
        self.rounds_ahead = schedule.rounds_ahead
        self.arriving = [env.event() for _ in schedule.fill_bytes]
        self.filled = [env.event() for _ in schedule.fill_bytes]
        owners = schedule.fill_owner.tolist()
        self.processes = [
            env.process(self._fill([i for i, o in enumerate(owners) if o == owner]))
            for owner in sorted(set(owners))
        ]
        self.processes += [env.process(self._prefetch(gang)) for gang in gangs]
        self.processes += [env.process(self._stream(gang)) for gang in gangs]

    def _fill(self, indices: list[int]) -> Generator[simpy.Event]:
        for index in indices:
            for gang in self.gangs:
                room = self._room(gang, index)
                if room is not None:
                    yield from self.cycle_of(room)
            size_bytes = int(self.schedule.fill_bytes[index])
            dram_bytes = int(self.schedule.fill_dram_bytes[index])
            self.counters["write_bytes"] += dram_bytes
            self.counters["read_bytes"] += size_bytes
            load = self.dram.transfer(dram_bytes, write=False)
            arrived = self.network.transfer(size_bytes)
            self.env.process(self._arrive(index, load.first_cycle, max(load.done_cycle, arrived)))
            # The next request follows at the pace of the data: latency shows once, and the streams
            # do not queue behind many fills.
            yield from self.until(int(self.env.now) + load.done_cycle - load.first_cycle)

    def _arrive(self, index: int, first_cycle: int, last_cycle: int) -> Generator[simpy.Event]:
        yield from self.until(first_cycle)
        self.happens(self.arriving[index])
        yield from self.until(last_cycle)
        self.happens(self.filled[index])

    def _room(self, gang: GangState, index: int) -> simpy.Event | None:
        """What a gang must have done before this fill can take the place of an older one."""
        place = gang.fill_order.get(index, 0)
        held = self.schedule.fills_held
        if place == 0 or place < held:
            return None
        if held == 1:
            return gang.started[gang.first_round[place] - 1]
        return gang.started[gang.first_round[place - held + 1]]

    def _prefetch(self, gang: GangState) -> Generator[simpy.Event]:
        """Read streams from DRAM a few rounds ahead of their use."""
        for r, size_bytes in enumerate(gang.gang.stream_dram_bytes.tolist()):
            if r >= self.rounds_ahead:
                yield from self.cycle_of(gang.started[r - self.rounds_ahead])
            done = int(self.env.now)
            if size_bytes:
                self.counters["write_bytes"] += size_bytes
                done = self.dram.read(size_bytes, stream=gang.path)
            gang.buffered_cycle[r] = done
            self.happens(gang.buffered[r])

    def _stream(self, gang: GangState) -> Generator[simpy.Event]:
        for r, size_bytes in enumerate(gang.gang.stream_bytes.tolist()):
            if r > 0:
                yield from self.cycle_of(gang.started[r - 1])
            yield from self.cycle_of(gang.buffered[r])
            self.counters["read_bytes"] += size_bytes
            arrived = self.network.transfer(size_bytes)
            yield from self.until(max(gang.buffered_cycle[r], arrived))
            self.happens(gang.streamed[r])
