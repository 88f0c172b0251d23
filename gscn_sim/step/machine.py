"""A training step on the accelerator: its convolutions on the PEs, all else on the vector unit.

An operation that takes time becomes a job of the fabric (:func:`gscn_sim.fabric.step.run_step`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from gscn_sim.config import Config
from gscn_sim.errors import StepMismatchError
from gscn_sim.fabric.component import Probe
from gscn_sim.fabric.jobs import ArrayWork, BestCase, Job, JobResult, StepResult, VectorWork
from gscn_sim.fabric.step import run_step
from gscn_sim.results.energy import energy_j
from gscn_sim.results.record import PhaseRecord
from gscn_sim.results.unit_costs import dram_pj_per_bit, power_law
from gscn_sim.run.pipeline import PreparedPhase, record_of
from gscn_sim.step.graph import Group, bounds_of, order_of, share_operand, siblings_of
from gscn_sim.step.jobs import StepJobs
from gscn_sim.step.shares import shared_cycles
from workloads import Phase
from workloads.step import Operation, Step

SIMULATED, BOUND, VECTOR, SCALAR = "simulated", "bound", "vector unit", "not timed"
"""How an operation's time was found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedOperation:
    """One operation on a machine.

    ``how``: ``simulated`` from recorded masks; ``bound``: what the array's peak and the memory's
    allow at best, where no masks were recorded or the array is dense; ``vector unit``; ``not
    timed`` for scalars. ``start_cycle``, ``end_cycle``: in the step. ``cycles``: its share of the
    step, each cycle of which is shared equally by the operations in progress. ``array_cycles`` and
    ``vector_cycles``: how long that resource computed.
    """

    phase: str
    kind: str
    name: str
    module: str
    how: str
    cycles: float
    start_cycle: float = 0.0
    end_cycle: float = 0.0
    array_cycles: float = 0.0
    vector_cycles: float = 0.0
    dram_bytes: float = 0.0
    energy_j: float = 0.0
    depends_on: tuple[int, ...] = ()

    @property
    def limited_by(self) -> str:
        """The resource that was busy longest."""
        took = self.end_cycle - self.start_cycle
        if self.how == SCALAR or not took:
            return "-"
        if max(self.array_cycles, self.vector_cycles) >= 0.8 * took:
            return "multipliers" if self.array_cycles else "lanes"
        return "memory" if self.how in (VECTOR, BOUND) else "waiting"


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineStep:
    """A step on an array.

    Attributes:
        cycles: of the whole step.
        operations: every operation, in the order of the step; their shares add up to ``cycles``.
        bounds: cycles that no schedule can beat: of each resource, and of the critical path.
        uses: resource -> busy, stalled and idle cycles, which add up to ``cycles``.
    """

    cycles: float
    operations: tuple[TimedOperation, ...]
    bounds: Mapping[str, float]
    uses: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyPhase:
    """A layer-phase that the fabric can run, and its layer's facts (``facts_of_layer``)."""

    prepared: PreparedPhase
    facts: Mapping[str, Any]


Ready = Mapping[Group, ReadyPhase]
"""Layer-phases of one recorded iteration by layer and phase."""


def sparse_step(
    step: Step,
    iterations: Sequence[Ready],
    config: Config,
    timeline: Probe | None = None,
) -> tuple[MachineStep, list[PhaseRecord]]:
    """The step on the machine, as a mean over recorded iterations, and what its layers took.

    ``timeline`` sees the first iteration.

    Raises:
        StepMismatchError: a layer of the trace is not in the step, or has another shape there; or
            an operation has no rule.
    """
    found: list[MachineStep] = []
    records: list[PhaseRecord] = []
    for number, ready in enumerate(iterations):
        _check(step, ready)
        schedules = {group: phase.prepared.schedule for group, phase in ready.items()}
        jobs = StepJobs(step, config, schedules, _compressed(ready, config))
        its_own = _run(step.network, jobs, ready, config, None if number else timeline)
        found.append(its_own[0])
        records += its_own[1]
    return _mean(found), records


def dense_step(step: Step, config: Config) -> MachineStep:
    """The ordinary step on the same machine without sparsity, its products at their best case.

    Each product takes a slot, each tensor passes memory once; mapping costs nothing.
    """
    ordinary = step.without("resprop")
    return _run(step.network, StepJobs(ordinary, config, {}, {}), {}, config)[0]


def _run(
    network: str,
    planned: StepJobs,
    ready: Ready,
    config: Config,
    timeline: Probe | None = None,
) -> tuple[MachineStep, list[PhaseRecord]]:
    """Run a step once; also what each layer-phase took."""
    jobs, groups = planned.jobs, planned.groups
    order = list(range(len(jobs)))
    if config.policy.overlap:
        order = order_of(jobs, config, siblings_of(groups))
        if config.policy.share_delta:
            deltas = {module: sizes[1] for module, sizes in planned.compressed.items()}
            jobs = share_operand(jobs, order, groups, deltas, config)
    result = run_step(jobs, config, order, timeline)
    records = {
        n: _record(network, ready[group], jobs[n], result.jobs[n], config)
        for n, group in groups.items()
    }
    shares = shares_of(result)
    timed = []
    for i, (operation, n) in enumerate(zip(planned.operations, planned.job_of, strict=True)):
        if n is None:
            timed.append(_facts(operation, how=SCALAR if planned.is_scalar(i) else VECTOR))
        else:
            times = (shares[n], result.jobs[n].start_cycle, result.jobs[n].end_cycle)
            known = _known(jobs[n], result.jobs[n], records.get(n), config)
            timed.append(_facts(operation, *times, **known))
    step = MachineStep(
        cycles=result.cycles,
        operations=tuple(timed),
        bounds=bounds_of(jobs, result, config),
        uses={
            name: {"busy": use.busy, "stalled": use.stalled, "idle": use.idle}
            for name, use in result.uses.items()
        },
    )
    return step, list(records.values())


def shares_of(result: StepResult) -> list[float]:
    """Each job's share of the step: a cycle is shared equally by the jobs in progress.

    What the last writes take after the last job is that job's.
    """
    if not result.jobs:
        return []
    last = max(range(len(result.jobs)), key=lambda n: result.jobs[n].end_cycle)
    return shared_cycles(
        [
            range(job.start_cycle, result.cycles if n == last else job.end_cycle)
            for n, job in enumerate(result.jobs)
        ]
    )


def _record(
    network: str, ready: ReadyPhase, job: Job, entry: JobResult, config: Config
) -> PhaseRecord:
    """What a layer-phase took; its identities hold."""
    assert isinstance(job.work, ArrayWork)
    assert entry.fabric is not None
    prepared = replace(ready.prepared, schedule=job.work.schedule)
    record = record_of(network, ready.facts, prepared, entry.fabric, config)
    record.check(alone=not config.policy.overlap)
    return record


def _facts(
    operation: Operation, cycles: float = 0.0, start: float = 0.0, end: float = 0.0, **more: Any
) -> TimedOperation:
    return TimedOperation(
        phase=operation.phase,
        kind=operation.kind,
        name=operation.name,
        module=operation.module,
        depends_on=operation.depends_on,
        cycles=cycles,
        start_cycle=start,
        end_cycle=end,
        **more,
    )


def _known(
    job: Job, entry: JobResult, record: PhaseRecord | None, config: Config
) -> dict[str, Any]:
    """What a job used: how it was timed, its unit's cycles, bytes and energy."""
    work, bits = job.work, 8 * config.pe.value_bytes
    moved = entry.read_bytes + entry.write_bytes
    memory_pj = 8 * moved * dram_pj_per_bit(config.dram.kind)
    if record is not None:
        slots = config.num_pes * config.multipliers
        return {
            "how": SIMULATED,
            "array_cycles": (record.slots.total - _waits(record)) / slots,
            "dram_bytes": moved,
            "energy_j": energy_j(record.activity, config).total,
        }
    if isinstance(work, VectorWork):
        each_pj = power_law("add_pj", 8 * config.pe.partial_sum_bytes)
        return {
            "how": VECTOR,
            "vector_cycles": entry.busy_cycles,
            "dram_bytes": moved,
            "energy_j": 1e-12 * (memory_pj + work.elements * each_pj),
        }
    assert isinstance(work, BestCase)
    each_pj = power_law("multiply_pj", bits) + power_law("add_pj", 8 * config.pe.partial_sum_bytes)
    return {
        "how": BOUND,
        "array_cycles": work.array_cycles,
        "dram_bytes": moved,
        "energy_j": 1e-12 * (memory_pj + work.macs * each_pj),
    }


def _waits(record: PhaseRecord) -> int:
    """Slots in which a PE had nothing to issue."""
    slots = record.slots
    return slots.operand_wait + slots.output_wait + slots.imbalance


def _mean(steps: Sequence[MachineStep]) -> MachineStep:
    """The mean of the same step over recorded iterations."""
    if len(steps) == 1:
        return steps[0]
    n = len(steps)
    operations = [
        _mean_operation(same) for same in zip(*(s.operations for s in steps), strict=True)
    ]
    return MachineStep(
        cycles=sum(step.cycles for step in steps) / n,
        operations=tuple(operations),
        bounds={key: sum(step.bounds[key] for step in steps) / n for key in steps[0].bounds},
        uses={
            name: {what: sum(step.uses[name][what] for step in steps) / n for what in use}
            for name, use in steps[0].uses.items()
        },
    )


def _mean_operation(same: Sequence[TimedOperation]) -> TimedOperation:
    numbers = [f.name for f in fields(TimedOperation) if f.type == "float"]
    means = {name: sum(getattr(o, name) for o in same) / len(same) for name in numbers}
    return replace(same[0], **means)


def _compressed(ready: Ready, config: Config) -> dict[str, tuple[int, int]]:
    """Module -> bytes of its compressed activation and gradient delta, the whole batch."""
    entry_bits = 8 * config.pe.value_bytes + config.pe.index_bits
    sizes = {}
    for module, _ in ready:
        found = []
        for operand, phase in (("activation", Phase.FORWARD), ("gradient", Phase.DGRAD)):
            known = ready.get((module, phase)) or ready.get((module, Phase.WGRAD))
            entries = 0.0
            if known is not None:
                shape = known.prepared.problem.shape
                plane = getattr(shape, f"{operand}_shape")
                density = known.facts[f"{operand}_density"] or 0.0
                entries = density * math.prod(plane) * known.prepared.batch_size
            found.append(int(entries * entry_bits / 8))
        sizes[module] = found[0], found[1]
    return sizes


def _check(step: Step, ready: Ready) -> None:
    shapes = {
        (operation.module, operation.layer_phase): operation.layer
        for operation in step.operations
        if operation.layer is not None
    }
    for (layer, phase), found in ready.items():
        shape = found.prepared.problem.shape
        if (layer, phase) not in shapes:
            raise StepMismatchError(
                f"layer {layer}: the step has no {phase} of it; its layers are those of "
                f"{step.network} at batch {step.batch_size}"
            )
        if shapes[layer, phase] != shape:
            raise StepMismatchError(
                f"layer {layer}, {phase}: {shape} in the trace, {shapes[layer, phase]} in the step"
            )
