"""Bounds of a whole trace on many machines at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from gscn_sim.bounds.activity import LeastActivity, least_activity
from gscn_sim.bounds.cycles import bounds_of
from gscn_sim.bounds.machine import BoundedMachine
from gscn_sim.bounds.work import Vectors, Work, work_of
from gscn_sim.dataflows.base import Dataflow, Floats
from gscn_sim.dataflows.registry import WantedDataflows, dataflows_of
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.stages import Caller, call
from workloads import Layer, LayerShape, Phase, Trace


class LayerPhase(NamedTuple):
    """A layer-phase of a trace, with ``weight`` 1 / the iterations that its layer has."""

    layer: str
    phase: Phase
    shape: LayerShape
    batch_size: int
    weight: float
    works: Mapping[str, Work]

    def least(self, machine: BoundedMachine, wanted: WantedDataflows) -> Least:
        """What it takes at least, whichever of the wanted dataflows it runs."""
        flows = dataflows_of(self.phase, wanted)
        return least_of([self.works[flow.name] for flow in flows], machine)

    def with_read(self, planned: Floats, machine: BoundedMachine) -> Floats:
        """Bounds of plans with the wait for the first operand, where there are such bounds."""
        if not all(work.reads_first for work in self.works.values()):
            return planned
        return planned + np.where(planned > 0, machine.latency_cycles, 0)


@dataclass(frozen=True, kw_only=True)
class Least:
    """What a phase takes at least, in the mean over iterations; arrays have one of each machine."""

    cycles: Floats
    activity: LeastActivity


NOTHING: Mapping[int, Least] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class NetworkBounds:
    """The layer-phases of a trace, counted once, for any machine with the vectors counted."""

    layer_phases: tuple[LayerPhase, ...]

    @property
    def phases(self) -> list[Phase]:
        """The phases that some layer runs, in the order of the trace."""
        return list(dict.fromkeys(each.phase for each in self.layer_phases))

    def least(
        self,
        machine: BoundedMachine,
        wanted: WantedDataflows,
        planned: Floats | None = None,
        simulated: Mapping[int, Least] = NOTHING,
    ) -> dict[Phase, Least]:
        """Cycles and activity of each phase, at least: sums over layers of :func:`least_of`.

        ``planned``: [layer-phases, machines] other bounds of cycles, if there are any;
        ``simulated``: what some layer-phases are known to take.
        """
        found: dict[Phase, Least] = {}
        for number, each in enumerate(self.layer_phases):
            one = simulated[number] if number in simulated else each.least(machine, wanted)
            before = found.get(each.phase)
            cycles = one.cycles
            if planned is not None:
                cycles = np.maximum(cycles, each.with_read(planned[number], machine))
            found[each.phase] = Least(
                cycles=each.weight * cycles + (before.cycles if before else 0.0),
                activity=one.activity.times(each.weight).plus(before.activity if before else None),
            )
        return found


def least_of(works: Sequence[Work], machine: BoundedMachine) -> Least:
    """The least of each figure that any of the dataflows can have."""
    cycles = [
        np.maximum.reduce(np.broadcast_arrays(*bounds_of(w, machine).values())) for w in works
    ]
    activity = least_activity(works[0], machine)
    for work in works[1:]:
        activity = activity.least(least_activity(work, machine))
    return Least(cycles=np.minimum.reduce(np.broadcast_arrays(*cycles)), activity=activity)


def network_bounds(
    trace: Trace,
    phases: Sequence[Phase],
    vectors: Sequence[Vectors],
    wanted: Iterable[WantedDataflows],
    batch_size: int | None = None,
    caller: Caller = call,
) -> NetworkBounds:
    """Count what the layer-phases of a trace must do, for machines with these vectors.

    ``wanted``: the dataflows that any of the machines names.
    """
    flows = {phase: _flows(phase, wanted := list(wanted)) for phase in phases}
    runs = [(each, phase) for each in trace.layers for phase in phases if phase in each.phases()]
    iterations = Counter((layer.name, phase) for layer, phase in runs)
    found = []
    for layer, phase in runs:
        batch = batch_size or trace.batch_of(layer)
        works = caller(_works, layer, phase, batch, flows[phase], tuple(vectors))
        weight = 1 / iterations[layer.name, phase]
        found.append(LayerPhase(layer.name, phase, layer.shape, batch, weight, works))
    return NetworkBounds(layer_phases=tuple(found))


def _flows(phase: Phase, wanted: Sequence[WantedDataflows]) -> tuple[Dataflow, ...]:
    return tuple(dict.fromkeys(flow for each in wanted for flow in dataflows_of(phase, each)))


def _works(
    layer: Layer,
    phase: Phase,
    batch_size: int,
    flows: Sequence[Dataflow],
    vectors: Sequence[Vectors],
) -> Mapping[str, Work]:
    problem = make_problem(layer.shape, phase, batch_size)
    operands = make_operands(layer, problem)
    return {flow.name: work_of(problem, operands, flow, vectors) for flow in flows}
