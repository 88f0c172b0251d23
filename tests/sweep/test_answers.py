from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gscn_sim.sweep import Objective, best, main_effects, overlap_note, pareto, sensitivity
from gscn_sim.sweep.answers import non_dominated
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.schema import METRICS
from gscn_sim.sweep.table import COLUMNS

FAST = Objective(metric="speedup", maximize=True)
SMALL = Objective(metric="area_mm2", maximize=False)


def table(rows: list[dict]) -> pd.DataFrame:
    """A sweep's table with what is not given filled in."""
    filled = [
        {
            **dict.fromkeys(METRICS, 1.0),
            "sweep": 1,
            "point": i,
            "network": "n",
            "batch_size": 16,
            "trace_digest": "t",
            "status": "done",
            "limited_by": "dram",
            "config_digest": str(row.get("x", i)),
            **row,
        }
        for i, row in enumerate(rows)
    ]
    frame = pd.DataFrame(filled)
    return frame.assign(**{name: None for name in COLUMNS if name not in frame})


def test_the_front_by_hand():
    points = [(5, 10), (4, 10), (5, 12), (3, 2), (1, 1), (1, 2), (5, 10)]
    frame = table([{"x": i, "speedup": s, "area_mm2": a} for i, (s, a) in enumerate(points)])
    front = pareto(frame, (FAST, SMALL))
    assert list(front["x"]) == [0, 6, 3, 4]


def test_each_workload_has_its_own_front():
    frame = table(
        [
            {"x": 0, "speedup": 9.0, "network": "a"},
            {"x": 1, "speedup": 8.0, "network": "a"},
            {"x": 0, "speedup": 2.0, "network": "b"},
            {"x": 1, "speedup": 3.0, "network": "b"},
        ]
    )
    front = pareto(frame, (FAST,))
    assert list(zip(front["network"], front["x"], strict=True)) == [("a", 0), ("b", 1)]


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.tuples(*[st.integers(0, 4)] * width), max_size=40).map(
            lambda rows: (width, rows)
        )
    )
)
def test_the_front_is_what_the_definition_says(case):
    width, costs = case
    expected = [
        not any(all(x <= y for x, y in zip(a, b, strict=True)) and a != b for a in costs)
        for b in costs
    ]
    array = np.array(costs, dtype=float).reshape(-1, width)
    assert list(non_dominated(array)) == expected


def test_failed_points_and_missing_values_are_left_out():
    frame = table(
        [
            {"x": 0, "speedup": 99.0, "status": "failed"},
            {"x": 1, "speedup": 2.0},
            {"x": 2, "speedup": float("nan")},
        ]
    )
    assert list(pareto(frame, (FAST,))["x"]) == [1]
    assert list(best(frame, FAST)["x"]) == [1]


def test_best_is_the_geometric_mean_over_workloads():
    frame = table(
        [
            {"x": 0, "network": "a", "speedup": 8.0},
            {"x": 0, "network": "b", "speedup": 2.0},
            {"x": 1, "network": "a", "speedup": 5.0},
            {"x": 1, "network": "b", "speedup": 5.0},
            {"x": 2, "network": "a", "speedup": 100.0},  # not on b: no design to build on
        ]
    )
    top = best(frame, FAST)
    assert list(top["x"]) == [1, 0]
    assert list(top["speedup"]) == pytest.approx([5.0, 4.0])
    assert list(top["speedup[a/16]"]) == [5.0, 8.0]
    assert list(best(frame, FAST, count=1)["x"]) == [1]


def test_sensitivity_splits_the_variance_of_an_additive_metric():
    frame = table([{"x": x, "y": y, "speedup": 3.0 * x + y} for x in (0, 1) for y in (0, 1, 2)])
    effects = sensitivity(frame, "speedup").set_index("axis")
    # Var(3x) = 9/4 and Var(y) = 2/3 of a total of 35/12.
    assert effects.loc["x", "share"] == pytest.approx(27 / 35)
    assert effects.loc["y", "share"] == pytest.approx(8 / 35)
    assert list(effects.index) == ["x", "y"]
    assert (effects.loc["x", "at_lowest"], effects.loc["x", "at_highest"]) == ("0", "1")
    assert effects.loc["x", "lowest_mean"] == pytest.approx(1.0)


def test_a_pure_interaction_has_no_main_effect():
    frame = table([{"x": x, "y": y, "speedup": float(x == y)} for x in (0, 1) for y in (0, 1)])
    assert list(sensitivity(frame, "speedup")["share"]) == pytest.approx([0.0, 0.0])


def test_shares_overlap_where_a_grid_is_cut_short():
    """x and y together explain all; without the last point each takes in some of the other."""
    grid = [{"x": x, "y": y, "speedup": 1.0 + x + y} for x in (0, 1) for y in (0, 1)]
    assert sensitivity(table(grid), "speedup")["share"].sum() == pytest.approx(1.0)
    assert overlap_note(table(grid), "speedup") == ""
    cut = table(grid[:3])
    assert sensitivity(cut, "speedup")["share"].sum() == pytest.approx(0.5)
    assert "3 points are no full grid of the 4 combinations" in overlap_note(cut, "speedup")


def test_traces_are_workloads_not_parameters():
    """Each trace has its own effects, and the difference between traces is no effect."""
    frame = table(
        [
            {"x": x, "y": y, "network": name, "trace_digest": name, "speedup": value}
            for name, weights in (("a", (3.0, 1.0)), ("b", (0.0, 100.0)))
            for x in (0, 1)
            for y in (0, 1)
            for value in [1.0 + weights[0] * x + weights[1] * y]
        ]
    )
    effects = sensitivity(frame, "speedup").set_index(["workload", "axis"])
    assert effects["share"].to_dict() == pytest.approx(
        {("a/16", "x"): 0.9, ("a/16", "y"): 0.1, ("b/16", "y"): 1.0, ("b/16", "x"): 0.0}
    )
    only = sensitivity(frame, "speedup", where="network == 'b'")
    assert list(only["workload"]) == ["b/16", "b/16"]
    cut = frame.drop(index=3)
    assert overlap_note(cut, "speedup").startswith("a/16: The 3 points are no full grid")


def test_two_traces_of_one_network_stay_apart():
    rows = [
        {"x": x, "trace": f"{t}.npz", "trace_digest": t, "speedup": speedup}
        for t, speedups in (("t", (1.0, 2.0)), ("u", (4.0, 8.0)))
        for x, speedup in enumerate(speedups)
    ]
    assert set(sensitivity(table(rows), "speedup")["workload"]) == {"n/16 (t.npz)", "n/16 (u.npz)"}
    top = best(table(rows), FAST)
    assert top["speedup[n/16 (u.npz)]"].tolist() == [8.0, 4.0]
    assert top["speedup"].tolist() == pytest.approx([4.0, 2.0])


def test_a_continuous_axis_is_cut_into_levels():
    frame = table([{"x": i / 100, "speedup": float(i)} for i in range(100)])
    effects = main_effects(frame, "speedup", "x")
    assert len(effects) == 8
    assert effects["points"].sum() == 100
    assert sensitivity(frame, "speedup")["share"].iloc[0] > 0.95


def test_nothing_to_answer():
    frame = table([{"x": 0}, {"x": 0}])
    with pytest.raises(SpaceError, match="nothing to compare"):
        sensitivity(frame, "speedup")
    with pytest.raises(SpaceError, match="no finished point meets 'speedup > 5'"):
        best(frame, FAST, where="speedup > 5")
    with pytest.raises(SpaceError, match="metric 'beauty' must be one of"):
        sensitivity(frame, "beauty")
