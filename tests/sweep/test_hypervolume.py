"""How much of the objectives' box designs cover, point by point."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gscn_sim.sweep import Objective, hypervolume_history, hypervolume_note
from gscn_sim.sweep.hypervolume import growing_hypervolume
from tests.sweep.test_answers import FAST, SMALL, table

CHEAP = Objective(metric="energy_j", maximize=False)


def test_a_history_by_hand():
    """Speed-up from 1 to 5 and area from 10 to 20 span the box."""
    points = [(1, 10), (5, 20), (3, 15), (3, 16), (4, 12)]
    frame = table([{"x": i, "speedup": s, "area_mm2": a} for i, (s, a) in enumerate(points)])
    # The extremes beat nothing; (3, 15) half of each side; (4, 12) 3/4 by 8/10, over (3, 15).
    expected = [0, 0, 1 / 4, 1 / 4, 3 / 4 * 8 / 10]
    assert list(hypervolume_history(frame, (FAST, SMALL))) == pytest.approx(expected)
    shuffled = frame.sample(frac=1, random_state=1)
    found = hypervolume_history(shuffled, (FAST, SMALL)).sort_index()
    assert list(found) == pytest.approx(expected)  # the order is that of the points


def test_each_workload_and_sweep_has_its_own_history():
    rows = [
        {"x": i, "speedup": s, "area_mm2": a} for i, (s, a) in enumerate([(1, 1), (3, 3), (2, 2)])
    ]
    twice = [{**row, "network": name, "point": i} for name in "ab" for i, row in enumerate(rows)]
    again = [{**row, "sweep": 2} for row in twice]
    history = hypervolume_history(table([*twice, *again]), (FAST, SMALL))
    assert list(history) == pytest.approx([0, 0, 1 / 4] * 4)


def test_points_without_a_value_have_none():
    frame = table(
        [
            {"x": 0, "speedup": 9.0, "status": "failed"},
            {"x": 1, "speedup": float("nan")},
            {"x": 2, "speedup": 2.0, "area_mm2": 5.0},
            {"x": 3, "speedup": 1.0, "area_mm2": 3.0},
        ]
    )
    assert list(hypervolume_history(frame, (FAST, SMALL)).isna()) == [True, True, False, False]


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.integers(0, 4), min_size=width, max_size=width), min_size=1, max_size=8
        )
    )
)
def test_the_covered_part_is_what_counting_cells_says(rows):
    """Costs on a grid of quarters: cells of the grid that some row beats, by definition."""
    costs = np.array(rows) / 4
    cells = np.stack(np.meshgrid(*[np.arange(4) / 4] * costs.shape[1], indexing="ij"), axis=-1)
    cells = cells.reshape(-1, costs.shape[1])
    expected = [
        float(np.mean([(costs[:n] <= cell).all(axis=1).any() for cell in cells]))
        for n in range(1, len(costs) + 1)
    ]
    assert growing_hypervolume(costs) == pytest.approx(expected)


def test_a_note_for_people():
    points = [(1, 10), (5, 20), (4, 12), (2, 19)]
    frame = table([{"x": i, "speedup": s, "area_mm2": a} for i, (s, a) in enumerate(points)])
    history = hypervolume_history(frame, (FAST, SMALL))
    assert hypervolume_note(history, frame) == (
        "hypervolume, of the box from best to worst: n/16: 0.6 after 4 points, 95% of that after 3"
    )
    assert hypervolume_note(pd.Series(np.nan, index=frame.index), frame) == ""


def test_an_objective_that_never_changes_divides_nothing():
    points = [(1, 10), (5, 20), (4, 12)]
    frame = table([{"x": i, "speedup": s, "area_mm2": a} for i, (s, a) in enumerate(points)])
    three = hypervolume_history(frame, (FAST, SMALL, CHEAP))  # all take 1 J
    assert list(three) == pytest.approx(list(hypervolume_history(frame, (FAST, SMALL))))
