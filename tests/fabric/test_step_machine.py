"""A step on the machine: small graphs at random, and by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from schedules import make_gang, make_schedule, schedules

from gscn_sim.config import Config, load_config
from gscn_sim.errors import DeadlockError
from gscn_sim.fabric.jobs import ArrayWork, BestCase, Job, StepResult, VectorWork
from gscn_sim.fabric.room import BufferRoom
from gscn_sim.fabric.step import run_step
from gscn_sim.fabric.top import run_fabric
from gscn_sim.fabric.vector import run_vector
from gscn_sim.schedule.model import Schedule
from gscn_sim.step.graph import bounds_of, order_of
from gscn_sim.step.machine import shares_of

SMALL = {"array.pe_rows": 3, "array.pe_cols": 3, "vector.lanes": 4, "vector.chunk_bytes": 256}
EXACT = {"dram.preset": "ideal", "network.operand_bytes_per_cycle": 0}


def machine(**overrides: Any) -> Config:
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config("gscn-ideal", SMALL | changes)


def on_array(schedule: Schedule, **more: Any) -> ArrayWork:
    return ArrayWork(schedule=schedule, held_bytes=schedule.buffer_bytes, **more)


@st.composite
def works(draw: st.DrawFn, after: tuple[int, ...]) -> ArrayWork | BestCase | VectorWork:
    kind = draw(st.sampled_from(("schedule", "schedule", "vector", "vector", "best")))
    size = st.integers(0, 3000)
    if kind == "vector":
        return VectorWork(read_bytes=draw(size), write_bytes=draw(size), elements=draw(size))
    if kind == "best":
        array, read, write = draw(size), draw(size), draw(size)
        return BestCase(macs=array, array_cycles=array, read_bytes=read, write_bytes=write)
    some = st.sets(st.sampled_from(after)) if after else st.just(set())
    return on_array(
        draw(schedules()),
        stationary_after=tuple(sorted(draw(some))),
        streamed_after=tuple(sorted(draw(some))),
    )


@st.composite
def graphs(draw: st.DrawFn) -> list[Job]:
    """Up to seven jobs, each after any of the earlier ones."""
    jobs: list[Job] = []
    for n in range(draw(st.integers(1, 7))):
        after = tuple(sorted(draw(st.sets(st.integers(0, n - 1), max_size=3)))) if n else ()
        jobs.append(Job(name=f"job {n}", work=draw(works(after)), after=after))
    return jobs


policies = st.fixed_dictionaries(
    {
        "policy.overlap": st.booleans(),
        "policy.prefetch": st.booleans(),
        "dram.preset": st.sampled_from(("ideal", "gddr5x-484", "ddr4-2400")),
        "dram.scheduler": st.sampled_from(("fcfs", "fr-fcfs")),
        "network.operand_bytes_per_cycle": st.sampled_from((0, 1, 7)),
        "buffer.size_bytes": st.sampled_from((1000, 4 << 20)),
    }
)


def run(jobs: list[Job], config: Config) -> StepResult:
    order = order_of(jobs, config, {}) if config.policy.overlap else list(range(len(jobs)))
    return run_step(jobs, config, order)


@settings(max_examples=150, deadline=None)
@given(jobs=graphs(), policy=policies)
def test_what_holds_for_every_graph(jobs: list[Job], policy: dict[str, Any]) -> None:
    config = load_config("gscn-ideal", SMALL | policy)
    result = run(jobs, config)
    ends = [entry.end_cycle for entry in result.jobs]
    for job, entry in zip(jobs, result.jobs, strict=True):
        assert entry.start_cycle >= max([0, *(ends[n] for n in job.after)])
        assert entry.end_cycle >= entry.start_cycle
        if isinstance(job.work, ArrayWork):
            for cycle, after in (
                (entry.stationary_cycle, job.work.stationary_after),
                (entry.streamed_cycle, job.work.streamed_after),
            ):
                assert cycle < 0 or max([0, *(ends[n] for n in after)]) <= cycle
                assert cycle < 0 or (config.policy.prefetch and config.policy.overlap)
            _check_schedule(job.work.schedule, entry, config)
        elif isinstance(job.work, VectorWork):
            assert entry.read_bytes >= job.work.read_bytes
            assert entry.write_bytes >= job.work.write_bytes
    array = [e for job, e in zip(jobs, result.jobs, strict=True) if job.on_array]
    in_time = sorted(array, key=lambda e: (e.start_cycle, e.end_cycle))
    assert all(a.end_cycle <= b.start_cycle for a, b in itertools.pairwise(in_time))
    for name, use in result.uses.items():
        assert use.busy + use.stalled + use.idle == pytest.approx(result.cycles), name
        assert min(use.busy, use.stalled, use.idle) >= -1, name
    for name, bound in bounds_of(jobs, result, config).items():
        assert result.cycles >= bound, name
    assert sum(shares_of(result)) == pytest.approx(result.cycles)


def _check_schedule(schedule: Schedule, entry: Any, config: Config) -> None:
    """All that is scheduled moves, once, in whole bursts; every PE's time adds up."""
    burst = config.dram.burst_bytes

    def whole(sizes: Any) -> int:
        return int((-(-sizes // burst) * burst).sum())

    gangs = schedule.gangs
    reads = whole(schedule.fill_dram_bytes) + sum(whole(g.stream_dram_bytes) for g in gangs)
    assert entry.read_bytes == reads
    assert entry.write_bytes == sum(whole(g.output_bytes) for g in gangs)
    assert entry.fabric.network_bytes == int(schedule.fill_bytes.sum()) + sum(
        int(g.stream_bytes.sum()) for g in gangs
    )
    parts = (entry.fabric.busy, entry.fabric.operand_wait, entry.fabric.output_wait,
             entry.fabric.imbalance)  # fmt: skip
    assert {sum(pe) for pe in zip(*parts, strict=True)} == {entry.cycles}
    assert min(min(part) for part in parts) >= 0


@settings(max_examples=100, deadline=None)
@given(jobs=graphs(), policy=policies)
def test_without_overlap_each_job_is_alone(jobs: list[Job], policy: dict[str, Any]) -> None:
    """The limit: every job takes what it takes on a machine of its own, to the cycle."""
    config = load_config("gscn-ideal", SMALL | policy | {"policy.overlap": False})
    result = run(jobs, config)
    alone = []
    for job, entry in zip(jobs, result.jobs, strict=True):
        if isinstance(job.work, ArrayWork):
            fabric = run_fabric(job.work.schedule, config)
            assert entry.fabric == fabric
            alone.append(fabric.cycles)
        elif isinstance(job.work, VectorWork):
            alone.append(run_vector([job.work], config)[0].cycles)
        else:
            alone.append(run([Job(name="alone", work=job.work)], config).cycles)
    assert [entry.cycles for entry in result.jobs] == alone
    assert result.cycles == sum(alone)


@settings(max_examples=100, deadline=None)
@given(jobs=graphs(), prefetch=st.booleans(), network=st.sampled_from((0, 1, 7)))
def test_overlap_never_costs_where_memory_does_not_limit(
    jobs: list[Job], prefetch: bool, network: int
) -> None:
    """A unit is at work at any time, and nothing that runs beside a job makes it slower."""
    config = machine(
        dram__preset="ideal", network__operand_bytes_per_cycle=network, policy__prefetch=prefetch
    )
    alone = run(jobs, config.replace({"policy.overlap": False}))
    assert run(jobs, config).cycles <= alone.cycles


def test_units_side_by_side() -> None:
    """8 cycles on the array beside 5 and then 2 on the lanes; a last job waits for both.

    array:  |--- a 8 ---|        |- d 3 -|
    lanes:  |- b 5 -|- c 2 -|
    """
    a, d = (make_schedule([make_gang(0, [[cycles]])], [0]) for cycles in (8, 3))
    jobs = [
        Job(name="a", work=on_array(a)),
        Job(name="b", work=VectorWork(elements=20)),
        Job(name="c", work=VectorWork(elements=8), after=(1,)),
        Job(name="d", work=on_array(d), after=(0, 2)),
    ]
    result = run(jobs, machine(**{k.replace(".", "__"): v for k, v in EXACT.items()}))
    times = [(entry.start_cycle, entry.end_cycle) for entry in result.jobs]
    assert times == [(0, 8), (0, 5), (5, 7), (8, 11)]
    assert result.cycles == 11
    # Up to 7 two jobs share each cycle, then a is alone.
    assert shares_of(result) == [2.5 + 1 + 1, 2.5, 1, 3]
    uses = {name: (use.busy, use.stalled, use.idle) for name, use in result.uses.items()}
    assert uses["vector unit"] == (7, 0, 4)
    # One of nine PEs computes for 11 cycles; the others stand by, which counts as a stall.
    assert uses["PE array"] == pytest.approx((11 / 9, 11 - 11 / 9, 0))


def _two_in_turn(second_waits: bool, **overrides: Any) -> StepResult:
    """A long job without operands, then one that needs a fill of 64 KiB from memory."""
    first = make_schedule([make_gang(0, [[5000]])], [0])
    second = make_schedule([make_gang(0, [[10]])], [65536])
    after = (0,)
    waits = after if second_waits else ()
    jobs = [
        Job(name="first", work=on_array(first)),
        Job(name="second", work=on_array(second, stationary_after=waits), after=after),
    ]
    return run(jobs, machine(network__operand_bytes_per_cycle=0, **overrides))


def test_a_fill_is_read_while_the_job_before_runs() -> None:
    """Read ahead, only the 10 cycles of computing are left of the second job."""
    late = _two_in_turn(False, policy__prefetch=False).jobs[1]
    early = _two_in_turn(False).jobs[1]
    assert early.cycles == 10
    assert late.cycles > 65536 // 306 > early.cycles  # 484 GB/s at 1.582 GHz
    assert 0 <= early.stationary_cycle < 5000
    assert late.stationary_cycle == -1
    assert early.read_bytes == late.read_bytes == 65536


def test_what_does_not_exist_is_not_read_ahead() -> None:
    waits = _two_in_turn(True).jobs[1]
    assert waits.cycles == _two_in_turn(False, policy__prefetch=False).jobs[1].cycles


@pytest.mark.parametrize("room", [65535, 65536])
def test_only_free_room_is_used(room: int) -> None:
    """A buffer that lacks one byte for it takes nothing of a fill that is read in one part."""
    second = _two_in_turn(False, buffer__size_bytes=room).jobs[1]
    assert (second.stationary_cycle >= 0) == (room == 65536)


def test_a_part_that_was_read_ahead_is_not_read_again() -> None:
    """Room for one of two parts: the other one is read at the start of the job."""
    first = make_schedule([make_gang(0, [[5000]])], [0])
    second = make_schedule([make_gang(0, [[10]])], [131072])
    jobs = [
        Job(name="first", work=on_array(first)),
        Job(name="second", work=on_array(second), after=(0,)),
    ]
    entry = run(jobs, machine(buffer__size_bytes=100_000)).jobs[1]
    assert entry.read_bytes == 131072
    assert entry.stationary_cycle >= 0
    assert 10 < entry.cycles < run(jobs, machine(policy__prefetch=False)).jobs[1].cycles


def test_the_room_of_the_buffer() -> None:
    env = simpy.Environment()
    room = BufferRoom(env, 100)
    changed = room.change()
    room.set(held=30, ahead=20)
    assert (room.free_bytes, changed.triggered) == (50, True)
    room.set(held=0)
    assert room.free_bytes == 80


def test_a_job_that_waits_forever_is_named() -> None:
    """Orders that wait for each other cannot come from a list schedule; here they do."""
    vector = VectorWork(elements=4)
    jobs = [Job(name="a", work=vector), Job(name="b", work=vector, after=(0,))]
    with pytest.raises(DeadlockError, match="waiting forever: vector unit"):
        run_step(jobs, machine(), [1, 0])


def test_work_at_its_best_case_beside_others() -> None:
    """Its bytes queue with those of the vector unit: both take longer, the last twice as long."""
    alone = machine().memory_cycles(3_000_000)
    best = BestCase(macs=0, array_cycles=0, read_bytes=3_000_000, write_bytes=0)
    jobs = [
        Job(name="a", work=best),
        Job(name="b", work=VectorWork(read_bytes=3_000_000, elements=1)),
    ]
    one, two = run(jobs, machine()).jobs
    assert min(one.cycles, two.cycles) > 1.2 * alone
    assert max(one.cycles, two.cycles) >= 2 * alone
    single = run(jobs[:1], machine()).jobs[0]
    assert alone <= single.cycles < 1.1 * alone
