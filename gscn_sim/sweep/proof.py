"""``--search exact``: the best design of a space, with a proof from bounds.

Designs are taken in the order of their bounds, the most promising first, and simulated part by
part: what a part takes replaces its bound. As soon as no bound of the rest is better than the best
design found, it is the best of all.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gscn_sim.dataflows.base import Floats
from gscn_sim.problem.geometry import Ints
from gscn_sim.sweep.bounded import (
    ROUNDING,
    BoundedWorkload,
    LatticeColumns,
    better_end,
    check_bounded,
    has_parts,
)
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.evaluate import load_trace
from gscn_sim.sweep.intervals import Interval, metric_interval
from gscn_sim.sweep.lattice import Lattice
from gscn_sim.sweep.planned_network import PlannedNetwork, planning_key
from gscn_sim.sweep.points import Setting, Workload
from gscn_sim.sweep.search import EXACT, Design, Objective, Scores, mean_score
from gscn_sim.sweep.space import Space
from workloads import Phase

CHUNK = 1 << 16
BATCH = 4
"""Designs that are simulated before the best is looked at again."""
PARTS = ("1/8", "1/4", "1/2", EXACT)
"""Shares of a design's layer-phases that are simulated before its bound is looked at again."""
REFINED = 64
"""Designs that are given the bounds of their plans at once: a trace is read for each lot."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What an exact search has proved so far.

    ``designs``: those that the constraints allow; ``simulated``, ``in_part``: of these.
    ``undecided``: those not simulated whose bound is better than ``value``. ``next_best``: no
    other design is better than this. Positions are places in the grid. Without a ``best`` every
    design that was simulated failed.
    """

    designs: int
    simulated: int
    in_part: int
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
    nearer one of their plans. Of the design whose bound is then the least the next part is
    simulated; of the first few all, so that there is something to compare with. ``position`` of a
    design is its place in the grid.

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
        self.waiting: list[tuple[float, int]] = []  # a heap of those that may be asked for
        self.part: dict[int, str] = {}  # that was asked for last
        self.asked: dict[int, float] = {}  # bounds of those that nothing was told of since
        self.has_parts = has_parts(self.objective)
        self.scores: dict[int, float] = {}

    def batches(self) -> Iterator[Iterable[Design]]:
        """The next most promising designs, until the rest is proved worse or the budget ends."""
        while batch := [p for _ in range(BATCH) if (p := self._next()) is not None]:
            yield [self._design(position) for position in batch]

    def tell(self, scores: Scores) -> None:
        """Take the values of a batch."""
        for position, values in scores.items():
            bound = self.asked.pop(position)
            value = np.inf if values is None else self.sign * mean_score(values)[0]
            if self.part[position] == EXACT or values is None:
                self.scores[position] = float(value)
            else:
                # As sums are rounded in another order, a little better than that.
                better = float(value) * (1 - self.sign * ROUNDING)
                heapq.heappush(self.waiting, (max(bound, better), position))

    @property
    def proof(self) -> Proof:
        """What is proved by what has been told."""
        ranked = sorted(self.scores, key=lambda p: (self.scores[p], p))
        told = [self.scores[position] for position in ranked]
        best = ranked[0] if told and np.isfinite(told[0]) else None
        # A budget may end before all that were asked for are told of.
        left = [*self.asked.values(), *(bound for bound, _ in self.waiting)]
        rest = self.bounds[self.refined :]
        value = told[0] if best is not None else np.inf
        undecided = sum(bound < value for bound in left) + np.searchsorted(rest, value)
        return Proof(
            designs=len(self.order),
            simulated=len(self.scores),
            in_part=len(self.part.keys() - self.scores.keys()),
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
        while self.budget is None or len(self.part) < self.budget or self._is_begun():
            least = self.waiting[0][0] if self.waiting else np.inf
            further = self.bounds[self.refined] if self.refined < len(self.order) else np.inf
            if min(least, further) >= best:
                return None
            if least <= further:
                bound, position = heapq.heappop(self.waiting)
                self.asked[position] = bound
                self.part[position] = self._next_part(position)
                return position
            self._refine()
        return None

    def _next_part(self, position: int) -> str:
        if not self.has_parts or len(self.part) < BATCH:
            return EXACT
        before = self.part.get(position)
        return PARTS[0 if before is None else PARTS.index(before) + 1]

    def _is_begun(self) -> bool:
        """Whether the most promising design has been simulated in part."""
        return bool(self.waiting) and self.waiting[0][1] in self.part

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
        config = self.lattice.space.design(params)
        fidelity = self.part[position]
        return Design(position=position, params=params, config=config, fidelity=fidelity)

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
        batch = workload.batch_of(trace)
        phases = [Phase(name) for name in setting.phases]
        return cls(
            work=BoundedWorkload.of(trace, batch, setting, columns.needs),
            planned=PlannedNetwork(trace=trace, phases=phases, batch_size=batch),
        )
