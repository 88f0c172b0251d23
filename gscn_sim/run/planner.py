"""Questions to the planner about a layer-phase, with all that it may know."""

from __future__ import annotations

from collections.abc import Callable

from gscn_sim.config import Config
from gscn_sim.config.view import view
from gscn_sim.dataflows.registry import WantedDataflows, dataflows_of
from gscn_sim.errors import ConfigError
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.estimate import EstimatedMachine
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.problem.geometry import Problem
from gscn_sim.problem.operands import Operands
from gscn_sim.stages import Caller, Result


def ask_planner(
    question: Callable[..., Result],
    layer: str,
    problem: Problem,
    known: Operands,
    config: Config,
    caller: Caller,
) -> Result:
    """The planner's answer (its shortlist, its estimate) by what is known of the operands.

    Raises:
        ConfigError: no plan is legal; the message names the layer and the phase.
    """
    try:
        return caller(
            question,
            problem,
            Counts(problem, known, caller),
            view(MappingSpace, config),
            view(EstimatedMachine, config),
            dataflows_of(problem.phase, view(WantedDataflows, config)),
        )
    except ConfigError as error:
        raise ConfigError(f"layer {layer}, {problem.phase}: {error}") from None
