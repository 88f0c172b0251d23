"""Bounds of expressions hold for every value of their parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.expressions import formula_value
from gscn_sim.sweep.intervals import Interval, exactly, metric_interval
from gscn_sim.sweep.metrics import NAMES

NUMBERS = st.floats(0.1, 10)


def expressions():
    """Expressions of two metrics and numbers, some of no value."""
    leaves = st.sampled_from(("seconds", "energy_j", "2", "0.5", "3"))

    def larger(inner):
        pairs = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({' '.join(t)})")
        calls = st.tuples(st.sampled_from(("min", "max")), inner, inner)
        powers = st.tuples(inner, st.sampled_from(("2", "0.5", "-1"))).map(
            lambda t: f"({t[0]} ** {t[1]})"
        )
        single = st.tuples(st.sampled_from(("sqrt", "ceil", "-")), inner)
        return st.one_of(
            pairs,
            powers,
            calls.map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
            single.map(lambda t: f"{t[0]}({t[1]})"),
        )

    return st.recursive(leaves, larger, max_leaves=5)


@settings(max_examples=300)
@given(
    text=expressions(),
    low=st.tuples(NUMBERS, NUMBERS),
    width=st.tuples(st.floats(0, 5), st.floats(0, 5)),
    at=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5),
)
def test_the_value_lies_in_the_interval(text, low, width, at) -> None:
    known = {
        "seconds": Interval(low[0], low[0] + width[0]),
        "energy_j": Interval(low[1], low[1] + width[1]),
    }
    found = metric_interval(text, known)
    values = dict.fromkeys(NAMES, 1.0)
    for share in at:
        values["seconds"] = low[0] + share[0] * width[0]
        values["energy_j"] = low[1] + share[1] * width[1]
        try:
            value = formula_value(text, NAMES, values)
        except (ArithmeticError, SpaceError):
            continue
        if isinstance(value, complex) or not math.isfinite(value):
            continue
        slack = 1e-9 * max(1.0, abs(value))
        assert found.low - slack <= value <= found.high + slack


def test_products_quotients_and_arrays() -> None:
    known = {
        "seconds": Interval(np.array([1.0, 2.0]), np.inf),
        "energy_j": Interval(np.array([3.0, 4.0]), np.inf),
        "area_mm2": exactly(np.array([5.0, 6.0])),
    }
    low, high = metric_interval("edp_js * area_mm2", known)
    assert (low.tolist(), high.tolist()) == ([15, 48], [math.inf] * 2)
    low, high = metric_interval("area_mm2 / seconds", known)
    assert (low.tolist(), high.tolist()) == ([0, 0], [5, 3])
    low, _ = metric_interval("ed2p_js2", known)
    assert low.tolist() == [3, 16]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utilization", "no bound exists of utilization"),
        ("seconds * slots_useful", "no bound exists of slots_useful"),
        ("seconds % 2", "no bound exists of 'seconds % 2'"),
        ("seconds if energy_j > 1 else 2", "no bound exists of"),
        ("seconds +", "cannot be evaluated"),
    ],
)
def test_what_has_no_interval_is_refused_in_a_line(text, message) -> None:
    known = {"seconds": Interval(1.0, 2.0), "energy_j": Interval(1.0, 2.0)}
    with pytest.raises(SpaceError, match=message) as error:
        metric_interval(text, known)
    assert "\n" not in str(error.value)
