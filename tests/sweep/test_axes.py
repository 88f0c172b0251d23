from __future__ import annotations

import pytest

from gscn_sim.sweep import Choices, Range, parse_axis, parse_param
from gscn_sim.sweep.errors import SpaceError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("k=16,32,64", (16, 32, 64)),
        ("k=0.5, 1", (0.5, 1)),
        ("k=xor,modulo", ("xor", "modulo")),
        ("k=true,false", (True, False)),
        ("k=7", (7,)),
        ("k=3:6", (3, 4, 5, 6)),
        ("k=0:10:3", (0, 5, 10)),
        ("k=0.8:1.6:3", (0.8, 1.2, 1.6)),
        ("k=8:128:log", (8, 16, 32, 64, 128)),
        ("k=3:20:log", (3, 6, 12)),
        ("k=1:1000:4:log", (1, 10, 100, 1000)),
        ("k=0.001:10:3:log", (0.001, 0.1, 10.0)),
        ("k=1:3:9", (1, 2, 3)),
        ("trace=a:b.npz", ("a:b.npz",)),
    ],
)
def test_param_texts(text, values):
    assert parse_param(text).values() == values


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ([1, 2], (1, 2)),
        ("gscn", ("gscn",)),
        ({"min": 0.1, "max": 0.4, "step": 0.1}, (0.1, 0.2, 0.3, 0.4)),
        ({"min": 10, "max": 29, "step": 10}, (10, 20)),
        ({"min": 2, "max": 4}, (2, 3, 4)),
        ({"min": 1, "max": 16, "log": True}, (1, 2, 4, 8, 16)),
        ({"min": 1.0, "max": 2.0, "count": 1}, (1.0,)),
    ],
)
def test_axes_of_a_space_file(spec, values):
    assert parse_axis("k", spec).values() == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k", "--param must be KEY"),
        ("=1", "--param must be KEY"),
        ("k=", "--param must be KEY"),
        ("k=1,,2", "an empty value"),
        ("k=1,1", "listed twice"),
        ("k=5:3", "empty range from 5 to 3"),
        ("k=0:8:log", "must start above 0"),
        ("k=1:2:0", "count must be 1 to"),
        ("k=1:2:3:4", "a range is LOW:HIGH"),
        ("k=a:b", "from one number to another"),
        ("k=1:9:x", "count must be"),
    ],
)
def test_bad_params(text, message):
    with pytest.raises(SpaceError, match=message):
        parse_param(text)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], "no values"),
        ([[1]], "must be a number, text or bool"),
        ({"min": 1}, "a range has min, max"),
        ({"min": 1, "max": 2, "steps": 3}, "a range has min, max"),
        ({"min": 1, "max": 2, "step": 0}, "step must be positive"),
        ({"min": 1, "max": 2, "step": 1, "log": True}, "step must be positive"),
        ({"min": 1, "max": float("inf")}, "from one number to another"),
        ({"min": 1, "max": 8, "log": "yes"}, "log must be true or false"),
    ],
)
def test_bad_axes(spec, message):
    with pytest.raises(SpaceError, match=message):
        parse_axis("k", spec)


def test_a_continuous_range_has_no_grid_but_can_be_picked_from():
    axis = Range(key="k", low=1.0, high=4.0)
    with pytest.raises(SpaceError, match="needs count or step"):
        axis.values()
    assert axis.pick(0.0) == 1.0
    assert axis.pick(0.5) == 2.5
    assert Range(key="k", low=1.0, high=4.0, log=True).pick(0.5) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "axis",
    [
        Choices(key="k", options=(3, 1, 2)),
        Range(key="k", low=3, high=7),
        Range(key="k", low=1, high=64, log=True),
        Range(key="k", low=0.0, high=1.0, step=0.25),
    ],
)
def test_picks_reach_exactly_the_values_of_the_grid(axis):
    picked = {axis.pick(i / 1000) for i in range(1000)}
    assert picked == set(axis.values())
