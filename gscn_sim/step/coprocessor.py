"""GSCN beside a GPU: it takes the backward convolutions, and what they share crosses a link."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gscn_sim.config import Config
from gscn_sim.fabric.units import Task, run_tasks
from gscn_sim.step.flow import Flow
from gscn_sim.step.shares import shared_cycles
from workloads.step import Operation

GPU, GSCN, THERE, BACK = "GPU", "gscn", "link there", "link back"


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A task of the step: an operation (its number) or a transfer (None), where and when it ran.

    ``share_cycles``: its share of the step, each cycle of which is shared equally by the tasks in
    progress.
    """

    operation: int | None
    unit: str
    start_cycle: int
    end_cycle: int
    share_cycles: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BesideGpu:
    """A step on a GPU with GSCN as its co-processor.

    Attributes:
        tasks: operations and transfers.
        cycles: of the whole step, in cycles of GSCN's clock.
        link_bytes: what crosses the link, in each direction.
        critical_path_cycles: the longest chain of tasks that wait for one another.
    """

    tasks: tuple[Placed, ...]
    cycles: int
    link_bytes: Mapping[str, int]
    critical_path_cycles: int

    @property
    def busy_cycles(self) -> dict[str, int]:
        """Of each unit."""
        busy = dict.fromkeys((GPU, GSCN, THERE, BACK), 0)
        for task in self.tasks:
            busy[task.unit] += task.end_cycle - task.start_cycle
        return busy


def is_ours(operation: Operation) -> bool:
    """Whether the co-processor takes it: ReSprop's own work and the backward convolutions."""
    convolves = operation.kind == "convolution" and operation.layer_phase is not None
    return operation.kind == "resprop" or (convolves and operation.phase == "backward")


def coprocessor_config(config: Config) -> Config:
    """The machine as a co-processor: nothing is fused into passes that the GPU keeps."""
    kept_apart = {"delta": False, "batch_sum": False, "norm_statistics": False, "activation": False}
    return config.replace(policy={"overlap": False}, fusion=kept_apart)


def beside_gpu(
    operations: Sequence[Operation],
    ours_cycles: Mapping[int, float],
    gpu_seconds: Mapping[int, float],
    *,
    clock_ghz: float,
    link_gbps: float,
) -> BesideGpu:
    """Schedule a step on both: the GPU in the order of the step, the rest as it becomes ready.

    Tensors cross as they are, dense, each once, as soon as they exist; the link works in both
    directions at a time. What only the co-processor writes, as the reused sample, stays with it.

    Args:
        operations: of the step, ReSprop's own included.
        ours_cycles, gpu_seconds: what each operation takes where it runs, by position.
        link_gbps: 10^9 bytes a second in each direction.
    """
    tasks, numbers, moved = _tasks(operations, ours_cycles, gpu_seconds, clock_ghz, link_gbps)
    ran = run_tasks(tasks, frozenset({GPU}))
    shares = shared_cycles(ran)
    ends: list[int] = []
    for task in tasks:
        ends.append(task.cycles + max((ends[n] for n in task.after), default=0))
    return BesideGpu(
        tasks=tuple(
            Placed(
                operation=number,
                unit=task.unit,
                start_cycle=when.start,
                end_cycle=when.stop,
                share_cycles=share,
            )
            for number, task, when, share in zip(numbers, tasks, ran, shares, strict=True)
        ),
        cycles=max((when.stop for when in ran), default=0),
        link_bytes=moved,
        critical_path_cycles=max(ends, default=0),
    )


def _tasks(
    operations: Sequence[Operation],
    ours_cycles: Mapping[int, float],
    gpu_seconds: Mapping[int, float],
    clock_ghz: float,
    link_gbps: float,
) -> tuple[list[Task], list[int | None], dict[str, int]]:
    """The tasks, the operation of each (None: a transfer), and bytes in each direction."""
    tasks: list[Task] = []
    numbers: list[int | None] = []  # the operation of each task
    moved: dict[str, int] = {THERE: 0, BACK: 0}
    crossed: dict[tuple[int | None, int], int] = {}
    flow, homes = Flow(operations), _homes(operations)
    sizes = _sizes(operations, flow)
    waits: list[frozenset[int]] = []  # of each operation: tasks that are over when it is
    for i, operation in enumerate(operations):
        ours = is_ours(operation)
        after = frozenset().union(*(waits[n] for n in operation.depends_on))
        for tensor in operation.inputs:
            writer = flow.writer_number(i, tensor.storage)
            made_by_us = homes[tensor.storage] if writer is None else is_ours(operations[writer])
            if made_by_us == ours:
                continue
            key = (writer, tensor.storage)
            if key not in crossed:
                unit, size = THERE if ours else BACK, sizes[key]
                moved[unit] += size
                crossed[key] = len(tasks)
                numbers.append(None)
                tasks.append(
                    Task(
                        unit=unit,
                        cycles=math.ceil(size / link_gbps * clock_ghz),
                        after=() if writer is None else tuple(sorted(waits[writer])),
                    )
                )
            after |= {crossed[key]}
        cycles = ours_cycles.get(i, 0) if ours else gpu_seconds.get(i, 0.0) * clock_ghz * 1e9
        if not cycles:
            waits.append(after)
            continue
        waits.append(frozenset({len(tasks)}))
        numbers.append(i)
        unit = GSCN if ours else GPU
        tasks.append(Task(unit=unit, cycles=round(cycles), after=tuple(sorted(after))))
    return tasks, numbers, moved


def _homes(operations: Sequence[Operation]) -> dict[int, bool]:
    """For each storage, whether only the co-processor writes it in a step: then it stays there."""
    found: dict[int, bool] = defaultdict(bool)
    written: set[int] = set()
    for operation in operations:
        for tensor in operation.outputs:
            first = tensor.storage not in written
            found[tensor.storage] = is_ours(operation) and (first or found[tensor.storage])
            written.add(tensor.storage)
    return found


def _sizes(operations: Sequence[Operation], flow: Flow) -> dict[tuple[int | None, int], int]:
    """Bytes of each tensor (writer, storage): the most that any of its users takes."""
    found: dict[tuple[int | None, int], int] = defaultdict(int)
    for i, operation in enumerate(operations):
        for tensor in operation.inputs:
            key = (flow.writer_number(i, tensor.storage), tensor.storage)
            found[key] = max(found[key], tensor.size_bytes)
    return found
