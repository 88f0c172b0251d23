"""The global buffer: brings operands from DRAM and sends them to the PEs ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import NamedTuple

import simpy

from gscn_sim.fabric.component import Calendar, Component
from gscn_sim.fabric.dram import Transfer
from gscn_sim.fabric.gang import GangState
from gscn_sim.fabric.memory_port import MemoryPort
from gscn_sim.fabric.network import BroadcastNetwork
from gscn_sim.schedule.model import Schedule


class Piece(NamedTuple):
    """What one round needs from memory: the n-th part of a memory stream. ``fill`` or a stream."""

    round: int
    stream: str
    number: int
    size_bytes: int
    fill: bool


class Ahead(NamedTuple):
    """How much of a piece has been read ahead, and when the last of it is in the buffer."""

    size_bytes: int
    done_cycle: int


class GlobalBuffer(Component):
    """Fills stationary buffers, and streams the other operand to each gang.

    Operands arrive channel by channel and are used in that order: a round may begin when its fill
    begins to arrive, and cannot end before all of it is there. As many fills are loaded ahead as
    the buffers hold; if they hold one, the next takes its place, channel by channel, during its
    last round. A gang's stream for a round may travel once all its PEs have begun the round before:
    the FIFOs hold no more. Without room to read ahead it is asked for as the round begins. What is
    still on its way from memory is sent from its first byte on; it holds the network from then on
    for as long as all its bytes take, and is there no earlier than the last of them.

    Before :meth:`start`, first pieces may be read ahead (:meth:`read_ahead`); what is there already
    is not read again. ``sent_fill`` is told the bytes read ahead of each fill as it goes to PEs.
    """

    def __init__(
        self,
        env: simpy.Environment,
        schedule: Schedule,
        memory: MemoryPort,
        network: BroadcastNetwork,
        gangs: Sequence[GangState],
    ) -> None:
        super().__init__(env, "buffer")
        self.memory = memory
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
        memory.lay_out({_fills(k): int(dram_bytes[v].sum()) for k, v in sorted(fills_of.items())})
        memory.lay_out({path: sum(sizes) for path, sizes in self._stream_dram_bytes.items()})
        self._fills_of = fills_of
        self._ahead: dict[tuple[str, int], Ahead] = {}
        self.sent_fill: Callable[[int], None] = lambda _: None
        self.processes: list[simpy.Process] = []

    def start(self) -> None:
        """Begin to fill the stationary buffers, now."""
        owners = sorted(self._fills_of)
        self.processes = [self.env.process(self._fill(self._fills_of[o])) for o in owners]

    def first_pieces(self) -> list[Piece]:
        """What may be read ahead of the start, in the order of use.

        Fills that PEs have room for at the start, and streams as many rounds ahead as ever.
        """
        found = []
        for owner, indices in self._fills_of.items():
            for index in indices[: self.schedule.fills_held]:
                size = int(self.schedule.fill_dram_bytes[index])
                users = self.users[index]
                first = min((g.first_round[g.fill_order[index]] for g in users), default=0)
                found.append(Piece(first, _fills(owner), index, size, True))
        for path, sizes in self._stream_dram_bytes.items():
            ahead = enumerate(sizes[: self.rounds_ahead])
            found += [Piece(r, path, r, size, False) for r, size in ahead]
        return sorted(
            (piece for piece in found if piece.size_bytes),
            key=lambda piece: (piece.round, not piece.fill, piece.stream),
        )

    def read_ahead(self, piece: Piece, size_bytes: int) -> Transfer:
        """Read the next bytes of a piece, now; whole bursts but at its end."""
        key = piece.stream, piece.number
        there = self._ahead.get(key, Ahead(0, 0)).size_bytes
        load = self.memory.transfer(size_bytes, write=False, stream=piece.stream)
        self._ahead[key] = Ahead(there + size_bytes, load.done_cycle)
        return load

    def _read(self, stream: str, number: int, size_bytes: int) -> Transfer:
        """Read a piece, now, but for what has been read ahead."""
        ahead = self._ahead.get((stream, number))
        if ahead is None:
            return self.memory.transfer(size_bytes, write=False, stream=stream)
        rest = self.memory.transfer(size_bytes - ahead.size_bytes, write=False, stream=stream)
        now = int(self.env.now)
        # The first bytes are there, or a moment away; the rest follows them.
        done = max(rest.done_cycle, ahead.done_cycle)
        return Transfer(now, min(max(now, ahead.done_cycle), done), done)

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
            load = self._read(stream, index, dram_bytes)
            self.at(load.first_cycle, partial(self._send_fill, index, size_bytes, load.done_cycle))
            # The next request follows at the pace of the data: latency shows once, and the streams
            # do not queue behind many fills.
            yield from self.until(int(self.env.now) + load.done_cycle - load.first_cycle)

    def _send_fill(self, index: int, size_bytes: int, read_cycle: int) -> None:
        """Send a fill whose first byte is there, and whose last one will be at ``read_cycle``."""
        ahead = self._ahead.get((_fills(int(self.schedule.fill_owner[index])), index))
        if ahead is not None:
            self.sent_fill(ahead.size_bytes)
        self.counters["sent_bytes"] += size_bytes
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
        read = self._read(gang.path, r, sizes_bytes[r])
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
        self.counters["sent_bytes"] += size_bytes
        arrived = max(gang.buffered[r], self.network.transfer(size_bytes).done_cycle)
        gang.streamed.decide(r, max(arrived, gang.streamed[r - 1]) if r else arrived)


def _fills(owner: int) -> str:
    """The memory stream of the fills of one owner, which lie in the order of their use."""
    return f"fills[{owner}]"
