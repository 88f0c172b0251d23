"""Units beside each other, worked out by hand, and bounds for any graph."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gscn_sim.fabric.units import Task, run_tasks
from gscn_sim.step.shares import shared_cycles

UNITS = ("GPU", "link", "gscn")


def test_by_hand() -> None:
    """The GPU does a (10) and b (4); a's tensor crosses (3), is worked on (5), and comes back (2).

    The transfer runs beside b. What needs the answer waits for it: 10 + 3 + 5 + 2 = 20.
    """
    tasks = [
        Task(unit="GPU", cycles=10),
        Task(unit="link", cycles=3, after=(0,)),
        Task(unit="gscn", cycles=5, after=(1,)),
        Task(unit="GPU", cycles=4),
        Task(unit="link", cycles=2, after=(2,)),
        Task(unit="GPU", cycles=6, after=(4,)),
    ]
    ran = [(when.start, when.stop) for when in run_tasks(tasks, frozenset({"GPU"}))]
    assert ran == [(0, 10), (10, 13), (13, 18), (10, 14), (18, 20), (20, 26)]
    # 10 + 3 / 2 (beside the task of 4) + 5 - 1 / 2 + 3 / 2 + 1 / 2 + 2 + 6
    assert shared_cycles([range(*when) for when in ran]) == [10, 1.5, 4.5, 2, 2, 6]


def test_a_stream_keeps_its_order_and_others_do_not() -> None:
    tasks = [
        Task(unit="gscn", cycles=9),
        Task(unit="GPU", cycles=1, after=(0,)),
        Task(unit="GPU", cycles=5),
    ]
    assert [when.start for when in run_tasks(tasks)] == [0, 9, 0]
    assert [when.start for when in run_tasks(tasks, frozenset({"GPU"}))] == [0, 9, 10]


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    tasks: list[Task] = []
    for n in range(draw(st.integers(1, 12))):
        after = draw(st.lists(st.integers(0, n - 1), max_size=3)) if n else []
        tasks.append(
            Task(
                unit=draw(st.sampled_from(UNITS)),
                cycles=draw(st.integers(0, 9)),
                after=tuple(sorted(set(after))),
            )
        )
    return tasks


@given(tasks=graphs(), stream=st.booleans())
def test_any_graph(tasks: list[Task], stream: bool) -> None:
    """Nothing before its cause, one task of a unit at a time, shares add up, bounds hold."""
    ran = run_tasks(tasks, frozenset({"GPU"} if stream else ()))
    for task, when in zip(tasks, ran, strict=True):
        assert len(when) == task.cycles
        assert all(ran[n].stop <= when.start for n in task.after)
    end = max(when.stop for when in ran)
    for unit in UNITS:
        own = sorted((w.start, w.stop) for t, w in zip(tasks, ran, strict=True) if t.unit == unit)
        assert all(one[1] <= two[0] for one, two in pairwise(own))
        assert sum(stop - start for start, stop in own) <= end
    shares = shared_cycles(ran)
    idle = end - len({cycle for when in ran for cycle in when})
    assert abs(sum(shares) - (end - idle)) < 1e-9
    assert idle == 0  # some task is always in progress until the end
