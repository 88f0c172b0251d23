"""What a sweep would do: against the sweep itself, and counts by hand."""

from __future__ import annotations

import dataclasses
import sys

import pytest
from fake_points import fake_metrics, plan

from gscn_sim.sweep import Expression, Space, parse_param, run_sweep, sweep_table
from gscn_sim.sweep import preview as preview_module
from gscn_sim.sweep.preview import MAX_LOOKED, already_there, measure_pace, preview
from gscn_sim.sweep.runner import design_points
from gscn_sim.sweep.store import Outcome


def space(*params: str, constraints: tuple[str, ...] = ()) -> Space:
    return Space(
        axes=tuple(parse_param(text) for text in params),
        constraints=tuple(Expression(text) for text in constraints),
    )


def planned(made: Space, **changes):
    return dataclasses.replace(plan(), space=made, **changes)


def points_of(made):
    return [point for design in preview(made).found for point in design_points(made, design)]


def test_rejections_by_hand():
    # Banks 16, 32, 64, 128 at 1 and 2 GHz: two constraints that overlap at 128 banks and 2 GHz.
    grid = space(
        "pe.accumulator_banks=16:128:log",
        "array.clock_ghz=1.0,2.0",
        constraints=("pe.accumulator_banks < 128", "array.clock_ghz < 2"),
    )
    found = preview(planned(grid))
    assert (found.looked_at, found.combinations, found.rejected) == (8, 8, 5)
    assert [(each.designs, each.alone) for each in found.rejections] == [(2, 1), (4, 3)]
    assert (found.designs, found.exact, found.impossible) == (3, True, 0)
    assert preview(planned(grid, budget=2)).designs == 2


def test_what_no_machine_can_have_is_counted():
    # A queue of depth 0 or of at least ports - 1: only depth 2 beside 8 ports cannot be.
    grid = space("pe.bank_queue_depth=0,2,16", "pe.bank_queue_ports=2,8")
    found = preview(planned(grid))
    assert (found.designs, found.impossible) == (6, 1)
    (odd,) = (design for design in found.found if design.config is None)
    assert odd.params == {"pe.bank_queue_depth": 2, "pe.bank_queue_ports": 8}
    assert odd.error.startswith("pe.bank_queue_depth must be")


@pytest.mark.parametrize("search", ["grid", "random"])
@pytest.mark.parametrize("budget", [3, 6, 50])
def test_the_designs_are_those_of_the_sweep(tmp_path, search, budget):
    grid = space(
        "pe.accumulator_banks=16:128:log",
        "array.clock_ghz=0.5:2.0:4",
        constraints=("pe.accumulator_banks * array.clock_ghz < 128",),
    )
    made = planned(grid, search=search, budget=budget)
    found = preview(made)
    path = tmp_path / "sweep.sqlite"
    number = run_sweep(made, path, evaluate=fake_metrics)
    table = sweep_table(path, number)
    assert found.exact
    assert found.designs * len(made.workloads) == len(table)
    swept = table["pe.accumulator_banks"].tolist()[::2]
    assert [d.params["pe.accumulator_banks"] for d in found.found][: len(swept)] == swept


def test_a_large_grid_is_estimated():
    grid = space(
        "pe.accumulator_banks=1:128",
        "array.clock_ghz=0.5:2.0:1000",
        constraints=("pe.accumulator_banks <= 32",),
    )
    found = preview(planned(grid))
    assert (found.looked_at, found.combinations, found.exact) == (MAX_LOOKED, 128_000, False)
    assert found.designs == pytest.approx(32_000, rel=0.05)


def test_a_guided_search_is_looked_at_as_random():
    grid = space("pe.accumulator_banks=16:128", constraints=("pe.accumulator_banks < 72",))
    found = preview(planned(grid, search="nsga2", budget=40))
    assert (found.designs, found.exact, found.looked_at) == (40, False, 113)
    assert found.rejected == 57
    assert preview(planned(grid, search="nsga2", budget=sys.maxsize)).designs is None


def test_a_space_without_a_design():
    grid = space("pe.accumulator_banks=16:128", constraints=("pe.accumulator_banks < 16",))
    for search in ("grid", "random"):
        found = preview(planned(grid, search=search, budget=40))
        assert (found.designs, found.rejected) == (0, 113)


def test_what_is_there_is_known(tmp_path):
    path = tmp_path / "sweep.sqlite"
    run_sweep(plan(banks=(16, 48)), path, evaluate=fake_metrics)
    before = path.read_bytes()
    points = points_of(plan())
    assert already_there(points, tmp_path / "no.sqlite") == set()
    there = already_there(points, path)
    banks = {p.params["pe.accumulator_banks"] for p in points if p.key in there}
    assert banks == {16}
    failed = points_of(plan(banks=(48,)))
    assert len(already_there(failed, path)) == len(failed)
    assert already_there(failed, path, retry_failed=True) == set()
    assert path.read_bytes() == before


@pytest.fixture
def tried(monkeypatch) -> list:
    """The points that are tried; the first says that it took 5 s, those after 2 s on b, 1 on a."""
    points = []

    def said(evaluate, point):
        seconds = 5.0 if not points else 2.0 if point.workload.network == "b" else 1.0
        points.append(point)
        return Outcome(metrics=None, elapsed_seconds=seconds)

    monkeypatch.setattr(preview_module, "outcome", said)
    return points


def test_loading_is_told_apart_from_the_pace(tried):
    pace = measure_pace(points_of(plan(banks=tuple(range(64, 84)))))
    assert pace.tried == len(tried) == 6
    assert [point.workload.network for point in tried] == ["a"] * 3 + ["b"] * 3
    assert [point.position // 2 for point in tried] == [0, 20, 39] * 2
    assert (pace.seconds, pace.loading_seconds) == (1.5, 4.0)


def test_trying_ends_in_time(monkeypatch, tried):
    monkeypatch.setattr(preview_module, "TRYING_SECONDS", 0.0)
    pace = measure_pace(points_of(plan()))
    assert (pace.tried, pace.seconds, pace.loading_seconds) == (1, 5.0, 0.0)
    assert measure_pace([]) is None
