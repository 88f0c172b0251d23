"""Which designs to look at: all of a grid, a Sobol sequence, or a multi-objective search.

A search is a deterministic function of the space, the seed and the results it is told. A sweep that
is resumed runs the search again from its start, and the store answers for what is already there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.sweep.axes import Choices, Range
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.metrics import check_metric_name
from gscn_sim.sweep.space import Params, Space

if TYPE_CHECKING:
    import optuna

SEARCHES = ("grid", "random", "nsga2", "tpe")
"""Of :func:`make_search`; ``exact`` is :mod:`gscn_sim.sweep.proof`."""
EXACT = "exact"
POPULATION = 32
TPE_BATCH = 8
FRUITLESS = 2000
PATIENCE = {"nsga2": 1000, "tpe": 200}
MAXIMIZED = (
    *("speedup", "speedup_over_dense", "backward_speedup", "backward_speedup_over_dense"),
    *("utilization", "work_reduction"),
)
"""How the names of metrics begin of which more is better."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric that is to become large or small."""

    metric: str
    maximize: bool


@dataclass(frozen=True, kw_only=True)
class Design:
    """One point of the space; ``config`` is None where ``error`` says why there is none.

    ``fidelity``: how its figures are to be found (:mod:`gscn_sim.sweep.fidelity`).
    """

    position: int
    params: Params
    config: Config | None
    error: str = ""
    fidelity: str = EXACT


Scores = Mapping[int, Sequence[Sequence[float]] | None]
"""Position -> [workloads][objectives] values, None for a failed design."""


class Search(Protocol):
    """Proposes designs batch by batch; is told a batch's scores before the next is asked for."""

    def batches(self) -> Iterator[Iterable[Design]]: ...
    def tell(self, scores: Scores) -> None: ...


def mean_score(values: Sequence[Sequence[float]]) -> list[float]:
    """[objectives] geometric means of [workloads][objectives] positive values."""
    return [math.exp(sum(map(math.log, each)) / len(each)) for each in zip(*values, strict=True)]


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Read ``speedup,energy_j * seconds`` (each may end in ``:max`` or ``:min``).

    Without that, more is better of what begins with the name of a metric of which more is better.

    Raises:
        SpaceError: an unknown metric or direction.
    """
    objectives = []
    for part in _parts(text):
        metric, _, direction = part.strip().partition(":")
        metric, direction = metric.strip(), direction.strip()
        check_metric_name(metric, "objective")
        if direction not in ("", "max", "min"):
            raise SpaceError(f"objective {metric}: direction must be max or min, not {direction!r}")
        maximize = direction == "max" or (not direction and metric.startswith(MAXIMIZED))
        objectives.append(Objective(metric=metric, maximize=maximize))
    return tuple(objectives)


def _parts(text: str) -> list[str]:
    """The text cut at its commas, but for those within brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def make_search(
    name: str, space: Space, *, budget: int | None, objectives: Sequence[Objective], seed: int
) -> Search:
    """Build a search by name; ``budget`` is the number of designs (None: all, grid only).

    Raises:
        SpaceError: an unknown search, a search without a budget, or no optuna.
    """
    if name == "grid":
        space.grid_size()
        return GridSearch(space, budget)
    if name not in SEARCHES:
        raise SpaceError(f"search must be one of {', '.join(SEARCHES)}, got {name!r}")
    if not space.axes:
        raise SpaceError(f"--search {name} needs at least one axis")
    if name == "random":
        return RandomSearch(space, budget, seed)
    return OptunaSearch(space, budget, objectives, name, seed)


class GridSearch:
    """Every combination that the constraints allow."""

    def __init__(self, space: Space, budget: int | None) -> None:
        self.space, self.budget = space, budget

    def batches(self) -> Iterator[Iterable[Design]]:
        yield itertools.islice(_allowed(self.space, self.space.grid()), self.budget)

    def tell(self, scores: Scores) -> None:
        return


class RandomSearch:
    """A scrambled Sobol sequence: random, but evenly spread."""

    def __init__(self, space: Space, budget: int | None, seed: int) -> None:
        self.space, self.budget, self.seed = space, budget, seed

    def batches(self) -> Iterator[Iterable[Design]]:
        yield itertools.islice(_allowed(self.space, self.points(), FRUITLESS), self.budget)

    def tell(self, scores: Scores) -> None:
        return

    def points(self) -> Iterator[Params]:
        """Distinct points, before constraints; ends when a long stretch brings no new one."""
        from scipy.stats import qmc

        axes = self.space.axes
        sequence = qmc.Sobol(len(axes), scramble=True, seed=self.seed)
        seen: set[tuple[Any, ...]] = set()
        fruitless = 0
        while fruitless < FRUITLESS:
            for row in sequence.random(64):
                params = {a.key: a.pick(float(f)) for a, f in zip(axes, row, strict=True)}
                key = tuple(params.values())
                fruitless = fruitless + 1 if key in seen else 0
                if key not in seen:
                    seen.add(key)
                    yield params


class OptunaSearch:
    """NSGA-II or TPE: each batch is proposed from the scores of those before."""

    def __init__(
        self,
        space: Space,
        budget: int | None,
        objectives: Sequence[Objective],
        algorithm: str,
        seed: int,
    ) -> None:
        try:
            import optuna
        except ImportError:
            raise SpaceError(
                f"--search {algorithm} needs optuna (pip install 'gscn-sim[search]'); "
                "grid and random do not"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = optuna.samplers
        self.batch_size = POPULATION if algorithm == "nsga2" else TPE_BATCH
        sampler = (
            samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
            if algorithm == "nsga2"
            else samplers.TPESampler(seed=seed, constant_liar=True)
        )
        self.space, self.budget, self.algorithm = space, budget, algorithm
        self.study = optuna.create_study(
            directions=["maximize" if o.maximize else "minimize" for o in objectives],
            sampler=sampler,
        )
        self.trials: dict[int, list[optuna.Trial]] = {}
        self.known: dict[tuple[Any, ...], int] = {}
        self.scores: dict[int, Sequence[float] | None] = {}

    def batches(self) -> Iterator[Iterable[Design]]:
        while self.budget is None or len(self.known) < self.budget:
            batch = self._batch()
            if not batch:
                return
            yield batch

    def tell(self, scores: Scores) -> None:
        means = {p: None if v is None else mean_score(v) for p, v in scores.items()}
        self.scores.update(means)
        for position in sorted(scores):
            for trial in self.trials.pop(position, []):
                self._answer(trial, position)

    def _batch(self) -> list[Design]:
        """New designs that the constraints allow; none when the search finds nothing new."""
        room = self.batch_size
        if self.budget is not None:
            room = min(room, self.budget - len(self.known))
        batch: list[Design] = []
        fruitless = 0
        while len(batch) < room and fruitless < PATIENCE[self.algorithm]:
            fruitless += 1
            trial = self.study.ask()
            params = {axis.key: _suggest(trial, axis) for axis in self.space.axes}
            key = tuple(params.values())
            if key in self.known:
                position = self.known[key]
                if position in self.scores:
                    self._answer(trial, position)
                else:
                    self.trials[position].append(trial)
                continue
            design = _design(self.space, params, len(self.known))
            if design is None:
                self._fail(trial)
                continue
            self.known[key] = design.position
            self.trials[design.position] = [trial]
            batch.append(design)
            fruitless = 0
        return batch

    def _answer(self, trial: optuna.Trial, position: int) -> None:
        values = self.scores[position]
        if values is None:
            self._fail(trial)
        else:
            self.study.tell(trial, list(values))

    def _fail(self, trial: optuna.Trial) -> None:
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.FAIL)


def _allowed(
    space: Space, points: Iterable[Params], patience: int | None = None
) -> Iterator[Design]:
    """The designs that the constraints allow; gives up after ``patience`` excluded in a row."""
    position = excluded = 0
    for params in points:
        design = _design(space, params, position)
        if design is None:
            excluded += 1
            if patience is not None and excluded >= patience:
                return
            continue
        position, excluded = position + 1, 0
        yield design


def _design(space: Space, params: Params, position: int) -> Design | None:
    """The design of a point, None where a constraint excludes it."""
    try:
        config = space.design(params)
    except ConfigError as error:
        return Design(position=position, params=params, config=None, error=str(error))
    if not space.allows(config):
        return None
    return Design(position=position, params=params, config=config)


def _suggest(trial: optuna.Trial, axis: Choices | Range) -> Any:
    """A value of an axis; ordered lists of numbers are searched by their place in the list."""
    if isinstance(axis, Range) and not axis.listed:
        if axis.whole:
            return trial.suggest_int(axis.key, int(axis.low), int(axis.high))
        return float(f"{trial.suggest_float(axis.key, axis.low, axis.high, log=axis.log):.12g}")
    values = axis.values()
    if any(isinstance(value, bool | str) for value in values):
        return values[trial.suggest_categorical(axis.key, list(range(len(values))))]
    return sorted(values)[trial.suggest_int(axis.key, 0, len(values) - 1)]
