"""The vector unit: streams tensors from memory through its lanes and back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.component import Component
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.jobs import VectorWork
from gscn_sim.fabric.memory_port import MemoryPort
from gscn_sim.fabric.top import run_to_end
from gscn_sim.units import ceil_div

MOST_CHUNKS = 64  # of an operation: longer ones move larger chunks, which costs 1 % more or less

__all__ = ["VectorResult", "VectorUnit", "VectorWork", "chunks_of", "run_vector"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorResult:
    """What an operation took: ``busy_cycles`` of the lanes, the rest waiting for memory."""

    cycles: int
    busy_cycles: int
    dram_read_bytes: int
    dram_write_bytes: int


class VectorUnit(Component):
    """Streams operations through the lanes one after another, chunk by chunk.

    Two staging buffers: a chunk is read while the one before it is computed; it may be asked for
    when the one before that has been, also if that was another operation's. A chunk is written when
    it has been computed.
    """

    def __init__(self, env: simpy.Environment, config: Config) -> None:
        super().__init__(env, "vector")
        self.lanes = config.vector.lanes
        self.chunk_bytes = config.vector.chunk_bytes
        self._computed = [0, 0]  # when the last two chunks are

    def operation(
        self, work: VectorWork, memory: MemoryPort, ended: Callable[[int], None]
    ) -> Generator[simpy.Event]:
        """Ask for all that an operation needs.

        ``ended`` is called with the cycle at which its results are in memory, once that is known.
        """
        chunks = self._chunks(work)
        written: list[int] = []
        for i, (read, write, cycles) in enumerate(chunks):
            yield from self.until(self._computed[-2])
            now = int(self.env.now)
            there = memory.read(read, stream="in") if read else now
            computed = max(there, self._computed[-1], now) + cycles
            self._computed = [self._computed[-1], computed]
            last = ended if i == len(chunks) - 1 else None
            self.at(computed, partial(self._write, write, memory, written, last))

    @property
    def free_cycle(self) -> int:
        """When the next chunk may be asked for."""
        return self._computed[-2]

    def busy_cycles(self, work: VectorWork) -> int:
        """Cycles in which the lanes compute an operation."""
        return sum(cycles for *_, cycles in self._chunks(work))

    def _chunks(self, work: VectorWork) -> list[tuple[int, int, int]]:
        """Bytes read and written, and cycles of the lanes, of each chunk."""
        parts = chunks_of(work.read_bytes, work.write_bytes, self.chunk_bytes)
        elements = shares(work.elements, parts)
        cycles = [ceil_div(count, self.lanes) for count in elements]
        read, write = shares(work.read_bytes, parts), shares(work.write_bytes, parts)
        return list(zip(read, write, cycles, strict=True))

    def _write(
        self,
        size_bytes: int,
        memory: MemoryPort,
        written: list[int],
        ended: Callable[[int], None] | None,
    ) -> None:
        """Write a chunk that has been computed; tell the end if it is the last."""
        if size_bytes:
            written.append(memory.write(size_bytes, stream="out"))
        if ended is not None:
            ended(max(int(self.env.now), *written, 0))


def run_vector(works: Sequence[VectorWork], config: Config) -> list[VectorResult]:
    """Run operations one by one, each on a machine at rest, until its results are in memory.

    Raises:
        DeadlockError: the unit waits forever.
    """
    known: dict[VectorWork, VectorResult] = {}
    for work in works:
        if work not in known:
            known[work] = _run_alone(work, config)
    return [known[work] for work in works]


def _run_alone(work: VectorWork, config: Config) -> VectorResult:
    env = simpy.Environment()
    unit, dram = VectorUnit(env, config), Dram(env, config)
    memory = MemoryPort(dram, "vector")
    ends: list[int] = []
    process = env.process(unit.operation(work, memory, ends.append))
    run_to_end(env, {unit.path: process})
    return VectorResult(
        cycles=max(ends[0], dram.finish()),
        busy_cycles=unit.busy_cycles(work),
        dram_read_bytes=memory.counters["read_bytes"],
        dram_write_bytes=memory.counters["write_bytes"],
    )


def chunks_of(read_bytes: int, write_bytes: int, chunk_bytes: int, most: int = MOST_CHUNKS) -> int:
    """In how many chunks an operation moves its bytes."""
    return max(1, min(most, ceil_div(max(read_bytes, write_bytes), chunk_bytes)))


def shares(total: int, parts: int) -> list[int]:
    """A total in so many nearly equal parts."""
    return [(part + 1) * total // parts - part * total // parts for part in range(parts)]
