"""Metrics by name and by expression."""

from __future__ import annotations

import math

import pytest
from fake_points import fake_metrics, plan

from gscn_sim.sweep import Objective, parse_objectives, run_sweep, sweep_table
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.metrics import NAMES, PRODUCTS, check_metric_name, metric_value
from gscn_sim.sweep.schema import METRICS

ROW = dict.fromkeys(METRICS, 1.0) | {"energy_j": 3.0, "seconds": 2.0, "area_mm2": 5.0}


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("energy_j", 3.0),
        ("edp_js", 6.0),
        ("ed2p_js2", 12.0),
        ("energy_j * seconds", 6.0),
        ("edp_js * area_mm2", 30.0),
        ("max(energy_j, seconds, 2.5) ** 2", 9.0),
        ("1 if area_mm2 > 4 else 0", 1.0),
    ],
)
def test_values_by_hand(metric, value):
    check_metric_name(metric)
    assert metric_value(metric, ROW) == value


def test_products_are_their_expressions():
    for name, parts in PRODUCTS.items():
        assert metric_value(name, ROW) == metric_value(" * ".join(parts), ROW)
    assert set(NAMES) == {*METRICS, *PRODUCTS}


def test_points_without_a_value():
    nothing = ROW | {"gpu_seconds": None, "seconds": 0.0}
    assert metric_value("gpu_seconds", nothing) is None
    assert math.isnan(metric_value("gpu_seconds * 2", nothing))
    assert metric_value("energy_j / seconds", nothing) is None
    assert metric_value("sqrt(0 - energy_j)", nothing) is None


@pytest.mark.parametrize(
    "metric", ["", "beauty", "energy_j *", "__import__('os')", "config", "pe.rows", "energy_j.real"]
)
def test_no_metric(metric):
    with pytest.raises(SpaceError):
        check_metric_name(metric)


def test_objectives_with_brackets_and_directions():
    assert parse_objectives("max(energy_j, min(seconds, 1)), edp_js, speedup / area_mm2") == (
        Objective(metric="max(energy_j, min(seconds, 1))", maximize=False),
        Objective(metric="edp_js", maximize=False),
        Objective(metric="speedup / area_mm2", maximize=True),
    )
    (objective,) = parse_objectives("1 / seconds : max")
    assert objective == Objective(metric="1 / seconds", maximize=True)


def test_a_search_takes_an_expression(tmp_path):
    path = tmp_path / "sweep.sqlite"
    objectives = parse_objectives("energy_j * area_mm2")
    made = plan(search="tpe", budget=6, objectives=objectives)
    number = run_sweep(made, path, evaluate=fake_metrics, code="fake")
    assert len(sweep_table(path, number)) == 12
