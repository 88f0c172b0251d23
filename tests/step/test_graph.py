"""Which job waits for which, in what order units take them, and what bounds a step: by hand."""

from __future__ import annotations

import pytest
from schedules import make_gang, make_schedule

from gscn_sim.config import Config, load_config
from gscn_sim.fabric.jobs import ArrayWork, BestCase, Job, VectorWork, Work
from gscn_sim.step.graph import (
    critical_path,
    order_of,
    real_ancestors,
    share_operand,
    siblings_of,
)
from workloads import Phase

SMALL = {"array.pe_rows": 2, "array.pe_cols": 2, "vector.lanes": 1}


def machine(**overrides: object) -> Config:
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config("gscn-ideal", SMALL | {"dram.preset": "ideal"} | changes)


def lanes(cycles: int) -> VectorWork:
    return VectorWork(elements=cycles)


def array(cycles: int, **more: object) -> ArrayWork:
    schedule = make_schedule([make_gang(0, [[cycles]])], [0])
    return ArrayWork(schedule=schedule, **more)  # type: ignore[arg-type]


def jobs_of(*works: tuple[Work, tuple[int, ...]]) -> list[Job]:
    return [Job(name=f"{n}", work=work, after=after) for n, (work, after) in enumerate(works)]


def test_operations_without_a_job_hand_on_what_they_wait_for() -> None:
    """0 and 1 are jobs; 2 takes no time and waits for both; 3 waits for 2; 4 for 3, no job too."""
    depends_on = [(), (), (0, 1), (2,), (3, 2), (4,)]
    assert real_ancestors(depends_on, [0, 1, None, 2, None, 3]) == [
        (), (), (0, 1), (0, 1), (0, 1, 2), (0, 1, 2),
    ]  # fmt: skip


def test_the_longest_way_first() -> None:
    """Two ready jobs on the array: the one that a long job waits for, though it came second."""
    jobs = jobs_of((array(5), ()), (array(5), ()), (lanes(100), (1,)))
    assert order_of(jobs, machine(), {}) == [1, 0, 2]


def test_a_unit_takes_what_is_ready_instead_of_waiting() -> None:
    """While the lanes make what job 2 needs, the array takes job 3, which nothing waits for."""
    jobs = jobs_of((array(5), ()), (lanes(10), (0,)), (array(50), (1,)), (array(7), ()))
    assert order_of(jobs, machine(), {}) == [0, 3, 1, 2]


def test_the_job_that_shares_an_operand_comes_next() -> None:
    """Of two jobs that nothing waits for, the sibling of the last one; not before a chain's."""
    jobs = jobs_of((array(5), ()), (array(9), (0,)), (array(3), (0,)))
    assert order_of(jobs, machine(), {}) == [0, 1, 2]
    assert order_of(jobs, machine(), {0: 2, 2: 0}) == [0, 2, 1]
    jobs.append(Job(name="3", work=lanes(1), after=(1,)))
    assert order_of(jobs, machine(), {0: 2, 2: 0})[:2] == [0, 1]


def test_siblings_are_dgrad_and_wgrad_of_a_module() -> None:
    groups = {0: ("a", Phase.DGRAD), 1: ("a", Phase.WGRAD), 2: ("b", Phase.WGRAD),
              3: ("a", Phase.FORWARD)}  # fmt: skip
    assert siblings_of(groups) == {0: 1, 1: 0}


def test_the_longest_chain() -> None:
    """6 + 10 + 4 on a chain beside one of 12; memory never limits."""
    jobs = jobs_of((array(6), ()), (lanes(10), (0,)), (array(4), (1,)), (array(12), ()))
    assert critical_path(jobs, machine()) == 20


@pytest.mark.parametrize(
    ("stationary_after", "streamed_after", "moved"),
    [((), (), 0), ((0,), (), 65536), ((), (0,), 32768), ((0,), (0,), 98304)],
)
def test_a_chain_moves_what_did_not_exist(
    stationary_after: tuple[int, ...], streamed_after: tuple[int, ...], moved: int
) -> None:
    """An operand that did may have been read before; 484 GB/s are 306 bytes a cycle."""
    gang = make_gang(0, [[10]], stream_bytes=[32768], stream_dram_bytes=[32768])
    work = ArrayWork(
        schedule=make_schedule([gang], [65536]),
        stationary_after=stationary_after,
        streamed_after=streamed_after,
    )
    jobs = jobs_of((array(6), ()), (work, (0,)))
    bytes_per_cycle = 484 / 1.582
    assert critical_path(jobs, machine(dram__preset="gddr5x-484")) == 6 + max(
        10, int(moved / bytes_per_cycle)
    )


def test_write_buffers_may_keep_the_last_bytes_of_a_chain() -> None:
    """11 channels hold 32 bursts of 64 bytes each: so much less is written in time."""
    buffered = 11 * 32 * 64
    config = machine(dram__preset="gddr5x-484")
    jobs = jobs_of((VectorWork(write_bytes=buffered, elements=1), ()))
    assert critical_path(jobs, config) == 1
    jobs = jobs_of((BestCase(macs=0, array_cycles=1, read_bytes=0, write_bytes=10**6), ()))
    assert critical_path(jobs, config) == int((10**6 - buffered) / (484 / 1.582))


def _two_of_a_layer(held_bytes: int) -> list[Job]:
    gang = make_gang(0, [[5]], stream_bytes=[640], stream_dram_bytes=[640])
    schedule = make_schedule([gang], [128])
    work = ArrayWork(schedule=schedule, held_bytes=held_bytes)
    return jobs_of((work, ()), (work, ()))


GROUPS = {0: ("a", Phase.DGRAD), 1: ("a", Phase.WGRAD)}


@pytest.mark.parametrize(
    ("order", "kept"), [((0, 1), (0, 1)), ((1, 0), (1, 0))], ids=["wgrad last", "dgrad last"]
)
def test_the_second_to_read_the_delta_finds_it(
    order: tuple[int, int], kept: tuple[int, int]
) -> None:
    """dgrad has it in its fills, wgrad in its streams: those need no memory."""
    found = share_operand(_two_of_a_layer(0), order, GROUPS, {"a": 640}, machine())
    first, second = (found[n].work for n in kept)
    assert isinstance(first, ArrayWork)
    assert isinstance(second, ArrayWork)
    assert first.kept_bytes == second.kept_bytes == 640
    assert (first.stays, second.stays) == (True, False)
    assert first.schedule.fill_dram_bytes.sum() == 128
    fills = second.schedule.fill_dram_bytes.sum()
    streams = second.schedule.gangs[0].stream_dram_bytes.sum()
    assert (fills, streams) == ((128, 0) if order == (0, 1) else (0, 640))


def test_a_delta_must_fit_beside_what_both_hold_and_be_the_same() -> None:
    config = machine(buffer__size_bytes=1000)
    jobs = _two_of_a_layer(360)
    assert share_operand(jobs, (0, 1), GROUPS, {"a": 640}, config) != jobs
    for held, groups in (
        (361, GROUPS),
        (360, {0: ("a", Phase.DGRAD), 1: ("b", Phase.WGRAD)}),
        (360, {0: ("a", Phase.FORWARD), 1: ("a", Phase.WGRAD)}),
    ):
        jobs = _two_of_a_layer(held)
        assert share_operand(jobs, (0, 1), groups, {"a": 640, "b": 640}, config) == jobs
