"""What a trace takes by the planner's estimates: no product is formed, no schedule laid out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gscn_sim.config import Config
from gscn_sim.config.view import view
from gscn_sim.dataflows.registry import WantedDataflows, dataflows_of
from gscn_sim.errors import ConfigError
from gscn_sim.mapping.choose import estimated_cycles
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.estimate import EstimatedMachine
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.run.knowledge import known_operands, layers_to_run
from gscn_sim.stages import Caller
from workloads import Phase, Trace


def estimated_phases(
    trace: Trace,
    config: Config,
    phases: Sequence[Phase],
    *,
    batch_size: int | None,
    cache: Caller,
) -> Mapping[Phase, float]:
    """Cycles of each phase: of every layer the mean over its iterations.

    Raises:
        ConfigError: a layer-phase has no legal plan.
    """
    iterations = Counter((e.name, p) for e in trace.layers for p in phases if p in e.phases())
    found = dict.fromkeys(phases, 0.0)
    for layer, before in layers_to_run(trace):
        for phase in phases:
            if phase not in layer.phases():
                continue
            problem = make_problem(layer.shape, phase, batch_size or trace.batch_of(layer))
            operands = cache(make_operands, layer, problem)
            known = known_operands(config.policy.knowledge, problem, operands, before, cache)
            try:
                cycles = cache(
                    estimated_cycles,
                    problem,
                    Counts(problem, known, cache),
                    view(MappingSpace, config),
                    view(EstimatedMachine, config),
                    dataflows_of(phase, view(WantedDataflows, config)),
                )
            except ConfigError as error:
                raise ConfigError(f"layer {layer.name}, {phase}: {error}") from None
            found[phase] += cycles / iterations[layer.name, phase]
    return found
