"""``--search exact``: the best design of a space, with a proof from bounds.

Designs are simulated in the order of their bounds, the most promising first. As soon as no bound of
the rest is better than the best design found, it is the best of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gscn_sim.dataflows.base import Floats
from gscn_sim.errors import ConfigError
from gscn_sim.problem.geometry import Ints
from gscn_sim.sweep.bounded import (
    ROUNDING,
    BoundedWorkload,
    LatticeColumns,
    better_end,
    check_bounded,
)
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.evaluate import load_trace
from gscn_sim.sweep.intervals import Interval, metric_interval
from gscn_sim.sweep.lattice import Lattice
from gscn_sim.sweep.points import Setting, Workload
from gscn_sim.sweep.search import Design, Objective, Scores, mean_score
from gscn_sim.sweep.space import Space

CHUNK = 1 << 16
BATCH = 4
"""Designs that are simulated before the best is looked at again."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What an exact search has proved so far.

    ``designs``: those that the constraints allow. ``undecided``: those not simulated whose bound is
    better than ``value``. ``next_best``: no other design is better than this. Positions are places
    in the grid. Without a ``best`` every design that was simulated failed.
    """

    designs: int
    simulated: int
    undecided: int
    metric: str
    maximize: bool
    best: int | None
    value: float
    next_best: float

    @property
    def is_complete(self) -> bool:
        """Whether no other design can be better."""
        return self.best is not None and not self.undecided

    @property
    def margin(self) -> float:
        """By which share every other design is worse; below 0, by which one may be better."""
        if self.maximize:
            return 1 - self.next_best / self.value
        return self.next_best / self.value - 1


class ExactSearch:
    """Best first by bound, of every design of a space.

    ``position`` of a design is its place in the grid.

    Raises:
        SpaceError: more than one objective, one without a bound, no design, or too many.
    """

    def __init__(
        self,
        space: Space,
        workloads: Sequence[Workload],
        setting: Setting,
        objectives: Sequence[Objective],
        budget: int | None,
    ) -> None:
        if len(objectives) != 1:
            raise SpaceError("--search exact takes one metric: the best design of several is none")
        (self.objective,) = objectives
        check_bounded(self.objective)
        self.budget = budget
        self.lattice = Lattice(space)
        self.sign = -1.0 if self.objective.maximize else 1.0
        bounds = self._bounds(workloads, setting)
        order = np.argsort(bounds, kind="stable")
        self.order: Ints = order[: int(np.isfinite(bounds).sum())]
        self.bounds: Floats = bounds[self.order]
        if not len(self.order):
            raise SpaceError("no design meets the constraints")
        self.asked = 0
        self.scores: dict[int, float] = {}

    def batches(self) -> Iterator[Iterable[Design]]:
        """The next most promising designs, until the rest is proved worse or the budget ends."""
        while self._undecided() and (self.budget is None or self.asked < self.budget):
            room = BATCH if self.budget is None else min(BATCH, self.budget - self.asked)
            batch = self.order[self.asked : self.asked + room].tolist()
            self.asked += len(batch)
            yield [self._design(position) for position in batch]

    def tell(self, scores: Scores) -> None:
        """Take the values of a batch."""
        for position, values in scores.items():
            self.scores[position] = np.inf if values is None else self.sign * mean_score(values)[0]

    @property
    def proof(self) -> Proof:
        """What is proved by what has been told."""
        ranked = sorted(self.scores, key=lambda p: (self.scores[p], p))
        told = [self.scores[position] for position in ranked]
        best = ranked[0] if told and np.isfinite(told[0]) else None
        rest = self.bounds[self._known() :]
        others = min([*told[1:2], *rest[:1]], default=np.inf)
        return Proof(
            designs=len(self.order),
            simulated=len(self.scores),
            undecided=self._undecided(),
            metric=self.objective.metric,
            maximize=self.objective.maximize,
            best=best,
            value=self.sign * told[0] if best is not None else np.nan,
            next_best=self.sign * others,
        )

    def _known(self) -> int:
        """How many designs, in order, have been told of: a budget may end within a batch."""
        return next(
            (n for n, p in enumerate(self.order[: self.asked].tolist()) if p not in self.scores),
            self.asked,
        )

    def _undecided(self) -> int:
        best = min(self.scores.values(), default=np.inf)
        return int(np.searchsorted(self.bounds[self._known() :], best, side="left"))

    def _design(self, position: int) -> Design:
        params = self.lattice.params(position)
        try:
            config = self.lattice.space.design(params)
        except ConfigError as error:
            return Design(position=position, params=params, config=None, error=str(error))
        return Design(position=position, params=params, config=config)

    def _bounds(self, workloads: Sequence[Workload], setting: Setting) -> Floats:
        """[designs] the objective's bound, as a cost; infinite where no design is or is allowed."""
        columns = LatticeColumns(self.lattice)
        known = []
        for workload in workloads:
            trace = load_trace(workload.path, workload.digest)
            own = workload.batch_size == trace.batch_size
            batch = None if own else workload.batch_size
            known.append(BoundedWorkload.of(trace, batch, setting, columns.needs))
        found = np.full(self.lattice.size, np.inf)
        for first in range(0, self.lattice.size, CHUNK):
            positions = np.arange(first, min(first + CHUNK, self.lattice.size))
            positions = positions[self.lattice.allowed(positions)]
            at, valid = columns.at(positions)
            positions = positions[valid]
            if len(positions):
                at = {name: values[valid] for name, values in at.items()}
                found[positions] = self._costs(
                    [each.intervals(at) for each in known], len(positions)
                )
        return found

    def _costs(self, known: Sequence[Mapping[str, Interval]], count: int) -> Floats:
        """[designs] geometric means over the workloads of the better end of each interval."""
        logs = np.zeros(count)
        for each in known:
            interval = metric_interval(self.objective.metric, each)
            logs += np.log(better_end(self.objective, interval, count))
        # As means are rounded too, a little better than that.
        means: Floats = np.exp(logs / len(known)) * (1 - self.sign * ROUNDING)
        return self.sign * means
