"""What a trace takes by the planner's estimates: no product is formed, no schedule laid out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gscn_sim.config import Config
from gscn_sim.mapping.choose import estimated_cycles
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.run.knowledge import known_operands, layers_to_run
from gscn_sim.run.planner import ask_planner
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
            cycles = ask_planner(estimated_cycles, layer.name, problem, known, config, cache)
            found[phase] += cycles / iterations[layer.name, phase]
    return found
