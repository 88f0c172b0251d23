"""The bounds of plans for a whole trace, by what they read of a design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from gscn_sim.bounds.planned import PlannedBounds
from gscn_sim.bounds.planned_machine import PlannedMachine
from gscn_sim.config import Config
from gscn_sim.config.view import view
from gscn_sim.dataflows.base import Floats
from gscn_sim.dataflows.registry import WantedDataflows, dataflows_of
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.run.knowledge import known_operands, layers_to_run
from workloads import Phase, Trace


class PlanningKey(NamedTuple):
    """Designs with the same have the same legal plans, each with the same bound."""

    space: MappingSpace
    machine: PlannedMachine
    wanted: WantedDataflows


def planning_key(config: Config) -> PlanningKey:
    """What bounds of plans read of a design."""
    return PlanningKey(
        space=view(MappingSpace, config),
        machine=view(PlannedMachine, config),
        wanted=view(WantedDataflows, config),
    )


@dataclass(kw_only=True)
class PlannedNetwork:
    """Cycles of each layer-phase of a trace, in the order of the trace, by planning key.

    Masks are read layer by layer, so that one layer's is in memory.
    """

    trace: Trace
    phases: Sequence[Phase]
    batch_size: int | None = None
    _known: dict[PlanningKey, Floats] = field(default_factory=dict)

    def cycles(self, keys: Sequence[PlanningKey]) -> Floats:
        """[layer-phases, keys] what the fastest legal plan takes at least."""
        new = [each for each in dict.fromkeys(keys) if each not in self._known]
        if new:
            self._known.update(zip(new, self._computed(new).T, strict=True))
        return np.stack([self._known[each] for each in keys], axis=1)

    def _computed(self, keys: Sequence[PlanningKey]) -> Floats:
        rows = []
        for layer, before in layers_to_run(self.trace):
            for phase in self.phases:
                if phase not in layer.phases():
                    continue
                batch = self.batch_size or self.trace.batch_of(layer)
                problem = make_problem(layer.shape, phase, batch)
                operands = make_operands(layer, problem)
                known = cache(
                    partial(known_operands, problem=problem, operands=operands, before=before)
                )
                of_phase = PlannedBounds(problem, Counts(problem, operands), known)
                rows.append(
                    [
                        of_phase.cycles(k.space, k.machine, dataflows_of(phase, k.wanted))
                        for k in keys
                    ]
                )
        return np.array(rows, np.float64)
