"""A training step on the accelerator: its convolutions on the PEs, all else on the vector unit.

Operations run one after another, each from empty buffers to results in memory: the limit without
overlap or prefetching, in which a layer takes exactly what ``gscn-sim run`` says.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gscn_sim.config import Config
from gscn_sim.errors import StepMismatchError
from gscn_sim.fabric.vector import VectorResult, VectorWork, run_vector
from gscn_sim.results.dense_array import dense_bound
from gscn_sim.results.energy import energy_j
from gscn_sim.results.record import PhaseRecord
from gscn_sim.results.unit_costs import dram_pj_per_bit, power_law
from gscn_sim.step.flow import Flow
from gscn_sim.step.rules import (
    Context,
    optimizer_work,
    resprop_work,
    runs_on_array,
    vector_work,
)
from workloads import Phase
from workloads.step import Operation, Step

SIMULATED, BOUND, VECTOR, SCALAR = "simulated", "bound", "vector unit", "not timed"
"""How an operation's time was found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedOperation:
    """One operation on a machine.

    ``how``: ``simulated`` from recorded masks; ``bound``: what the array's peak and the memory's
    allow at best, where no masks were recorded or the array is dense; ``vector unit``; ``not
    timed`` for scalars. ``array_cycles`` and ``vector_cycles``: how long that resource computed.
    """

    phase: str
    kind: str
    name: str
    module: str
    how: str
    cycles: float
    array_cycles: float = 0.0
    vector_cycles: float = 0.0
    dram_bytes: float = 0.0
    energy_j: float = 0.0
    depends_on: tuple[int, ...] = ()

    @property
    def limited_by(self) -> str:
        """The resource that was busy longest."""
        if self.how == SCALAR or not self.cycles:
            return "-"
        if max(self.array_cycles, self.vector_cycles) >= 0.8 * self.cycles:
            return "multipliers" if self.array_cycles else "lanes"
        return "memory" if self.how in (VECTOR, BOUND) else "waiting"


Masked = Mapping[tuple[str, Phase], Sequence[PhaseRecord]]
"""Records of each layer and phase, one an iteration."""


def sparse_operations(step: Step, records: Masked, config: Config) -> list[TimedOperation]:
    """Every operation of a step on the machine.

    Raises:
        StepMismatchError: a layer of the trace is not in the step, or has another shape there.
    """
    _check(step, records)
    entry_bits = 8 * config.pe.value_bytes + config.pe.index_bits
    compressed = {
        layer: (
            int(_entries(records, layer, of_gradient=False) * entry_bits / 8),
            int(_entries(records, layer, of_gradient=True) * entry_bits / 8),
        )
        for layer, _ in records
    }

    def on_array(operation: Operation) -> TimedOperation:
        phase = operation.layer_phase
        known = records.get((operation.module, phase)) if phase is not None else None
        return _simulated(operation, known, config) if known else _bound(operation, config)

    return _timed(step, config, compressed, on_array)


def dense_operations(step: Step, config: Config) -> list[TimedOperation]:
    """The ordinary step on the same multipliers and memory without sparsity, at its bound.

    No array with these multipliers is faster: each product takes a slot, each tensor passes memory
    once. So it flatters the array without sparsity, whose mapping costs nothing here.
    """
    ordinary = step.without("resprop")
    return _timed(ordinary, config, {}, lambda operation: _bound(operation, config))


def _timed(
    step: Step,
    config: Config,
    compressed: Mapping[str, tuple[int, int]],
    on_array: Callable[[Operation], TimedOperation],
) -> list[TimedOperation]:
    operations = tuple(step.operations)
    context = Context(
        flow=Flow(operations),
        fusion=config.fusion,
        value_bytes=config.pe.value_bytes,
        compressed=compressed,
    )
    works = [
        None if runs_on_array(operation) else vector_work(i, operation, context)
        for i, operation in enumerate(operations)
    ]
    _own_passes_of_resprop(operations, works, context)
    if config.fusion.optimizer:
        _fuse_optimizer(operations, works, context)
    busy = [work for work in works if work is not None and work != VectorWork()]
    results = iter(run_vector(busy, config))
    found = []
    for operation, work in zip(operations, works, strict=True):
        if runs_on_array(operation):
            found.append(on_array(operation))
        elif work is None:
            found.append(_facts(operation, how=SCALAR, cycles=0))
        elif work == VectorWork():  # done in a pass beside it
            found.append(_facts(operation, how=VECTOR, cycles=0))
        else:
            found.append(_on_vector_unit(operation, work, next(results), config))
    return found


def _own_passes_of_resprop(
    operations: Sequence[Operation], works: list[VectorWork | None], context: Context
) -> None:
    """All of a layer's own passes in the first operation that the trainer lists for them."""
    listed: dict[str, int] = {}
    of_layer: dict[str, list[Operation]] = defaultdict(list)
    for i, operation in enumerate(operations):
        if operation.layer is not None:
            of_layer[operation.module].append(operation)
        if operation.kind == "resprop" and works[i] is not None:
            listed.setdefault(operation.module, i)
            works[i] = VectorWork()
    for module, i in listed.items():
        works[i] = resprop_work(of_layer[module], context)


def _fuse_optimizer(
    operations: Sequence[Operation], works: list[VectorWork | None], context: Context
) -> None:
    """All of the optimizer in its first operation."""
    numbers = [i for i, o in enumerate(operations) if o.kind == "optimizer" and works[i]]
    for i in numbers:
        works[i] = VectorWork()
    if numbers:
        works[numbers[0]] = optimizer_work([operations[i] for i in numbers], context)


def _facts(operation: Operation, *, how: str, cycles: float, **more: float) -> TimedOperation:
    return TimedOperation(
        phase=operation.phase,
        kind=operation.kind,
        name=operation.name,
        module=operation.module,
        depends_on=operation.depends_on,
        how=how,
        cycles=cycles,
        **more,
    )


def _on_vector_unit(
    operation: Operation, work: VectorWork, result: VectorResult, config: Config
) -> TimedOperation:
    moved = result.dram_read_bytes + result.dram_write_bytes
    each_pj = power_law("add_pj", 8 * config.pe.value_bytes)
    return _facts(
        operation,
        how=VECTOR,
        cycles=result.cycles,
        vector_cycles=result.busy_cycles,
        dram_bytes=moved,
        energy_j=1e-12 * (8 * moved * dram_pj_per_bit(config.dram.kind) + work.elements * each_pj),
    )


def _simulated(
    operation: Operation, records: Sequence[PhaseRecord], config: Config
) -> TimedOperation:
    """The mean over the recorded iterations."""
    n = len(records)
    slots = config.num_pes * config.multipliers
    return _facts(
        operation,
        how=SIMULATED,
        cycles=sum(record.cycles for record in records) / n,
        array_cycles=sum(record.slots.total - _waits(record) for record in records) / n / slots,
        dram_bytes=sum(r.dram_read_bytes + r.dram_write_bytes for r in records) / n,
        energy_j=sum(energy_j(record.activity, config).total for record in records) / n,
    )


def _waits(record: PhaseRecord) -> int:
    """Slots in which a PE had nothing to issue."""
    slots = record.slots
    return slots.operand_wait + slots.output_wait + slots.imbalance


def _bound(operation: Operation, config: Config) -> TimedOperation:
    """Best case of a convolution or matrix product: its slots or its bytes, whichever is longer."""
    each = config.pe.value_bytes
    read = sum(tensor.elements for tensor in operation.inputs) * each
    write = sum(tensor.elements for tensor in operation.outputs) * each
    bound = dense_bound(operation.macs, read // each, write // each, config)
    picojoules = operation.macs * (
        power_law("multiply_pj", 8 * each) + power_law("add_pj", 8 * config.pe.partial_sum_bytes)
    )
    picojoules += 8 * (read + write) * dram_pj_per_bit(config.dram.kind)
    return _facts(
        operation,
        how=BOUND,
        cycles=bound.cycles,
        array_cycles=bound.array_cycles,
        dram_bytes=read + write,
        energy_j=picojoules * 1e-12,
    )


def _entries(records: Masked, layer: str, *, of_gradient: bool) -> float:
    """Non-zeros of a layer's activation or gradient delta: the whole batch, mean of iterations."""
    for phase in (Phase.DGRAD if of_gradient else Phase.FORWARD, Phase.WGRAD):
        found = records.get((layer, phase), ())
        if found:
            shape = found[0].shape
            size = math.prod(shape.gradient_shape if of_gradient else shape.activation_shape)
            densities = [r.gradient_density if of_gradient else r.activation_density for r in found]
            mean = sum(density or 0.0 for density in densities) / len(found)
            return mean * size * found[0].batch_size
    return 0.0


def _check(step: Step, records: Masked) -> None:
    shapes = {
        (operation.module, operation.layer_phase): operation.layer
        for operation in step.operations
        if operation.layer is not None
    }
    for (layer, phase), found in records.items():
        if (layer, phase) not in shapes:
            raise StepMismatchError(
                f"layer {layer}: the step has no {phase} of it; its layers are those of "
                f"{step.network} at batch {step.batch_size}"
            )
        if shapes[layer, phase] != found[0].shape:
            raise StepMismatchError(
                f"layer {layer}, {phase}: {found[0].shape} in the trace, "
                f"{shapes[layer, phase]} in the step"
            )
