"""The machine with a whole step to execute: PE array and vector unit on one memory.

With ``policy.overlap`` each unit takes its jobs in a given order, each as soon as everything that
it depends on is over; the two units, and what is read ahead, contend for the memory. Without it
jobs run one by one, each on a machine at rest, until its results are in memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from functools import partial

import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.array import ArrayRun
from gscn_sim.fabric.component import Component, Probe
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.jobs import (
    ArrayWork,
    BestCase,
    Job,
    JobResult,
    StepResult,
    Use,
    VectorWork,
)
from gscn_sim.fabric.memory_port import MemoryPort
from gscn_sim.fabric.network import BroadcastNetwork
from gscn_sim.fabric.prefetch import Prefetcher
from gscn_sim.fabric.room import BufferRoom
from gscn_sim.fabric.top import run_to_end
from gscn_sim.fabric.vector import VectorUnit, chunks_of, shares

ARRAY, VECTOR = "PE array", "vector unit"
BEST_CASE_CHUNKS = 16  # in which work at its best case asks for its bytes


def run_step(
    jobs: Sequence[Job],
    config: Config,
    order: Sequence[int],
    timeline: Probe | None = None,
) -> StepResult:
    """Execute jobs. ``order`` is that in which each unit takes its own; all depend on earlier ones.

    Raises:
        DeadlockError: some unit waits forever; the message names it.
    """
    env = simpy.Environment()
    machine = StepMachine(env, jobs, config, timeline)
    if config.policy.overlap:
        on_array = [n for n in order if jobs[n].on_array]
        others = [n for n in order if not jobs[n].on_array]
        processes = {
            ARRAY: env.process(machine.array(on_array)),
            VECTOR: env.process(machine.vector(others)),
        }
    else:
        processes = {"machine": env.process(machine.one_by_one(order))}
    run_to_end(env, processes)
    return machine.result()


class StepMachine(Component):
    """The PE array, the vector unit, and what both share."""

    def __init__(
        self,
        env: simpy.Environment,
        jobs: Sequence[Job],
        config: Config,
        timeline: Probe | None = None,
    ) -> None:
        super().__init__(env, "step")
        self.jobs = jobs
        self.config = config
        self.timeline = timeline
        self.dram = Dram(env, config, timeline=timeline)
        self.network = BroadcastNetwork(env, config.network.operand_bytes_per_cycle)
        self.room = BufferRoom(env, config.buffer.size_bytes, timeline)
        self.lanes = VectorUnit(env, config)
        self.results: list[JobResult | None] = [None] * len(jobs)
        self._over = [env.event() for _ in jobs]
        self._prefetchers: dict[int, Prefetcher] = {}
        self._left = len(jobs)

    def one_by_one(self, order: Iterable[int]) -> Generator[simpy.Event]:
        """Run jobs each on a machine at rest, from an idle memory to results that are in it."""
        for n in order:
            self.dram.restart()
            yield from self._on_lanes(n) if not self.jobs[n].on_array else self._on_array(n)
            yield self._over[n]

    def array(self, order: Sequence[int]) -> Generator[simpy.Event]:
        """Run the array's jobs, reading the operands of each ahead while the one before runs."""
        self._read_ahead(order[:1])
        for place, n in enumerate(order):
            yield from self._inputs(self.jobs[n].after)
            yield from self._on_array(n, order[place + 1 : place + 2])

    def vector(self, order: Iterable[int]) -> Generator[simpy.Event]:
        """Run the vector unit's jobs; with prefetch, the first chunk of each is read early."""
        before: list[int] = []
        for n in order:
            yield from self._inputs((*self.jobs[n].after, *before))
            yield from self._on_lanes(n)
            before = [] if self.config.policy.prefetch else [n]

    def _inputs(self, jobs: Iterable[int]) -> Generator[simpy.Event]:
        """Sleep until jobs are over."""
        for n in jobs:
            if self.results[n] is None:
                yield self._over[n]

    def _on_lanes(self, n: int) -> Generator[simpy.Event]:
        """Ask for all of a job on the vector unit; it ends by itself."""
        job = self.jobs[n]
        memory = MemoryPort(self.dram, f"vector[{n}]")
        start = max(int(self.env.now), self.lanes.free_cycle)
        work = job.work
        assert isinstance(work, VectorWork)
        busy = self.lanes.busy_cycles(work)

        def ended(cycle: int) -> None:
            self.at(self._settled(cycle), lambda: self._end(n, start, busy, memory))

        yield from self.lanes.operation(work, memory, ended)

    def _on_array(self, n: int, following: Sequence[int] = ()) -> Generator[simpy.Event]:
        """Run a job on the array to its end, reading ahead for the one that follows."""
        work = self.jobs[n].work
        if isinstance(work, ArrayWork):
            yield from self._schedule(n, work, following)
        else:
            assert isinstance(work, BestCase)
            self.room.set(held=0, kept=0, sending=0, ahead=0)
            self._read_ahead(following)
            yield from self._best_case(n, work)

    def _schedule(
        self, n: int, work: ArrayWork, following: Sequence[int]
    ) -> Generator[simpy.Event]:
        ahead = self._prefetchers.pop(n, None)
        run = ahead.run if ahead is not None else self._array_run(n, work)
        sending = 0 if ahead is None else ahead.bytes[True]
        self.room.set(held=work.held_bytes, kept=work.kept_bytes, sending=sending, ahead=0)
        run.buffer.sent_fill = self._fill_sent
        start = int(self.env.now)
        run.start()
        self._read_ahead(following)
        yield from run.last_write()
        end = self._settled(run.end_cycle)
        yield from self.until(end)
        self.room.set(held=0, sending=0, kept=work.kept_bytes if work.stays else 0)
        result = run.result(end)
        self._end(
            n,
            start,
            sum(result.busy) / self.config.num_pes,
            run.memory,
            stationary_cycle=-1 if ahead is None else ahead.cycles[True],
            streamed_cycle=-1 if ahead is None else ahead.cycles[False],
            fabric=result,
        )

    def _best_case(self, n: int, work: BestCase) -> Generator[simpy.Event]:
        """Slots and bytes side by side: the bytes queue with those of others, evenly asked for."""
        memory = MemoryPort(self.dram, f"array[{n}]")
        start = int(self.env.now)
        chunk_bytes = self.config.vector.chunk_bytes
        chunks = chunks_of(work.read_bytes, work.write_bytes, chunk_bytes, BEST_CASE_CHUNKS)
        moved = [start, start]
        for i, (read, write) in enumerate(
            zip(shares(work.read_bytes, chunks), shares(work.write_bytes, chunks), strict=True)
        ):
            yield from self.until(max(moved[-2], start + i * work.array_cycles // chunks))
            there = memory.read(read, stream="in")
            moved.append(max(there, memory.write(write, stream="out")))
        end = self._settled(max(*moved, start + work.array_cycles, int(self.env.now)))
        yield from self.until(end)
        self._end(n, start, work.array_cycles, memory)

    def _array_run(self, n: int, work: ArrayWork) -> ArrayRun:
        memory = MemoryPort(self.dram, f"array[{n}]")
        return ArrayRun(work.schedule, self.config, memory, self.network, self.timeline)

    def _read_ahead(self, following: Sequence[int]) -> None:
        """Begin to read what the job that follows needs first."""
        for n in following:
            work = self.jobs[n].work
            if self.config.policy.prefetch and isinstance(work, ArrayWork):
                self._prefetchers[n] = Prefetcher(
                    self._array_run(n, work),
                    self.dram,
                    self.room,
                    self.config.buffer.size_bytes - work.held_bytes - work.kept_bytes,
                    {
                        True: partial(self._inputs, work.stationary_after),
                        False: partial(self._inputs, work.streamed_after),
                    },
                )

    def _fill_sent(self, size_bytes: int) -> None:
        """A fill that was read ahead goes to the PEs and makes room."""
        self.room.set(sending=self.room.taken["sending"] - size_bytes)

    def _settled(self, end_cycle: int) -> int:
        """When a job done at ``end_cycle`` is over: alone, once nothing is left to write."""
        if self.config.policy.overlap and self._left > 1:
            return end_cycle
        return max(end_cycle, self.dram.finish())

    def _end(
        self, n: int, start_cycle: int, busy_cycles: float, memory: MemoryPort, **more: object
    ) -> None:
        """A job is over, now."""
        end = int(self.env.now)
        self.results[n] = JobResult(
            start_cycle=start_cycle,
            end_cycle=end,
            busy_cycles=busy_cycles,
            read_bytes=memory.counters["read_bytes"],
            write_bytes=memory.counters["write_bytes"],
            **more,  # type: ignore[arg-type]
        )
        self._left -= 1
        self._over[n].succeed()
        if self.timeline is not None:
            track = ARRAY if self.jobs[n].on_array else VECTOR
            self.timeline.span(f"step/{track}", self.jobs[n].name, start_cycle, end)

    def result(self) -> StepResult:
        """What the step took. It is over when all is in memory."""
        found = [result for result in self.results if result is not None]
        cycles = max([self.dram.finish(), *(result.end_cycle for result in found)], default=0)
        uses = {}
        for name, on_array in ((ARRAY, True), (VECTOR, False)):
            mine = [r for r, job in zip(found, self.jobs, strict=True) if job.on_array == on_array]
            uses[name] = _use(cycles, sum(r.busy_cycles for r in mine), _covered(mine))
        uses["memory"] = _use(cycles, self.dram.busy_cycles, self.dram.asked_cycles)
        sent, rate = self.network.counters["bytes"], self.network.bytes_per_cycle
        moving = sent / rate if rate else 0.0
        uses["network"] = _use(cycles, moving, moving)
        return StepResult(cycles=cycles, jobs=found, uses=uses)


def _use(cycles: int, busy: float, at_work: float) -> Use:
    return Use(busy=busy, stalled=at_work - busy, idle=cycles - at_work)


def _covered(results: Iterable[JobResult]) -> int:
    """Cycles in which at least one of some jobs was in progress."""
    covered = until = 0
    for start, end in sorted((r.start_cycle, r.end_cycle) for r in results):
        covered += max(0, end - max(start, until))
        until = max(until, end)
    return covered
