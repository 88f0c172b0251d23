"""Design-space exploration: spaces, searches, a store that survives, and answers as tables."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gscn_sim.sweep.answers import best, main_effects, pareto, sensitivity
    from gscn_sim.sweep.axes import Choices, Range, parse_axis, parse_param
    from gscn_sim.sweep.evaluate import Evaluation
    from gscn_sim.sweep.expressions import Expression
    from gscn_sim.sweep.points import Point, Setting, Workload
    from gscn_sim.sweep.runner import Plan, run_sweep
    from gscn_sim.sweep.search import Objective, parse_objectives
    from gscn_sim.sweep.space import Space, read_space
    from gscn_sim.sweep.table import point_config, sweep_table

# Loaded when first asked for: pandas and SQLite take longer than a --help should.
_HOMES = {
    **dict.fromkeys(("best", "main_effects", "pareto", "sensitivity"), "answers"),
    **dict.fromkeys(("Choices", "Range", "parse_axis", "parse_param"), "axes"),
    "Evaluation": "evaluate",
    "Expression": "expressions",
    **dict.fromkeys(("Point", "Setting", "Workload"), "points"),
    **dict.fromkeys(("Plan", "run_sweep"), "runner"),
    **dict.fromkeys(("Objective", "parse_objectives"), "search"),
    **dict.fromkeys(("Space", "read_space"), "space"),
    **dict.fromkeys(("point_config", "sweep_table"), "table"),
}
__all__ = [
    "Choices",
    "Evaluation",
    "Expression",
    "Objective",
    "Plan",
    "Point",
    "Range",
    "Setting",
    "Space",
    "Workload",
    "best",
    "main_effects",
    "pareto",
    "parse_axis",
    "parse_objectives",
    "parse_param",
    "point_config",
    "read_space",
    "run_sweep",
    "sensitivity",
    "sweep_table",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
