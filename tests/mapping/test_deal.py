"""Dealing channels and the units of wgrad: each once, evenly, by hand and in general."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import shapes
from road import in_dealt_order

from gscn_sim.mapping.deal import deal, deal_units, unit_work
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
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
    times = deal_units(plan, operands, balance).times
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
    dealt = deal_units(plan, operands, "sorted").times
    assert dealt[..., 0].tolist() == [[1, 1], [1, 1]]
    static = deal_units(plan, operands, "static").times
    assert static[..., 0].tolist() == [[2, 0], [0, 2]]


@pytest.mark.parametrize(
    ("work", "parts", "dealt"),
    [
        ([5, 1, 4, 2, 3, 0], 3, [[0, 5], [2, 1], [4, 3]]),  # back and forth: 5+0, 4+1, 3+2
        ([1, 2, 3, 4, 5], 2, [[4, 1], [3, 2, 0]]),  # the second of two ranges of 5 has 3
        ([1, 2, 3, 4, 5, 6, 7, 8], 3, [[7, 2], [6, 3, 1], [5, 4, 0]]),
        ([7, 6, 5, 4, 3, 2, 1], 5, [[0], [1], [2, 6], [3], [4, 5]]),  # two fit the 3rd and 5th
        ([2, 2, 2, 2], 4, [[0], [1], [2], [3]]),  # equal ones keep their order
        ([3, 9], 1, [[1, 0]]),
        ([3, 9], 3, [[], [1], [0]]),  # fewer channels than parts
    ],
)
def test_channels_by_hand(work: list[int], parts: int, dealt: list[list[int]]) -> None:
    assert deal(np.array(work), parts).tolist() == [channel for hand in dealt for channel in hand]


def uneven(groups: int = 1) -> Layer:
    """Channels of 1, 3 and 2 activations, filters of 1 and 2 gradients (for each group)."""
    activation = np.zeros((1, 3 * groups, 1, 3))
    gradient = np.zeros((1, 2 * groups, 1, 3))
    for group in range(groups):
        for channel, count in enumerate((1, 3, 2)):
            activation[0, 3 * group + channel, 0, :count] = 1
        for k, count in enumerate((1, 2)):
            gradient[0, 2 * group + k, 0, :count] = 1
    weight = np.ones((2 * groups, 3, 1, 1))
    return layer_from_arrays(
        "l", activation=activation, gradient=gradient, weight=weight, groups=groups
    )


def test_channels_of_wgrad_are_dealt_by_their_non_zeros() -> None:
    plan = plan_of(uneven(), 1, 1, (1, 1), 1)
    operands = make_operands(uneven(), plan.problem)
    sorted_operands, order = in_dealt_order(plan, operands)
    assert (order.stationary.tolist(), order.outputs.tolist()) == ([1, 2, 0], [1, 0])
    assert sorted_operands.stationary.sum((0, 2, 3)).tolist() == [3, 2, 1]
    assert sorted_operands.streamed.sum((0, 1, 2, 3)).tolist() == [2, 1]
    # One input part for each channel, two output parts.
    split = replace(plan, inputs=3, outputs=2)
    assert in_dealt_order(split, operands)[1].stationary.tolist() == [1, 2, 0]


def test_one_operand_may_be_in_order() -> None:
    layer = uneven()
    even = layer_from_arrays(
        "l", activation=np.ones((1, 3, 1, 3)), gradient=layer.values("gradient")
    )
    plan = plan_of(even, 1, 1, (1, 1), 1)
    found, order = in_dealt_order(plan, make_operands(even, plan.problem))
    assert (order.stationary.tolist(), order.outputs.tolist()) == ([0, 1, 2], [1, 0])
    assert found.streamed.sum((0, 1, 2, 3)).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("groups", "phase", "balance"),
    [
        (1, Phase.WGRAD, "static"),
        (1, Phase.DGRAD, "sorted"),
        (1, Phase.FORWARD, "sorted"),
        (2, Phase.WGRAD, "sorted"),
    ],
)
def test_channels_that_keep_their_order(groups: int, phase: Phase, balance: str) -> None:
    layer = uneven(groups)
    plan = replace(plan_of(layer, 1, 1, (1, 1), 1), problem=make_problem(layer.shape, phase, 1))
    operands = make_operands(layer, plan.problem)
    found, order = in_dealt_order(plan, operands, balance)
    assert found is operands
    assert order.stationary.tolist() == list(range(len(order.stationary)))
    assert order.outputs.tolist() == list(range(len(order.outputs)))
    assert len(order.stationary) == (3 if phase is not Phase.DGRAD else 2) * groups
    assert len(order.outputs) == (2 if phase is not Phase.DGRAD else 3) * groups


def test_static_tiles_have_their_own_pes() -> None:
    """2 samples at once, 2 x 3 tiles of two passes each, a batch of three of two recorded.

    Samples 0 and 2 (recorded 0 and 0) go to the first six PEs, sample 1 to the others.
    """
    rng = np.random.default_rng(1)
    layer = layer_from_arrays(
        "l", activation=rng.random((2, 1, 4, 3)), gradient=rng.random((2, 1, 4, 3))
    )
    plan = plan_of(layer, 3, 2, (2, 3), 2)
    operands = make_operands(layer, plan.problem)
    times = deal_units(plan, operands, "static").times
    expected = np.zeros((12, 2, 12), np.int64)
    for row, col, step in np.ndindex(2, 3, 2):
        tile = (2 * row + step) * 3 + col  # of 4 x 3
        expected[row * 3 + col, 0, tile] = 2
        expected[6 + row * 3 + col, 1, tile] = 1
    assert times.tolist() == expected.tolist()


@given(
    shape=shapes(side=5, channels=2),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 99),
)
def test_work_of_a_unit(shape: LayerShape, grid: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = layer_from_arrays(
        "l",
        activation=rng.random((2, *shape.activation_shape)) < 0.5,
        gradient=rng.random((2, *shape.gradient_shape)) < 0.3,
        shape=shape,
    )
    plan = plan_of(layer, 2, 1, grid, 1)
    found = unit_work(plan, make_operands(layer, plan.problem))
    for t, tile in enumerate(plan.tiles):
        p0, p1, q0, q1 = tile.streamed
        y0, y1, x0, x1 = tile.stationary
        for n in range(2):
            gradients = np.count_nonzero(layer.values("gradient")[n, :, p0:p1, q0:q1])
            window = np.count_nonzero(layer.values("activation")[n, :, y0:y1, x0:x1])
            assert found[n, t] == gradients * window
