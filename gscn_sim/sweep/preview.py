"""What a sweep would do, before it does it: its points, what constraints reject, its time."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from gscn_sim.errors import ConfigError
from gscn_sim.results.provenance import code_digest
from gscn_sim.sweep.evaluate import Evaluate, Evaluation, outcome
from gscn_sim.sweep.integrity import POINT_CELLS
from gscn_sim.sweep.opening import read_store
from gscn_sim.sweep.points import Point, Workload
from gscn_sim.sweep.runner import SweepPlan
from gscn_sim.sweep.search import FRUITLESS, Design, RandomSearch
from gscn_sim.sweep.space import Params

MAX_LOOKED = 10_000
"""Combinations that are looked at; of a larger grid as many, drawn at random."""
TRIED = 3
"""Points of each workload that are tried for their time."""
TRYING_SECONDS = 60.0
"""After which no further point is tried."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """How many of the designs looked at do not meet a constraint, and how many only that one."""

    constraint: str
    designs: int
    alone: int


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What :func:`preview` found.

    ``combinations`` is the grid's size before constraints, None for a search. ``designs`` is how
    many the sweep simulates, None if only its time says; ``exact`` whether all were looked at.
    Those in ``found`` are the designs looked at that the constraints allow, ``impossible`` how many
    of them no machine can have, which become rows with an error.
    """

    looked_at: int
    combinations: int | None
    rejected: int
    rejections: tuple[Rejection, ...]
    impossible: int
    designs: int | None
    exact: bool
    found: tuple[Design, ...]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What points took that were tried: ``seconds`` a point, the mean over the workloads.

    ``loading_seconds`` is what the first took longer: each worker loads and compiles once.
    """

    tried: int
    seconds: float
    loading_seconds: float


def preview(plan: SweepPlan) -> Preview:
    """Look at a plan's designs without simulating any.

    What a guided search will propose is not known: it is looked at as ``random``.

    Raises:
        SpaceError: a grid of more than a million, or an expression that cannot be evaluated.
    """
    combinations = plan.space.grid_size() if plan.search == "grid" else None
    budget = sys.maxsize if plan.budget is None else plan.budget
    wanted = budget if plan.search == "random" else sys.maxsize
    found, failures, ended = _look_at(plan, _candidates(plan, combinations), wanted)
    looked_at = len(found) + len(failures)
    exact = looked_at == combinations or (plan.search == "random" and ended)
    return Preview(
        looked_at=looked_at,
        combinations=combinations,
        rejected=len(failures),
        rejections=tuple(_rejections([e.text for e in plan.space.constraints], failures)),
        impossible=sum(design.config is None for design in found),
        designs=_designs(len(found), looked_at, combinations, budget, exact),
        exact=exact,
        found=tuple(found),
    )


def _look_at(
    plan: SweepPlan, candidates: Iterable[Params], wanted: int
) -> tuple[list[Design], list[list[str]], bool]:
    """Designs that are allowed, what each other one does not meet, and whether the search ended."""
    found: list[Design] = []
    failures: list[list[str]] = []
    in_a_row = 0
    for params in candidates:
        design, failed = _look(plan, params, len(found))
        if failed:
            failures.append(failed)
            in_a_row += 1
            if plan.search != "grid" and in_a_row >= FRUITLESS:
                return found, failures, True
        else:
            found.append(design)
            in_a_row = 0
        if len(found) >= wanted:
            return found, failures, True
        if len(found) + len(failures) >= MAX_LOOKED:
            return found, failures, False
    return found, failures, True


def _designs(
    found: int, looked_at: int, combinations: int | None, budget: int, exact: bool
) -> int | None:
    if combinations is not None:
        return min(budget, round(found * combinations / max(looked_at, 1)))
    if exact:
        return min(budget, found)
    return budget if budget < sys.maxsize else None


def _candidates(plan: SweepPlan, combinations: int | None) -> Iterable[Params]:
    if combinations is None:
        return RandomSearch(plan.space, plan.budget, plan.seed).points()
    if combinations <= MAX_LOOKED:
        return plan.space.grid()
    # Not every nth: where n and an axis's length have a common factor, values would be missed.
    chosen = set(random.Random(plan.seed).sample(range(combinations), MAX_LOOKED))
    return (params for place, params in enumerate(plan.space.grid()) if place in chosen)


def _look(plan: SweepPlan, params: Params, position: int) -> tuple[Design, list[str]]:
    """The design of a point, and the constraints that it does not meet."""
    try:
        config = plan.space.design(params)
    except ConfigError as error:
        return Design(position=position, params=params, config=None, error=str(error)), []
    design = Design(position=position, params=params, config=config)
    return design, plan.space.violations(config)


def _rejections(constraints: Sequence[str], failures: Sequence[list[str]]) -> Iterator[Rejection]:
    for text in dict.fromkeys(constraints):
        having = [failed for failed in failures if text in failed]
        alone = sum(set(failed) == {text} for failed in having)
        yield Rejection(constraint=text, designs=len(having), alone=alone)


def already_there(points: Iterable[Point], path: Path, *, retry_failed: bool = False) -> set[str]:
    """The keys of the points that a store has results of, from this version of the simulator.

    Raises:
        StoreError: the file is no store, or one of another version.
    """
    if not path.is_file():
        return set()
    places = [POINT_CELLS.index(name) for name in ("key", "code", "status")]
    ends = {"done"} if retry_failed else {"done", "failed"}
    known = set()
    for row in read_store(path).rows:
        if row.finished and row.cells is not None:
            key, code, status = (row.cells[place] for place in places)
            if code == code_digest() and status in ends:
                known.add(key)
    return known & {point.key for point in points}


def measure_pace(points: Sequence[Point], evaluate: Evaluate | None = None) -> Pace | None:
    """Try a few points in this process and keep nothing; None if none can be tried.

    Of each workload three, evenly spaced. They start with an empty memory of kernel results, so
    that a sweep that finds many of them in its cache is faster.
    """
    evaluate = evaluate or Evaluation(cache="off")
    times: dict[Workload, list[float]] = {}
    started = time.monotonic()
    for point in _spread([point for point in points if point.config is not None]):
        seconds = outcome(evaluate, point).elapsed_seconds
        times.setdefault(point.workload, []).append(seconds)
        if time.monotonic() - started > TRYING_SECONDS:
            break
    if not times:
        return None
    tried = sum(map(len, times.values()))
    loading = 0.0
    first = next(iter(times.values()))
    if len(first) > 1:  # the very first point has paid for loading and compiling
        paid = first.pop(0)
        loading = max(0.0, paid - fmean(first))
    seconds = fmean(fmean(each) for each in times.values())
    return Pace(tried=tried, seconds=seconds, loading_seconds=loading)


def _spread(points: Sequence[Point]) -> Iterator[Point]:
    for workload in dict.fromkeys(point.workload for point in points):
        own = [point for point in points if point.workload == workload]
        count = min(TRIED, len(own))
        step = (len(own) - 1) / max(count - 1, 1)
        yield from (own[round(index * step)] for index in range(count))
