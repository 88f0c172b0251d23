"""Tasks of known length on units beside each other: a GPU, a link, and GSCN as its co-processor."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import simpy

from gscn_sim.fabric.top import run_to_end


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Work of one unit. ``after``: earlier tasks, by position, that must be over."""

    unit: str
    cycles: int
    after: tuple[int, ...] = ()


def run_tasks(tasks: Sequence[Task], in_order: frozenset[str] = frozenset()) -> list[range]:
    """Run tasks, each as soon as its unit is free and everything that it depends on is over.

    Of tasks that wait for a unit the first in the list goes first. Units ``in_order`` do not
    start a task before the one before it, as the stream of a GPU.

    Returns:
        From which cycle to which each task ran.

    Raises:
        DeadlockError: some task waits forever.
    """
    env = simpy.Environment()
    units = {task.unit: simpy.PriorityResource(env) for task in tasks}
    last: dict[str, simpy.Process] = {}
    processes: list[simpy.Process] = []
    ran = [range(0)] * len(tasks)

    def run(number: int, task: Task, before: list[simpy.Process]) -> Generator[simpy.Event]:
        yield env.all_of(before)
        with units[task.unit].request(priority=number) as turn:
            yield turn
            began = int(env.now)
            yield env.timeout(task.cycles)
            ran[number] = range(began, int(env.now))

    for number, task in enumerate(tasks):
        before = [processes[n] for n in task.after]
        if task.unit in in_order and task.unit in last:
            before.append(last[task.unit])
        process = env.process(run(number, task, before))
        processes.append(process)
        last[task.unit] = process
    run_to_end(
        env,
        {f"task {n} of {t.unit}": p for n, (t, p) in enumerate(zip(tasks, processes, strict=True))},
    )
    return ran
