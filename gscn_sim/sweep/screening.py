"""``--fidelity auto``: simulate what may be on the front, and prove of the rest that it is not.

A design is left out once others that were simulated are at least as good as its bounds in every
objective, and better in one: on each workload, which has a front of its own, and in the geometric
mean over all of them, by which the best are ranked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from gscn_sim.dataflows.base import Floats
from gscn_sim.run.memo import Cache
from gscn_sim.sweep.bounded import (
    BoundedWorkload,
    better_end,
    check_bounded,
    columns_of,
    needs_of,
)
from gscn_sim.sweep.evaluate import load_trace
from gscn_sim.sweep.intervals import metric_interval
from gscn_sim.sweep.points import Setting, Workload
from gscn_sim.sweep.search import Design, Objective, Scores, Search

BATCH = 8
"""Designs that are simulated before the others are looked at again."""


class Screened:
    """A search whose designs are simulated only while they may be on a front.

    Of each batch the most promising come first. Designs that are left out are proposed too, with
    ``fidelity`` "bound", and the search is told their bounds.

    Raises:
        SpaceError: an objective has no bound.
    """

    def __init__(
        self,
        search: Search,
        workloads: Sequence[Workload],
        setting: Setting,
        objectives: Sequence[Objective],
    ) -> None:
        for objective in objectives:
            check_bounded(objective)
        self.search, self.workloads, self.setting = search, workloads, setting
        self.objectives = objectives
        self.signs = np.array([-1.0 if o.maximize else 1.0 for o in objectives])
        self.simulated: list[Floats] = []  # [workloads + 1, objectives] costs of each
        self.asked: set[int] = set()
        self.told: dict[int, Sequence[Sequence[float]] | None] = {}
        self.cache = Cache()

    def batches(self) -> Iterator[Iterable[Design]]:
        """Batches of designs to simulate, then those that are left out."""
        for proposed in self.search.batches():
            designs = list(proposed)
            possible = [design for design in designs if design.config is not None]
            yield [design for design in designs if design.config is None]
            values = self._bounds(possible)
            waiting = self._most_promising_first(values)
            while waiting:
                waiting = [i for i in waiting if self._may_be_on_a_front(values[i])]
                batch, waiting = [possible[i] for i in waiting[:BATCH]], waiting[BATCH:]
                self.asked.update(design.position for design in batch)
                yield batch
            left_out = [i for i, d in enumerate(possible) if d.position not in self.asked]
            yield [dataclasses.replace(possible[i], fidelity="bound") for i in left_out]
            own = {d.position: self.told.get(d.position) for d in designs}
            own |= {possible[i].position: values[i].tolist() for i in left_out}
            self.search.tell(own)

    def tell(self, scores: Scores) -> None:
        """Take the values of designs that were simulated; those of others are known."""
        for position, values in scores.items():
            if position in self.asked:
                self.told[position] = values
                if values is not None:
                    self.simulated.append(self._costs(np.array(values)))

    def _bounds(self, designs: Sequence[Design]) -> Floats:
        """[designs, workloads, objectives] the better ends of the objectives."""
        configs = [design.config for design in designs if design.config is not None]
        found = np.zeros((len(configs), len(self.workloads), len(self.objectives)))
        if not configs:
            return found
        columns = columns_of(configs)
        for w, workload in enumerate(self.workloads):
            trace = load_trace(workload.path, workload.digest)
            batch = workload.batch_of(trace)
            needs = needs_of(columns)
            work = BoundedWorkload.of(trace, batch, self.setting, needs, self.cache)
            known = work.intervals(columns)
            for o, objective in enumerate(self.objectives):
                interval = metric_interval(objective.metric, known)
                found[:, w, o] = better_end(objective, interval, len(configs))
        return found

    def _costs(self, values: Floats) -> Floats:
        """[workloads + 1, objectives] values as costs, their geometric means last."""
        means = np.exp(np.log(values).mean(0, keepdims=True))
        return np.concatenate([values, means]) * self.signs

    def _may_be_on_a_front(self, values: Floats) -> bool:
        """Whether a design with these bounds is not beaten on every front."""
        if not self.simulated:
            return True
        bound, there = self._costs(values), np.stack(self.simulated)
        beaten = (there <= bound).all(2) & (there < bound).any(2)
        return not beaten.any(0).all()

    def _most_promising_first(self, values: Floats) -> list[int]:
        """By the product of all bounds, each as a cost."""
        costs = (np.log(values) * self.signs).sum((1, 2))
        return np.argsort(costs, kind="stable").tolist()
