"""A step as a graph of jobs: what waits for what, in which order units take it, what bounds it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from gscn_sim.config import Config
from gscn_sim.fabric.jobs import ArrayWork, BestCase, Job, StepResult, VectorWork
from gscn_sim.units import ceil_div
from workloads import Phase

Group = tuple[str, Phase]
"""Module and phase of a job on the array."""


def real_ancestors(
    depends_on: Sequence[Sequence[int]], job_of: Sequence[int | None]
) -> list[tuple[int, ...]]:
    """For each operation the jobs that must be over before it: through operations without a job."""
    found: list[frozenset[int]] = []
    for earlier in depends_on:
        waits: set[int] = set()
        for i in earlier:
            job = job_of[i]
            if job is None:
                waits |= found[i]
            else:
                waits.add(job)
        found.append(frozenset(waits))
    return [tuple(sorted(waits)) for waits in found]


def order_of(jobs: Sequence[Job], config: Config, siblings: dict[int, int]) -> list[int]:
    """The order in which PE array and vector unit take the jobs: a list schedule, made beforehand.

    Whenever a unit is free it takes, of the jobs whose inputs exist by the estimate of
    :func:`estimate`, the one with the longest way to the end of the step; on the array, the
    ``sibling`` of the job just done, with which it shares an operand, unless that way is longer.
    """
    takes = [estimate(job, config) for job in jobs]
    users: list[list[int]] = [[] for _ in jobs]
    for n, job in enumerate(jobs):
        for earlier in job.after:
            users[earlier].append(n)
    tail = [0] * len(jobs)
    for n in reversed(range(len(jobs))):
        tail[n] = max((tail[u] + takes[u] for u in users[n]), default=0)
    waits_for = [len(set(job.after)) for job in jobs]
    ready: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    running: list[tuple[int, int]] = []
    busy = {True: False, False: False}
    last = -1  # on the array
    order: list[int] = []

    def is_ready(n: int) -> None:
        heapq.heappush(ready[jobs[n].on_array], (-tail[n] - takes[n], n))

    for n, count in enumerate(waits_for):
        if not count:
            is_ready(n)
    now = 0
    while True:
        for unit in (True, False):
            if busy[unit] or not ready[unit]:
                continue
            chosen = ready[unit][0]
            if unit and last in siblings:
                chosen = _sibling(ready[unit], siblings[last], tail) or chosen
            ready[unit].remove(chosen)
            heapq.heapify(ready[unit])
            n = chosen[1]
            if unit:
                last = n
            order.append(n)
            busy[unit] = True
            heapq.heappush(running, (now + takes[n], n))
        if not running:
            return order
        now = running[0][0]
        while running and running[0][0] == now:
            _, done = heapq.heappop(running)
            busy[jobs[done].on_array] = False
            for user in users[done]:
                waits_for[user] -= 1
                if not waits_for[user]:
                    is_ready(user)


def _sibling(
    ready: list[tuple[int, int]], sibling: int, tail: Sequence[int]
) -> tuple[int, int] | None:
    found = next((entry for entry in ready if entry[1] == sibling), None)
    if found is None or tail[ready[0][1]] > tail[found[1]]:
        return None
    return found


def estimate(job: Job, config: Config) -> int:
    """Cycles that a job takes at least, alone and with nothing read ahead."""
    compute, read, write = _needs(job, config)
    return max(compute, config.memory_cycles(read + write))


def _needs(job: Job, config: Config) -> tuple[int, int, int]:
    """Cycles of the unit that has it, bytes read and bytes written."""
    work = job.work
    if isinstance(work, VectorWork):
        return ceil_div(work.elements, config.vector.lanes), work.read_bytes, work.write_bytes
    if isinstance(work, BestCase):
        return work.array_cycles, work.read_bytes, work.write_bytes
    schedule = work.schedule
    stationary, streamed = _read_bytes(work)
    written = sum(int(gang.output_bytes.sum()) for gang in schedule.gangs)
    return schedule.busiest_cycles, stationary + streamed, written


def _read_bytes(work: ArrayWork) -> tuple[int, int]:
    """Bytes of the stationary and of the streamed operand that come from memory."""
    streams = sum(int(gang.stream_dram_bytes.sum()) for gang in work.schedule.gangs)
    return int(work.schedule.fill_dram_bytes.sum()), streams


def bounds_of(jobs: Sequence[Job], result: StepResult, config: Config) -> dict[str, float]:
    """Cycles that no schedule of these jobs can beat: of each resource, and of the longest chain.

    ``multipliers``: those of the busiest PE, job by job, since the array has one at a time.
    """
    compute = [_needs(job, config)[0] for job in jobs]
    on_array = [job.on_array for job in jobs]
    moved = sum(entry.read_bytes + entry.write_bytes for entry in result.jobs)
    return {
        "multipliers": sum(c for c, array in zip(compute, on_array, strict=True) if array),
        "lanes": sum(c for c, array in zip(compute, on_array, strict=True) if not array),
        "memory": config.memory_cycles(moved),
        "critical path": critical_path(jobs, config),
    }


def critical_path(jobs: Sequence[Job], config: Config) -> int:
    """Cycles of the longest chain of jobs that wait for each other: no machine of ours is faster.

    After what it waits for, a job computes, and moves what did not exist before. An operand that
    did may have been read ahead, and what write buffers hold may be written later.
    """
    dram = config.dram
    buffered = dram.channels * dram.write_batch_bursts * dram.burst_bytes
    ends: list[int] = []
    for job in jobs:
        compute, read, write = _needs(job, config)
        late = max(0, write - buffered)
        end = max(compute, config.memory_cycles(late))
        for n in job.after:
            new = read
            if isinstance(job.work, ArrayWork):
                stationary, streamed = _read_bytes(job.work)
                new = stationary * (n in job.work.stationary_after)
                new += streamed * (n in job.work.streamed_after)
            moved = config.memory_cycles(max(0, new + late))
            end = max(end, ends[n] + max(compute, moved))
        ends.append(end)
    return max(ends, default=0)


def share_operand(
    jobs: Sequence[Job],
    order: Sequence[int],
    groups: dict[int, Group],
    delta_bytes: dict[str, int],
    config: Config,
) -> list[Job]:
    """Keep the delta in the global buffer where dgrad and wgrad of a layer follow each other.

    The second then reads none of it from memory. It must fit beside what each of the two holds.
    """
    found = list(jobs)
    on_array = [n for n in order if jobs[n].on_array]
    taken: set[int] = set()
    for first, second in pairwise(on_array):
        one, two = groups.get(first), groups.get(second)
        if one is None or two is None or first in taken or not _same_delta(one, two):
            continue
        a, b = jobs[first].work, jobs[second].work
        assert isinstance(a, ArrayWork)
        assert isinstance(b, ArrayWork)
        size = delta_bytes.get(one[0], 0)
        if not size or size + max(a.held_bytes, b.held_bytes) > config.buffer.size_bytes:
            continue
        taken |= {first, second}
        schedule = b.schedule.without_dram(stationary=two[1].stationary == "gradient")
        found[first] = replace(jobs[first], work=replace(a, kept_bytes=size, stays=True))
        found[second] = replace(jobs[second], work=replace(b, schedule=schedule, kept_bytes=size))
    return found


def siblings_of(groups: dict[int, Group]) -> dict[int, int]:
    """For each job that reads a layer's delta, the other one that does."""
    jobs = {group: n for n, group in groups.items()}
    other = {Phase.DGRAD: Phase.WGRAD, Phase.WGRAD: Phase.DGRAD}
    pairs = {n: (m, other[phase]) for n, (m, phase) in groups.items() if phase in other}
    return {n: jobs[pair] for n, pair in pairs.items() if pair in jobs}


def _same_delta(one: Group, two: Group) -> bool:
    return one[0] == two[0] and {one[1], two[1]} == {Phase.DGRAD, Phase.WGRAD}
