"""What no array could beat: the step's bytes at the memory's peak, and its longest chain.

An array as fast as one likes still moves each operand and each result once, compressed where it is
sparse, in the passes that the fusions leave. What stays on the chip from one operation to the next
would lower the bound; the machine keeps nothing of that kind but the delta.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gscn_sim.config import Config
from gscn_sim.fabric.jobs import BestCase, Job, VectorWork
from gscn_sim.step.graph import critical_path
from gscn_sim.step.jobs import StepJobs
from workloads import Layer, Trace
from workloads.step import Operation, Step

if TYPE_CHECKING:
    import pandas as pd

Densities = Mapping[str, Mapping[str, float]]
"""Module -> operand -> share of non-zeros, where they were recorded."""


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The least time of a step on any array with a memory, and what it consists of.

    Attributes:
        table: a row for each phase and kind of operation: bytes moved and products of non-zeros.
        memory_seconds: all bytes at the memory's peak.
        chain_seconds: the longest chain of operations that wait for each other, each of them moving
            what did not exist before; whole operations wait for whole ones.
        products_seconds: products of two non-zeros on the configured multipliers, none ever idle.
    """

    table: pd.DataFrame
    memory_seconds: float
    chain_seconds: float
    products_seconds: float

    @property
    def seconds(self) -> float:
        """What an infinitely fast array with this memory takes at least."""
        return max(self.memory_seconds, self.chain_seconds)


def ceiling(trace: Trace, step: Step, config: Config) -> Ceiling:
    """The least time of a step with the densities of a trace's first iteration.

    Raises:
        StepMismatchError: an operation has no rule.
    """
    import pandas as pd

    densities = densities_of(trace)
    planned = StepJobs(step, config, {}, compressed_bytes(step, densities, config))
    free = [_without_computing(job) for job in planned.jobs]
    rows: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0])
    for operation, number in zip(planned.operations, planned.job_of, strict=True):
        if number is None:
            continue
        row = rows[operation.phase, operation.kind]
        row[0] += _moved(free[number])
        row[1] += products(operation, densities)
    table = pd.DataFrame(
        {"phase": phase, "kind": kind, "moved_bytes": int(moved), "products": each}
        for (phase, kind), (moved, each) in rows.items()
    )
    moved = int(table["moved_bytes"].sum())
    return Ceiling(
        table=table,
        memory_seconds=config.seconds(config.memory_cycles(moved)),
        chain_seconds=config.seconds(critical_path(free, config)),
        products_seconds=float(table["products"].sum()) / config.peak_macs_per_second,
    )


def dense_pass_bytes(step: Step, config: Config) -> int:
    """Bytes that the ordinary step moves with the design's fusions beside its dense products."""
    planned = StepJobs(step.without("resprop"), config, {}, {})
    return sum(_moved(job) for job in planned.jobs if isinstance(job.work, VectorWork))


def densities_of(trace: Trace) -> dict[str, dict[str, float]]:
    """Densities of the operands of a trace's first recorded iteration, by module."""
    first = trace.layers[0].iteration
    return {layer.name: _densities(layer) for layer in trace.layers if layer.iteration == first}


def _densities(layer: Layer) -> dict[str, float]:
    masks = {"activation": layer.activation, "gradient": layer.gradient}
    return {name: mask.density for name, mask in masks.items() if mask is not None}


def compressed_bytes(
    step: Step, densities: Densities, config: Config
) -> dict[str, tuple[int, int]]:
    """Module -> bytes of its compressed activation and gradient delta, the whole batch."""
    entry_bits = 8 * config.pe.value_bytes + config.pe.index_bits
    sizes: dict[str, tuple[int, int]] = {}
    for operation in step.operations:
        shape, known = operation.layer, densities.get(operation.module)
        if shape is None or known is None:
            continue
        planes = {"activation": shape.activation_shape, "gradient": shape.gradient_shape}
        activation, gradient = (
            int(known.get(name, 0.0) * math.prod(plane) * step.batch_size * entry_bits / 8)
            for name, plane in planes.items()
        )
        sizes[operation.module] = activation, gradient
    return sizes


def products(operation: Operation, densities: Densities) -> float:
    """Products of two non-zeros that an operation needs, if zeros lie independently.

    Weights are dense; pre-phases read a dense sample and a sum of activations.
    """
    known, phase = densities.get(operation.module, {}), operation.layer_phase
    count = float(operation.macs)
    if phase is None or phase.is_pre_phase:
        return count
    for operand in (phase.stationary, phase.streamed):
        count *= known.get(operand, 1.0)
    return count


def _without_computing(job: Job) -> Job:
    """The job on an array and lanes that take no time."""
    work = job.work
    if isinstance(work, BestCase):
        return replace(job, work=replace(work, array_cycles=0))
    assert isinstance(work, VectorWork)
    return replace(job, work=replace(work, elements=0))


def _moved(job: Job) -> int:
    assert isinstance(job.work, BestCase | VectorWork)
    return job.work.read_bytes + job.work.write_bytes
