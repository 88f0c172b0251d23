"""A training step made into jobs of the fabric: which unit does what, and after what."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gscn_sim.config import Config
from gscn_sim.errors import StepMismatchError
from gscn_sim.fabric.jobs import ArrayWork, BestCase, Job, VectorWork, Work
from gscn_sim.schedule.model import Schedule
from gscn_sim.step.flow import Flow
from gscn_sim.step.graph import Group, real_ancestors
from gscn_sim.step.rules import (
    Context,
    optimizer_work,
    resprop_work,
    runs_on_array,
    vector_work,
)
from gscn_sim.units import ceil_div
from workloads import Phase
from workloads.step import Operation, Step


class StepJobs:
    """The jobs of a step on a machine.

    Attributes:
        jobs: one for each operation that takes time, in the order of the step.
        job_of: operation -> its job, None for one that takes no time.
        groups: job -> module and phase, where it has a schedule.
        compressed: module -> bytes of its compressed activation and gradient delta.

    Args:
        schedules: of the layer-phases whose masks are known; other products run at their best case.

    Raises:
        StepMismatchError: an operation has no rule.
    """

    def __init__(
        self,
        step: Step,
        config: Config,
        schedules: Mapping[Group, Schedule],
        compressed: Mapping[str, tuple[int, int]],
    ) -> None:
        self._config = config
        self._schedules = schedules
        self.operations = tuple(step.operations)
        self.compressed = compressed
        self._flow = Flow(self.operations)
        self._context = Context(
            flow=self._flow,
            fusion=config.fusion,
            value_bytes=config.pe.value_bytes,
            parameter_bytes=config.vector.parameter_bytes,
            compressed=compressed,
        )
        self._depends_on = [operation.depends_on for operation in self.operations]
        self._works = self._make_works()
        self.job_of = self._numbers()
        self.jobs, self.groups = self._jobs()

    def is_scalar(self, number: int) -> bool:
        """Whether an operation works on single numbers and is not timed."""
        return self._works[number] is None

    def _make_works(self) -> list[Work | None]:
        """What each operation makes a unit do: None for scalars, empty if another one does it."""
        works: list[VectorWork | None] = []
        for i, operation in enumerate(self.operations):
            # ReSprop's own passes are the machine's, however the trainer's program made them.
            if not operation.priced and operation.kind != "resprop":
                raise StepMismatchError(
                    f"operation {i} ({operation.name} of {operation.module or 'the model'}): no "
                    "rule tells what it costs beyond the bytes of its tensors"
                )
            on_array = runs_on_array(operation)
            works.append(None if on_array else vector_work(i, operation, self._context))
        _own_passes_of_resprop(self.operations, works, self._context)
        if self._config.fusion.optimizer:
            self._fuse_optimizer(works)
        return [
            self._array_work(operation) if runs_on_array(operation) else work
            for operation, work in zip(self.operations, works, strict=True)
        ]

    def _fuse_optimizer(self, works: list[VectorWork | None]) -> None:
        """All of the optimizer in its last operation, which waits for what any one waits for."""
        numbers = [i for i, o in enumerate(self.operations) if o.kind == "optimizer" and works[i]]
        if not numbers:
            return
        for i in numbers:
            works[i] = VectorWork()
        last = numbers[-1]
        works[last] = optimizer_work([self.operations[i] for i in numbers], self._context)
        waits = {earlier for i in numbers for earlier in self._depends_on[i]}
        self._depends_on[last] = tuple(sorted(waits))

    def _array_work(self, operation: Operation) -> Work:
        """The schedule of a layer with masks, else the best case."""
        phase = operation.layer_phase
        schedule = self._schedules.get((operation.module, phase)) if phase is not None else None
        if schedule is not None:
            return ArrayWork(schedule=schedule, held_bytes=schedule.buffer_bytes)
        each = self._config.pe.value_bytes
        read = _sparse_operands(operation, self.compressed, each)
        if read is None:
            read = sum(tensor.elements for tensor in operation.inputs) * each
        write = sum(tensor.elements for tensor in operation.outputs) * each
        slots = self._config.num_pes * self._config.multipliers
        return BestCase(
            macs=operation.macs,
            array_cycles=ceil_div(operation.macs, slots),
            read_bytes=read,
            write_bytes=write,
        )

    def _numbers(self) -> list[int | None]:
        """The job of each operation that takes time."""
        numbers: list[int | None] = []
        count = 0
        for work in self._works:
            takes_time = work is not None and work != VectorWork()
            numbers.append(count if takes_time else None)
            count += takes_time
        return numbers

    def _jobs(self) -> tuple[list[Job], dict[int, Group]]:
        """The jobs, and module and phase of those with a schedule."""
        after = real_ancestors(self._depends_on, self.job_of)
        jobs: list[Job] = []
        groups: dict[int, Group] = {}
        for i, (operation, number) in enumerate(zip(self.operations, self.job_of, strict=True)):
            if number is None:
                continue
            work = self._works[i]
            assert work is not None
            if isinstance(work, ArrayWork):
                assert operation.layer_phase is not None
                groups[number] = operation.module, operation.layer_phase
                stationary, streamed = self._operands_after(i, operation, after)
                work = replace(work, stationary_after=stationary, streamed_after=streamed)
            name = " ".join(filter(None, (operation.name, operation.module)))
            jobs.append(Job(name=name, work=work, after=after[i]))
        return jobs, groups

    def _operands_after(
        self, number: int, operation: Operation, after: Sequence[tuple[int, ...]]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The jobs before which the stationary, and the streamed, operand is not in memory.

        A gradient comes first among the inputs of a backward convolution, the activation in a
        forward one. Where sizes do not fit that, both wait for all that the operation waits for.
        """
        phase, shape = operation.layer_phase, operation.layer
        assert phase is not None
        assert shape is not None
        sizes = {
            "activation": math.prod(shape.activation_shape) * operation.samples,
            "gradient": math.prod(shape.gradient_shape) * operation.samples,
            "weight": math.prod(shape.weight_shape),
        }
        first = "activation" if phase.result == "gradient" else "gradient"
        (second,) = {phase.stationary, phase.streamed} - {first}
        tensors = [t for t in operation.inputs if t.elements in sizes.values()][:2]
        if [t.elements for t in tensors] != [sizes[first], sizes[second]]:
            return after[number], after[number]
        waits = {}
        for operand, tensor in zip((first, second), tensors, strict=True):
            writer = self._flow.writer_number(number, tensor.storage)
            job = None if writer is None else self.job_of[writer]
            waits[operand] = () if writer is None else after[writer] if job is None else (job,)
        return waits[phase.stationary], waits[phase.streamed]


def _own_passes_of_resprop(
    operations: Sequence[Operation], works: list[VectorWork | None], context: Context
) -> None:
    """A layer's own passes, each in an operation that the trainer lists where it has to be done.

    The delta is made in the first of them; A is summed where ``pre_wgrad`` waits for it; the
    pre-terms are added where something waits for dgrad and wgrad.
    """
    listed: dict[str, list[int]] = defaultdict(list)
    products: dict[str, dict[Phase, int]] = defaultdict(dict)
    for i, operation in enumerate(operations):
        if operation.layer is not None and operation.layer_phase is not None:
            products[operation.module][operation.layer_phase] = i
        if operation.kind == "resprop" and works[i] is not None:
            listed[operation.module].append(i)
            works[i] = VectorWork()
    for module, numbers in listed.items():
        phases = products[module]
        own = resprop_work([operations[i] for i in phases.values()], context)
        pre_wgrad = phases.get(Phase.PRE_WGRAD)
        before = [] if pre_wgrad is None else operations[pre_wgrad].depends_on
        places = [
            (own.delta, numbers[0]),
            (own.batch_sum, next((i for i in numbers if i in before), numbers[0])),
        ]
        for work, phase in ((own.pre_dgrad, Phase.DGRAD), (own.pre_wgrad, Phase.WGRAD)):
            product = phases.get(phase)
            users = (i for i in numbers if product in operations[i].depends_on)
            places.append((work, next(users, numbers[-1])))
        for work, place in places:
            works[place] = _both(works[place] or VectorWork(), work)


def _sparse_operands(
    operation: Operation, compressed: Mapping[str, tuple[int, int]], value_bytes: int
) -> int | None:
    """Bytes of a convolution's operands, compressed where they are; None if none of them is."""
    phase, shape = operation.layer_phase, operation.layer
    if phase is None or phase.is_pre_phase or shape is None or operation.module not in compressed:
        return None
    activation, gradient = compressed[operation.module]
    dense = {
        "activation": math.prod(shape.activation_shape) * operation.samples,
        "gradient": math.prod(shape.gradient_shape) * operation.samples,
        "weight": math.prod(shape.weight_shape),
    }
    sizes = {operand: size * value_bytes for operand, size in dense.items()}
    sizes |= {k: v for k, v in (("activation", activation), ("gradient", gradient)) if v}
    return sizes[phase.stationary] + sizes[phase.streamed]


def _both(one: VectorWork, two: VectorWork) -> VectorWork:
    return VectorWork(
        read_bytes=one.read_bytes + two.read_bytes,
        write_bytes=one.write_bytes + two.write_bytes,
        elements=one.elements + two.elements,
    )
