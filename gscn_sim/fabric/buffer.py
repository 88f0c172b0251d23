"""The global buffer: brings operands from DRAM and sends them to the PEs ahead of their use."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial

import simpy

from gscn_sim.fabric.component import Calendar, Component
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.gang import GangState
from gscn_sim.fabric.network import BroadcastNetwork
from gscn_sim.schedule.model import Schedule


class GlobalBuffer(Component):
    """Fills stationary buffers, and streams the other operand to each gang.

    Operands arrive channel by channel and are used in that order: a round may begin when its fill
    begins to arrive, and cannot end before all of it is there. As many fills are loaded ahead as
    the buffers hold; if they hold one, the next takes its place, channel by channel, during its
    last round. A gang's stream for a round may travel once all its PEs have begun the round before:
    the FIFOs hold no more. Without room to read ahead it is asked for as the round begins. What is
    still on its way from memory is sent from its first byte on; it holds the network from then on
    for as long as all its bytes take, and is there no earlier than the last of them.
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
        self.schedule = schedule
        self.rounds_ahead = schedule.rounds_ahead
        self.sent_ahead = min(1, schedule.rounds_ahead)
        self.arriving = Calendar(env)
        self.filled = Calendar(env)
        self._stream_dram_bytes = {g.path: g.gang.stream_dram_bytes.tolist() for g in gangs}
        self._stream_bytes = {g.path: g.gang.stream_bytes.tolist() for g in gangs}
        self.users: list[list[GangState]] = [[] for _ in schedule.fill_bytes]
        for gang in gangs:
            for index in gang.fill_order:
                self.users[index].append(gang)
        fills_of: dict[int, list[int]] = {}
        for index, owner in enumerate(schedule.fill_owner.tolist()):
            fills_of.setdefault(owner, []).append(index)
        dram_bytes = schedule.fill_dram_bytes
        dram.lay_out({_fills(k): int(dram_bytes[v].sum()) for k, v in sorted(fills_of.items())})
        dram.lay_out({path: sum(sizes) for path, sizes in self._stream_dram_bytes.items()})
        self.processes = [env.process(self._fill(fills_of[owner])) for owner in sorted(fills_of)]

    def open(self, gang: GangState) -> None:
        """A gang is there, now: read and send the streams of its first rounds."""
        for r in range(min(self.rounds_ahead, gang.gang.rounds)):
            self._read_stream(gang, r)
        for r in range(self.sent_ahead):
            self._send_stream(gang, r)

    def begun(self, gang: GangState, r: int) -> None:
        """All PEs of a gang have begun round ``r``, now: read and send what may follow."""
        gang.started.decide(r, int(self.env.now))
        self._read_stream(gang, r + self.rounds_ahead)
        self._send_stream(gang, r + self.sent_ahead)

    def _fill(self, indices: list[int]) -> Generator[simpy.Event]:
        for index in indices:
            for gang in self.users[index]:
                until = self._room(gang, index)
                if until is not None:
                    yield from gang.started.cycle_of(until)
            size_bytes = int(self.schedule.fill_bytes[index])
            dram_bytes = int(self.schedule.fill_dram_bytes[index])
            self.counters["write_bytes"] += dram_bytes
            self.counters["read_bytes"] += size_bytes
            stream = _fills(int(self.schedule.fill_owner[index]))
            load = self.dram.transfer(dram_bytes, write=False, stream=stream)
            self.at(load.first_cycle, partial(self._send_fill, index, size_bytes, load.done_cycle))
            # The next request follows at the pace of the data: latency shows once, and the streams
            # do not queue behind many fills.
            yield from self.until(int(self.env.now) + load.done_cycle - load.first_cycle)

    def _send_fill(self, index: int, size_bytes: int, read_cycle: int) -> None:
        """Send a fill whose first byte is there, and whose last one will be at ``read_cycle``."""
        sent = self.network.transfer(size_bytes)
        self.arriving.decide(index, sent.first_cycle)
        self.filled.decide(index, max(read_cycle, sent.done_cycle))

    def _room(self, gang: GangState, index: int) -> int | None:
        """The round a gang must have begun before this fill can take the place of an older one."""
        place = gang.fill_order[index]
        held = self.schedule.fills_held
        if place < held:
            return None
        if held == 1:
            return gang.first_round[place] - 1
        return gang.first_round[place - held + 1]

    def _read_stream(self, gang: GangState, r: int) -> None:
        """Read the stream of a round from DRAM, ahead of its use."""
        sizes_bytes = self._stream_dram_bytes[gang.path]
        if r >= len(sizes_bytes):
            return
        self.counters["write_bytes"] += sizes_bytes[r]
        read = self.dram.transfer(sizes_bytes[r], write=False, stream=gang.path)
        gang.buffering.decide(r, read.first_cycle)
        gang.buffered.decide(r, read.done_cycle)

    def _send_stream(self, gang: GangState, r: int) -> None:
        """Send the stream of a round to the PEs once its first byte is there, in order."""
        if r >= len(self._stream_bytes[gang.path]):
            return
        gang.sending_cycle = max(gang.sending_cycle, gang.buffering[r])
        self.at(gang.sending_cycle, partial(self._stream, gang, r))

    def _stream(self, gang: GangState, r: int) -> None:
        size_bytes = self._stream_bytes[gang.path][r]
        self.counters["read_bytes"] += size_bytes
        arrived = max(gang.buffered[r], self.network.transfer(size_bytes).done_cycle)
        gang.streamed.decide(r, max(arrived, gang.streamed[r - 1]) if r else arrived)


def _fills(owner: int) -> str:
    """The memory stream of the fills of one owner, which lie in the order of their use."""
    return f"fills[{owner}]"
