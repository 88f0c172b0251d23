"""Dealing the units of wgrad: each once, evenly, by hand and in general."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import shapes

from gscn_sim.config import load_config
from gscn_sim.geometry import make_operands, make_problem
from gscn_sim.mapping import deal_units
from gscn_sim.mapping.balance import unit_work
from gscn_sim.mapping.plan import Plan
from workloads import Layer, LayerShape, Phase, layer_from_arrays


def plan_of(layer: Layer, batch: int, samples: int, grid: tuple[int, int], passes: int) -> Plan:
    return Plan(
        problem=make_problem(layer.shape, Phase.WGRAD, batch),
        dataflow="positional",
        kind="mixed",
        samples=samples,
        rows=grid[0],
        cols=grid[1],
        outputs=1,
        inputs=1,
        passes=(passes, 1),
        block_outputs=1,
        block_inputs=1,
        tile_rule="exact",
    )


@settings(max_examples=60)
@given(
    shape=shapes(side=5, channels=2),
    recorded=st.integers(1, 3),
    batch=st.integers(1, 70),
    samples=st.integers(1, 4),
    grid=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    passes=st.integers(1, 2),
    seed=st.integers(0, 99),
    balance=st.sampled_from(("sorted", "static")),
)
def test_every_unit_is_dealt_once(
    shape: LayerShape,
    recorded: int,
    batch: int,
    samples: int,
    grid: tuple[int, int],
    passes: int,
    seed: int,
    balance: str,
) -> None:
    rng = np.random.default_rng(seed)
    layer = layer_from_arrays(
        "l",
        activation=rng.random((recorded, *shape.activation_shape)) < 0.5,
        gradient=rng.random((recorded, *shape.gradient_shape)) < 0.3,
        weight=np.ones(shape.weight_shape),
        shape=shape,
    )
    plan = plan_of(layer, batch, samples, grid, passes)
    operands = make_operands(layer, plan.problem)
    config = load_config("gscn", {"policy.load_balance": balance})
    times = deal_units(plan, operands, config)
    assert times.shape == (samples * grid[0] * grid[1], recorded, len(plan.tiles))
    wanted = np.bincount(np.arange(batch) % recorded, minlength=recorded)
    assert np.array_equal(times.sum(0), np.repeat(wanted[:, None], len(plan.tiles), 1))
    if balance == "sorted":  # nobody has more than the mean and one unit (Graham's bound)
        work = unit_work(plan, operands)
        loads = (times * work).sum((1, 2))
        assert loads.max() <= loads.mean() + work.max()


def test_heavy_and_light_units_by_hand() -> None:
    """Two samples of work 6 and 2, batch 4, two splits.

    Sorted: 6, 6, 2, 2, so each split gets one of both. Static: sample n goes to split n modulo 2,
    so one split gets both heavy ones.
    """
    gradient = np.zeros((2, 1, 1, 6))
    gradient[0] = 1
    gradient[1, ..., :2] = 1
    layer = layer_from_arrays(
        "l", activation=np.ones((2, 1, 1, 6)), gradient=gradient, weight=np.ones((1, 1, 1, 1))
    )
    plan = plan_of(layer, 4, 2, (1, 1), 1)
    operands = make_operands(layer, plan.problem)
    dealt = deal_units(plan, operands, load_config("gscn"))
    assert dealt[..., 0].tolist() == [[1, 1], [1, 1]]
    static = deal_units(plan, operands, load_config("gscn", {"policy.load_balance": "static"}))
    assert static[..., 0].tolist() == [[2, 0], [0, 2]]
