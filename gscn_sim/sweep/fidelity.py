"""How a point's figures are found: by simulation, by estimate, or as bounds.

``exact`` simulates. ``bound`` gives what no simulation can be better than, ``estimate`` what the
planner expects, both without forming a product; figures that they know nothing of are left out.
``auto`` simulates designs that may be on the front of the objectives, and gives bounds of others.
"""

from __future__ import annotations

from collections.abc import Sequence

from gscn_sim.sweep.points import Setting, Workload
from gscn_sim.sweep.search import EXACT, Objective, Search, make_search
from gscn_sim.sweep.space import Space

FIDELITIES = (EXACT, "auto", "estimate", "bound")


def open_search(
    name: str,
    space: Space,
    workloads: Sequence[Workload],
    setting: Setting,
    *,
    budget: int | None,
    objectives: Sequence[Objective],
    seed: int = 0,
    fidelity: str = "exact",
) -> Search:
    """A search by name, which simulates what the fidelity says.

    Raises:
        SpaceError: an unknown search, one that lacks something, no bound, or no optuna.
    """
    if name == "exact":
        from gscn_sim.sweep.proof import ExactSearch

        return ExactSearch(space, workloads, setting, objectives, budget)
    search = make_search(name, space, budget=budget, objectives=objectives, seed=seed)
    if fidelity != "auto":
        return search
    from gscn_sim.sweep.screening import Screened

    return Screened(search, workloads, setting, objectives)
