"""Reading ahead: the next job's first operands into what the global buffer has free."""

from __future__ import annotations

from collections.abc import Callable, Generator

import simpy

from gscn_sim.fabric.array import ArrayRun
from gscn_sim.fabric.buffer import Piece
from gscn_sim.fabric.component import Component
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.room import BufferRoom
from gscn_sim.units import ceil_div

PART_BYTES = 65536  # read at once: more would hold up what is asked for meanwhile
PATIENCE_CYCLES = 512  # before it looks again at a memory that was busy
Inputs = Callable[[], Generator[simpy.Event]]


class Prefetcher(Component):
    """Reads the first fills and streams of a job that is next on the PEs, each once it exists.

    Parts are read when the memory has nothing else booked, into room that nobody has, until the
    PEs take the job. ``cycles`` [fill, stream] tells when the first part of each was asked for.
    """

    def __init__(
        self,
        run: ArrayRun,
        dram: Dram,
        room: BufferRoom,
        most_fill_bytes: int,
        inputs: dict[bool, Inputs],
    ) -> None:
        super().__init__(run.env, f"{run.path}.prefetch")
        self.run, self.dram, self.room = run, dram, room
        self.cycles = {True: -1, False: -1}
        self.bytes = {True: 0, False: 0}
        self._most_fill_bytes = most_fill_bytes
        pieces = run.buffer.first_pieces()
        for fill, exists in inputs.items():
            mine = [piece for piece in pieces if piece.fill == fill]
            if mine:
                run.env.process(self._read(mine, fill, exists))

    def _read(self, pieces: list[Piece], fill: bool, exists: Inputs) -> Generator[simpy.Event]:
        yield from exists()
        burst = self.dram.burst_bytes
        part = ceil_div(PART_BYTES, burst) * burst
        for piece in pieces:
            left = piece.size_bytes
            while left:
                size = min(part, left)
                if fill and self.bytes[True] + size > self._most_fill_bytes:
                    return
                yield from self._chance(size)
                if self.run.started:
                    return
                self.room.set(ahead=self.room.taken["ahead"] + size)
                self.run.buffer.read_ahead(piece, size)
                if self.cycles[fill] < 0:
                    self.cycles[fill] = int(self.env.now)
                self.bytes[fill] += size
                left -= size

    def _chance(self, size_bytes: int) -> Generator[simpy.Event]:
        """Sleep until there is room and the memory has nothing else to do, or it is too late."""
        while not self.run.started:
            if self.room.free_bytes < size_bytes:
                yield self.room.change()
            elif self.dram.booked_cycle > self.env.now:
                again = int(self.env.now) + PATIENCE_CYCLES
                yield from self.until(max(self.dram.booked_cycle, again))
            else:
                return
