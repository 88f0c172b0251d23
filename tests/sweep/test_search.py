from __future__ import annotations

import math

import pytest

from gscn_sim.sweep import Choices, Expression, Objective, Range, Space, parse_objectives
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.search import make_search

OBJECTIVES = (
    Objective(metric="speedup", maximize=True),
    Objective(metric="area_mm2", maximize=False),
)
SPACE = Space(
    axes=(
        Range(key="pe.accumulator_banks", low=1, high=128),
        Range(key="array.clock_ghz", low=0.5, high=2.0),
        Choices(key="pe.bank_hash", options=("xor", "modulo")),
    ),
    constraints=(Expression("pe.accumulator_banks * array.clock_ghz <= 128"),),
)


def score(params) -> tuple[float, float]:
    """Speed saturates in banks, area is linear in them: a front of its own."""
    banks, clock = params["pe.accumulator_banks"], params["array.clock_ghz"]
    speed = clock * math.log2(1 + banks) * (1.1 if params["pe.bank_hash"] == "xor" else 1.0)
    return speed, float(banks)


def explore(name: str, budget: int, seed: int = 0, space: Space = SPACE):
    search = make_search(name, space, budget=budget, objectives=OBJECTIVES, seed=seed)
    seen = []
    for batch in search.batches():
        designs = list(batch)
        seen += [design.params for design in designs]
        assert all(space.allows(design.config) for design in designs)
        search.tell({design.position: [score(design.params)] for design in designs})
    return seen


@pytest.mark.parametrize("name", ["random", "nsga2", "tpe"])
def test_a_search_repeats_itself_keeps_its_budget_and_never_a_point(name):
    first = explore(name, 50)
    assert len(first) == 50
    assert len({tuple(params.items()) for params in first}) == 50
    assert first == explore(name, 50)
    assert first != explore(name, 50, seed=1)


@pytest.mark.parametrize("name", ["random", "nsga2", "tpe"])
def test_a_larger_budget_begins_with_the_smaller_one(name):
    whole = 64 if name == "nsga2" else 48  # whole generations and batches
    assert explore(name, 2 * whole)[:whole] == explore(name, whole)


def hypervolume(points) -> float:
    """Area that a set dominates above speed 0 and below 128 banks."""
    front = sorted({score(params) for params in points}, key=lambda s: (-s[0], s[1]))
    volume, limit = 0.0, 128.0
    for speed, banks in front:
        if banks < limit:
            volume += speed * (limit - banks)
            limit = banks
    return volume


def test_nsga2_covers_more_than_chance_does():
    searched = [hypervolume(explore("nsga2", 320, seed)) for seed in range(3)]
    random = [hypervolume(explore("random", 320, seed)) for seed in range(3)]
    assert sum(searched) > sum(random)


@pytest.mark.parametrize("name", ["random", "nsga2", "tpe"])
def test_a_small_space_ends_before_its_budget(name):
    space = Space(axes=(Choices(key="pe.accumulator_banks", options=(16, 32, 64)),))

    def all_of(budget):
        search = make_search(name, space, budget=budget, objectives=OBJECTIVES, seed=0)
        for batch in search.batches():
            designs = list(batch)
            search.tell({d.position: [(1.0, 1.0)] for d in designs})
            yield from designs

    found = {d.params["pe.accumulator_banks"] for d in all_of(100)}
    assert found == {16, 32, 64}


@pytest.mark.parametrize("name", ["grid", "random", "nsga2"])
def test_constraints_that_nothing_meets_give_no_design(name):
    space = Space(
        axes=(
            Range(key="array.clock_ghz", low=0.5, high=2.0, count=None if name != "grid" else 9),
        ),
        constraints=(Expression("array.clock_ghz > 3"),),
    )
    search = make_search(name, space, budget=10, objectives=OBJECTIVES, seed=0)
    assert [design for batch in search.batches() for design in batch] == []


def test_failed_designs_do_not_stop_a_search():
    search = make_search("nsga2", SPACE, budget=96, objectives=OBJECTIVES, seed=0)
    count = 0
    for batch in search.batches():
        designs = list(batch)
        count += len(designs)
        search.tell({d.position: None if d.position % 2 else [score(d.params)] for d in designs})
    assert count == 96


def test_an_impossible_combination_is_a_design_with_its_error():
    space = Space(
        axes=(
            Choices(key="dram.row_bytes", options=(2048, 1056)),
            Choices(key="dram.burst_bytes", options=(32, 96)),
        )
    )
    search = make_search("grid", space, budget=None, objectives=OBJECTIVES, seed=0)
    designs = [design for batch in search.batches() for design in batch]
    assert [bool(design.error) for design in designs] == [False, True, False, True]
    assert "must be a multiple of dram.burst_bytes" in designs[1].error


def test_objectives():
    assert parse_objectives("speedup,energy_j,cycles:max") == (
        Objective(metric="speedup", maximize=True),
        Objective(metric="energy_j", maximize=False),
        Objective(metric="cycles", maximize=True),
    )
    with pytest.raises(SpaceError, match="objective 'speed' must be one of cycles, seconds"):
        parse_objectives("speed")
    with pytest.raises(SpaceError, match="direction must be max or min"):
        parse_objectives("speedup:up")


def test_a_search_needs_axes_and_a_known_name():
    with pytest.raises(SpaceError, match="needs at least one axis"):
        make_search("random", Space(axes=()), budget=3, objectives=OBJECTIVES, seed=0)
    with pytest.raises(SpaceError, match="search must be one of grid, random"):
        make_search("guess", SPACE, budget=3, objectives=OBJECTIVES, seed=0)


def test_without_optuna_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(SpaceError, match=r"needs optuna \(pip install 'gscn-sim\[search\]'\)"):
        make_search("nsga2", SPACE, budget=3, objectives=OBJECTIVES, seed=0)
