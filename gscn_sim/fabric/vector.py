"""The vector unit: streams tensors from memory through its lanes and back."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.component import Component
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.top import run_to_end
from gscn_sim.units import ceil_div

MOST_CHUNKS = 64  # of an operation: longer ones move larger chunks, which costs the same time


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorWork:
    """What an operation makes the vector unit do.

    ``elements``: how many the lanes take, over all passes.
    """

    read_bytes: int = 0
    write_bytes: int = 0
    elements: int = 0

    def __post_init__(self) -> None:
        if min(self.read_bytes, self.write_bytes, self.elements) < 0:
            raise ValueError(f"work must not be negative, got {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorResult:
    """What an operation took: ``busy_cycles`` of the lanes, the rest waiting for memory."""

    cycles: int
    busy_cycles: int
    dram_read_bytes: int
    dram_write_bytes: int


class VectorUnit(Component):
    """Runs operations one after another, each over its tensors chunk by chunk.

    Two staging buffers: a chunk is read while the one before it is computed; it may be asked for
    when the one before that has been. A chunk is written when it has been computed. An operation
    begins when everything before it is in memory, and ends when its own results are.
    """

    def __init__(
        self, env: simpy.Environment, config: Config, dram: Dram, works: Sequence[VectorWork]
    ) -> None:
        super().__init__(env, "vector")
        self.dram = dram
        self.lanes = config.vector.lanes
        self.chunk_bytes = config.vector.chunk_bytes
        self.works = works
        self.results: list[VectorResult] = []
        self.process = env.process(self._run())

    def _run(self) -> Generator[simpy.Event]:
        for number, work in enumerate(self.works):
            began, read, written = int(self.env.now), *self._moved()
            busy = yield from self._operation(f"{self.path}[{number}]", work)
            now_read, now_written = self._moved()
            self.results.append(
                VectorResult(
                    cycles=int(self.env.now) - began,
                    busy_cycles=busy,
                    dram_read_bytes=now_read - read,
                    dram_write_bytes=now_written - written,
                )
            )

    def _operation(self, name: str, work: VectorWork) -> Generator[simpy.Event, None, int]:
        """One operation; returns the cycles in which the lanes were busy."""
        moved = max(work.read_bytes, work.write_bytes)
        chunks = max(1, min(MOST_CHUNKS, ceil_div(moved, self.chunk_bytes)))
        computed = [int(self.env.now)] * 2  # the two chunks before
        written = busy = 0
        for i in range(chunks):
            yield from self.until(computed[-2])
            read, write, elements = (
                _share(total, chunks, i)
                for total in (work.read_bytes, work.write_bytes, work.elements)
            )
            there = self.dram.read(read, stream=f"{name}.in") if read else int(self.env.now)
            cycles = ceil_div(elements, self.lanes)
            computed.append(max(there, computed[-1]) + cycles)
            busy += cycles
            if write:
                yield from self.until(computed[-1])
                written = max(written, self.dram.write(write, stream=f"{name}.out"))
        yield from self.until(max(computed[-1], written))
        yield from self.until(self.dram.finish())
        return busy

    def _moved(self) -> tuple[int, int]:
        return self.dram.counters["read_bytes"], self.dram.counters["write_bytes"]


def run_vector(works: Sequence[VectorWork], config: Config) -> list[VectorResult]:
    """Run operations on a machine whose PEs are idle.

    Raises:
        DeadlockError: the unit waits forever.
    """
    env = simpy.Environment()
    unit = VectorUnit(env, config, Dram(env, config), works)
    run_to_end(env, {unit.path: unit.process})
    return unit.results


def _share(total: int, parts: int, part: int) -> int:
    return (part + 1) * total // parts - part * total // parts
