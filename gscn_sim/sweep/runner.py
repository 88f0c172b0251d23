"""A sweep: designs from a search, on every workload, into a store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gscn_sim.results.provenance import code_digest, versions
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.evaluate import Evaluate, Evaluation
from gscn_sim.sweep.fidelity import FIDELITIES, open_search
from gscn_sim.sweep.metrics import metric_value
from gscn_sim.sweep.points import Point, Setting, Workload
from gscn_sim.sweep.schedulers import Scheduler, open_scheduler
from gscn_sim.sweep.search import Design, Objective, Scores, Search
from gscn_sim.sweep.space import Space
from gscn_sim.sweep.store import Store

POLL_SECONDS = 0.5
MAX_COUNTED = 2_000
"""Designs of a grid whose constraints are looked at only to say how many points there will be."""
DEFAULT_OBJECTIVES = (
    Objective(metric="speedup", maximize=True),
    Objective(metric="energy_j", maximize=False),
    Objective(metric="area_mm2", maximize=False),
)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a sweep is; ``message`` is a sentence for people, if there is one to say."""

    finished: int
    failed: int
    reused: int
    total: int | None
    message: str = ""


Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """All that a sweep is to do, but for how."""

    space: Space
    workloads: Sequence[Workload]
    setting: Setting
    search: str = "grid"
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES
    budget: int | None = None
    seed: int = 0
    fidelity: str = "exact"

    def __post_init__(self) -> None:
        if not self.workloads:
            raise SpaceError("a sweep needs at least one trace")
        if self.fidelity not in FIDELITIES:
            raise SpaceError(f"fidelity must be one of {', '.join(FIDELITIES)}")
        if self.search == "exact" and self.fidelity != "exact":
            raise SpaceError(f"--search exact simulates: it takes no --fidelity {self.fidelity}")
        if self.search not in ("grid", "exact") and self.budget is None:
            raise SpaceError(f"--search {self.search} needs a --budget, as 200 or 30min")

    def description(self) -> dict[str, Any]:
        """What makes it the same sweep again; neither budget nor workers do."""
        objectives = [[o.metric, o.maximize] for o in self.objectives]
        return {
            "space": self.space.description(),
            "workloads": [[w.network, w.digest, w.batch_size] for w in self.workloads],
            "setting": [sorted(self.setting.phases), self.setting.gpu, self.setting.gpu_model],
            "search": self.search,
            "seed": None if self.search in ("grid", "exact") else self.seed,
            "objectives": objectives if self.is_told else None,
            **({} if self.fidelity == "exact" else {"fidelity": self.fidelity}),
        }

    def open_search(self) -> Search:
        """The search, from its beginning (:func:`gscn_sim.sweep.fidelity.open_search`)."""
        return open_search(
            self.search,
            self.space,
            self.workloads,
            self.setting,
            budget=self.budget,
            objectives=self.objectives,
            seed=self.seed,
            fidelity=self.fidelity,
        )

    @property
    def is_told(self) -> bool:
        """Whether what is looked at depends on the results so far."""
        return self.search in ("nsga2", "tpe", "exact") or self.fidelity == "auto"


@dataclass(kw_only=True)
class _Tally:
    report: Report
    total: int | None
    started: float = field(default_factory=time.monotonic)
    finished: int = 0
    failed: int = 0
    reused: int = 0

    def say(self, message: str = "") -> None:
        self.report(
            Progress(
                finished=self.finished,
                failed=self.failed,
                reused=self.reused,
                total=self.total,
                message=message,
            )
        )

    def estimate(self, workers: int) -> None:
        """After the first few points: how long the rest will take."""
        ran = self.finished - self.reused
        if self.total is None or ran != 2 * workers:
            return
        left = self.total - self.finished
        if not left:
            return
        pace = (time.monotonic() - self.started) / ran
        self.say(f"{pace:.2g} s a point: about {in_words(pace * left)} for the other {left:,}")


def run_sweep(
    plan: SweepPlan,
    path: str | Path,
    *,
    workers: int = 1,
    minutes: float | None = None,
    retry_failed: bool = False,
    evaluate: Evaluate | None = None,
    code: str | None = None,
    scheduler: Scheduler | None = None,
    report: Report = lambda progress: None,
    command: str | None = None,
    search: Search | None = None,
) -> int:
    """Run what is missing of a sweep into the store ``path``; return the sweep's number there.

    After ``minutes`` no new point is started. Points that failed are rows with their error and are
    left alone unless ``retry_failed``. Points are evaluated by ``scheduler``, or by ``workers``
    processes here with ``evaluate``, an :class:`Evaluation` by default; ``code``
    names its version (default: digest of the simulator's own code); results of another version are
    not used. ``search`` is that of the plan (:meth:`SweepPlan.open_search`) if the
    caller wants to ask it something afterwards.

    Raises:
        SpaceError: the constraints allow no design.
        StoreError: the store cannot be used.
    """
    search = search or plan.open_search()
    opened = (
        open_scheduler("local", evaluate or Evaluation(), workers, plan.workloads)
        if scheduler is None
        else nullcontext(scheduler)
    )
    with opened as at_work, Store(path, code=code or code_digest(), versions=versions()) as store:
        sweep = store.sweep_id(plan.description(), command)
        tally = _Tally(report=report, total=_total(plan))
        for message in _notices(store, sweep, plan):
            tally.say(message)
        deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        for designs in search.batches():
            batch = _Batch(plan, store, sweep, tally, deadline, retry_failed)
            batch.run(designs, at_work, workers)
            search.tell(batch.scores())
            if time.monotonic() >= deadline:
                tally.say(f"stopped after {minutes:g} minutes; the same command goes on")
                break
        if not tally.finished and time.monotonic() < deadline:
            raise SpaceError("no design meets the constraints")
        tally.say()
        return sweep


def design_points(plan: SweepPlan, design: Design) -> Iterator[Point]:
    """The points of a design: one on each workload."""
    for index, workload in enumerate(plan.workloads):
        yield Point(
            position=design.position * len(plan.workloads) + index,
            params=design.params,
            config=design.config,
            workload=workload,
            setting=plan.setting,
            error=design.error,
            fidelity=plan.fidelity if plan.fidelity in ("bound", "estimate") else design.fidelity,
        )


class _Batch:
    """Points that are proposed together: claimed, run or looked up, and scored."""

    def __init__(
        self,
        plan: SweepPlan,
        store: Store,
        sweep: int,
        tally: _Tally,
        deadline: float,
        retry_failed: bool,
    ) -> None:
        self.plan, self.store, self.sweep, self.tally = plan, store, sweep, tally
        self.deadline, self.retry_failed = deadline, retry_failed
        self.elsewhere: list[Point] = []
        self.points: list[Point] = []
        self.ended: set[int] = set()  # positions of points

    def run(self, designs: Iterable[Design], scheduler: Scheduler, workers: int) -> None:
        """Bring every point of the designs to an end, here or by waiting for who has it."""
        waiting: Iterable[Point] = self._points(designs)
        while True:
            for point, outcome in scheduler.results(self._claimed(waiting)):
                self.store.finish(point, outcome)
                self.ended.add(point.position)
                self.tally.finished += 1
                self.tally.failed += outcome.metrics is None
                self.tally.say()
                self.tally.estimate(workers)
            if not self.elsewhere or time.monotonic() >= self.deadline:
                return
            waiting, self.elsewhere = self.elsewhere, []
            time.sleep(POLL_SECONDS)

    def scores(self) -> Scores:
        """Of each design that has come to an end everywhere; searches that need none get none."""
        found: dict[int, list[dict[str, Any] | None]] = {}
        for point in self.points:
            if point.position in self.ended:
                design = point.position // len(self.plan.workloads)
                found.setdefault(design, []).append(self.store.result(point))
        return {
            design: self._score(rows)
            for design, rows in found.items()
            if len(rows) == len(self.plan.workloads)
        }

    def _score(self, rows: Sequence[dict[str, Any] | None]) -> Sequence[Sequence[float]] | None:
        scores = []
        for row in rows:
            values = [metric_value(o.metric, row) if row else None for o in self.plan.objectives]
            numbers = [v for v in values if v is not None and v > 0 and math.isfinite(v)]
            if len(numbers) < len(values):
                return None
            scores.append(numbers)
        return scores

    def _points(self, designs: Iterable[Design]) -> Iterator[Point]:
        for design in designs:
            for point in design_points(self.plan, design):
                if self.plan.is_told:
                    self.points.append(point)
                yield point

    def _claimed(self, points: Iterable[Point]) -> Iterator[Point]:
        """The points that are ours to run, each claimed when it is asked for."""
        for point in points:
            if time.monotonic() >= self.deadline:
                return
            claim = self.store.claim(self.sweep, point, retry_failed=self.retry_failed)
            if claim == "mine":
                yield point
            elif claim == "other":
                self.elsewhere.append(point)
            else:
                self.ended.add(point.position)
                self.tally.finished += 1
                self.tally.reused += 1
                self.tally.say()


def _total(plan: SweepPlan) -> int | None:
    """How many points there will be, None if the constraints or the search decide on the way."""
    if plan.search != "grid":
        return None if plan.budget is None else plan.budget * len(plan.workloads)
    designs = plan.space.grid_size()
    if plan.space.constraints and designs > MAX_COUNTED:
        return None
    if plan.space.constraints:
        designs = sum(_is_allowed(plan.space, params) for params in plan.space.grid())
    return min(designs, plan.budget or designs) * len(plan.workloads)


def _is_allowed(space: Space, params: Mapping[str, Any]) -> bool:
    from gscn_sim.errors import ConfigError

    try:
        return space.allows(space.design(params))
    except ConfigError:
        return True  # it becomes a row with this error


def _notices(store: Store, sweep: int, plan: SweepPlan) -> Iterator[str]:
    """What a resumed sweep should know before it goes on."""
    if store.mended:
        yield f"{store.path}: {store.mended}; what is damaged or missing runs again"
    if store.other_code(sweep):
        yield "the simulator has changed since this sweep last ran: its points are run again"
    for workload in plan.workloads:
        count = store.earlier_traces(workload.path, workload.digest)
        if count:
            yield (
                f"{workload.path} has changed: {count} points here are of its earlier content "
                "and are kept, but are not used"
            )


def in_words(seconds: float) -> str:
    """A waiting time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
