"""Problems and operands of a layer-phase against the convolution's definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from oracles.cases import layers, shapes
from oracles.products import meetings, useful_products

from gscn_sim.errors import ConfigError
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import count_useful, make_operands
from workloads import Layer, LayerShape, Phase, layer_from_arrays


@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.DGRAD, Phase.WGRAD])
@settings(max_examples=60)
@given(layer=layers(side=5, channels=3))
def test_useful_products_are_counted_as_in_the_definition(phase: Phase, layer: Layer) -> None:
    problem = make_problem(layer.shape, phase, layer.n_samples)
    counts = count_useful(problem, make_operands(layer, problem))
    expected = [
        useful_products(
            layer.shape,
            phase.value,
            layer.values("activation")[n],
            layer.values("gradient")[n],
            layer.values("weight"),
        )
        for n in range(layer.n_samples)
    ]
    assert counts.tolist() == expected


@pytest.mark.parametrize("phase", [Phase.PRE_DGRAD, Phase.PRE_WGRAD])
@settings(max_examples=40)
@given(layer=layers(side=5, channels=3))
def test_pre_phases_are_dense_but_for_the_weights(phase: Phase, layer: Layer) -> None:
    problem = make_problem(layer.shape, phase, 7)
    assert problem.batch_size == 1
    (count,) = count_useful(problem, make_operands(layer, problem))
    shape = layer.shape
    assert count == useful_products(
        shape,
        phase.value.removeprefix("pre_"),
        np.ones(shape.activation_shape),
        np.ones(shape.gradient_shape),
        layer.values("weight"),
    )


@given(shape=shapes())
def test_operands_meet_where_the_definition_says(shape: LayerShape) -> None:
    """(alpha * y + beta + gamma * r) / div is the output coordinate of each of the phases."""
    axes = {
        phase: make_problem(shape, phase, 1).axes
        for phase in (Phase.FORWARD, Phase.DGRAD, Phase.WGRAD)
    }
    for k, _, _, h, w, p, q, rs in meetings(shape):
        if k:
            break
        for axis, (x, o, r) in enumerate(((h, p, rs // shape.S), (w, q, rs % shape.S))):
            for phase, a, b, result in (
                (Phase.FORWARD, x, r, o),
                (Phase.DGRAD, o, r, x),
                (Phase.WGRAD, x, o, r),
            ):
                alpha, beta, gamma, div, size = axes[phase][axis].tolist()
                assert alpha * a + beta + gamma * b == div * result
                assert 0 <= result < size


@given(shape=shapes())
def test_work_is_the_same_in_all_phases(shape: LayerShape) -> None:
    macs = {make_problem(shape, phase, 3).dense_macs for phase in list(Phase)[:3]}
    assert macs == {3 * shape.dense_macs}
    outputs = {
        Phase.FORWARD: 3 * shape.K * shape.P * shape.Q,
        Phase.DGRAD: 3 * shape.C * shape.H * shape.W,
        Phase.WGRAD: shape.K * (shape.C // shape.groups) * shape.R * shape.S,
        Phase.PRE_DGRAD: shape.C * shape.H * shape.W,
    }
    for phase, elements in outputs.items():
        assert make_problem(shape, phase, 3).output_elements == elements


def test_a_phase_without_its_operand_is_refused() -> None:
    layer = layer_from_arrays(
        "conv1", activation=np.ones((1, 2, 3, 3)), weight=np.ones((4, 2, 1, 1))
    )
    problem = make_problem(layer.shape, Phase.WGRAD, 1)
    with pytest.raises(ConfigError, match="layer conv1: wgrad needs the gradient, which is absent"):
        make_operands(layer, problem)


def test_an_absent_weight_mask_means_dense() -> None:
    rng = np.random.default_rng(0)
    activation = rng.random((2, 4, 5, 5)) < 0.5
    shape = LayerShape(C=4, H=5, W=5, K=6, R=3, S=3, groups=2)
    totals = []
    for weight in (None, np.ones((6, 2, 3, 3))):
        layer = layer_from_arrays("l", activation=activation, weight=weight, shape=shape)
        problem = make_problem(shape, Phase.FORWARD, 2)
        totals.append(count_useful(problem, make_operands(layer, problem)).tolist())
    assert totals[0] == totals[1]
    assert totals[0] == [
        useful_products(shape, "forward", activation[n], None, np.ones((6, 2, 3, 3)))
        for n in range(2)
    ]
