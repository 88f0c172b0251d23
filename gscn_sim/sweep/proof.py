"""``--search exact``: the best design of a space, with a proof from bounds.

Designs are simulated in the order of their bounds, the most promising first. As soon as no bound
of the rest is better than the best design found, it is the best of all.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gscn_sim.bounds.planned_network import PlannedNetwork, planning_key
from gscn_sim.dataflows.base import Floats
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
from workloads import Phase

CHUNK = 1 << 16
BATCH = 4
"""Designs that are simulated before the best is looked at again."""
REFINED = 64
"""Designs that are given the bounds of their plans at once: a trace is read for each lot."""


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

    Every design has a bound that knows no plan; the most promising, a few at a time, are given the
    nearer one of their plans. The design whose bound is then the least is simulated. ``position``
    of a design is its place in the grid.

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
        self.columns = LatticeColumns(self.lattice)
        self.workloads = [_Bounded.of(each, setting, self.columns) for each in workloads]
        bounds = self._bounds()
        order = np.argsort(bounds, kind="stable")
        self.order: Ints = order[: int(np.isfinite(bounds).sum())]
        self.bounds: Floats = bounds[self.order]
        if not len(self.order):
            raise SpaceError("no design meets the constraints")
        self.refined = 0  # of the order, so many have bounds of their plans,
        self.waiting: list[tuple[float, int]] = []  # a heap of those that were not asked for
        self.asked: dict[int, float] = {}
        self.scores: dict[int, float] = {}

    def batches(self) -> Iterator[Iterable[Design]]:
        """The next most promising designs, until the rest is proved worse or the budget ends."""
        while self.budget is None or len(self.asked) < self.budget:
            room = BATCH if self.budget is None else min(BATCH, self.budget - len(self.asked))
            batch = [position for _ in range(room) if (position := self._next()) is not None]
            if not batch:
                return
            yield [self._design(position) for position in batch]

    def tell(self, scores: Scores) -> None:
        """Take the values of a batch."""
        for position, values in scores.items():
            value = np.inf if values is None else self.sign * mean_score(values)[0]
            self.scores[position] = float(value)

    @property
    def proof(self) -> Proof:
        """What is proved by what has been told."""
        ranked = sorted(self.scores, key=lambda p: (self.scores[p], p))
        told = [self.scores[position] for position in ranked]
        best = ranked[0] if told and np.isfinite(told[0]) else None
        # A budget may end before all that were asked for are told of.
        left = [bound for p, bound in self.asked.items() if p not in self.scores]
        left += [bound for bound, _ in self.waiting]
        rest = self.bounds[self.refined :]
        value = told[0] if best is not None else np.inf
        undecided = sum(bound < value for bound in left) + np.searchsorted(rest, value)
        return Proof(
            designs=len(self.order),
            simulated=len(self.scores),
            undecided=int(undecided),
            metric=self.objective.metric,
            maximize=self.objective.maximize,
            best=best,
            value=self.sign * value if best is not None else np.nan,
            next_best=self.sign * min([*told[1:2], *left, *rest[:1]], default=np.inf),
        )

    def _next(self) -> int | None:
        """The design with the least bound, of those that may be better than the best one."""
        best = min(self.scores.values(), default=np.inf)
        while True:
            least = self.waiting[0][0] if self.waiting else np.inf
            further = self.bounds[self.refined] if self.refined < len(self.order) else np.inf
            if min(least, further) >= best:
                return None
            if least <= further:
                bound, position = heapq.heappop(self.waiting)
                self.asked[position] = bound
                return position
            self._refine()

    def _refine(self) -> None:
        """Give the next designs of the order the bounds of their plans."""
        positions = self.order[self.refined : self.refined + REFINED]
        bounds = self.bounds[self.refined : self.refined + REFINED]
        self.refined += len(positions)
        configs = [self.lattice.space.design(self.lattice.params(p)) for p in positions.tolist()]
        at, _ = self.columns.at(positions)
        keys = [planning_key(config) for config in configs]
        known = [each.work.intervals(at, each.planned.cycles(keys)) for each in self.workloads]
        nearer = np.maximum(bounds, self._costs(known, len(positions)))
        for bound, position in zip(nearer.tolist(), positions.tolist(), strict=True):
            heapq.heappush(self.waiting, (bound, position))

    def _design(self, position: int) -> Design:
        params = self.lattice.params(position)
        return Design(position=position, params=params, config=self.lattice.space.design(params))

    def _bounds(self) -> Floats:
        """[designs] the objective's bound, as a cost; infinite where no design is or is allowed."""
        found = np.full(self.lattice.size, np.inf)
        for first in range(0, self.lattice.size, CHUNK):
            positions = np.arange(first, min(first + CHUNK, self.lattice.size))
            positions = positions[self.lattice.allowed(positions)]
            at, valid = self.columns.at(positions)
            positions = positions[valid]
            if len(positions):
                at = {name: values[valid] for name, values in at.items()}
                known = [each.work.intervals(at) for each in self.workloads]
                found[positions] = self._costs(known, len(positions))
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


@dataclass(frozen=True, kw_only=True)
class _Bounded:
    """A workload's bounds: those that know no plan, and those of plans."""

    work: BoundedWorkload
    planned: PlannedNetwork

    @classmethod
    def of(cls, workload: Workload, setting: Setting, columns: LatticeColumns) -> _Bounded:
        trace = load_trace(workload.path, workload.digest)
        batch = None if workload.batch_size == trace.batch_size else workload.batch_size
        phases = [Phase(name) for name in setting.phases]
        return cls(
            work=BoundedWorkload.of(trace, batch, setting, columns.needs),
            planned=PlannedNetwork(trace=trace, phases=phases, batch_size=batch),
        )
