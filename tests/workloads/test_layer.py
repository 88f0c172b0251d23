"""Layers, and making them from arrays."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from trace_cases import SMALL, STRIDED, layers, make_layer

from workloads import (
    OPERANDS,
    GscnError,
    Layer,
    LayerError,
    LayerShape,
    Mask,
    Phase,
    ShapeError,
    layer_from_arrays,
)

BOTH = (Phase.FORWARD, Phase.DGRAD, Phase.WGRAD, Phase.PRE_DGRAD, Phase.PRE_WGRAD)


@given(layers(2))
def test_masks_are_where_the_values_are_not_zero(layer: Layer) -> None:
    assert layer.n_samples == 2
    for operand in OPERANDS:
        values, mask = layer.values(operand), layer.mask(operand)
        if values is None:
            assert mask is None
        elif mask is None:
            assert operand == "weight"
            assert values.all()
        else:
            np.testing.assert_array_equal(mask.dense(), values != 0)


@pytest.mark.parametrize(
    ("operands", "input_gradient", "phases"),
    [
        (("activation", "gradient", "weight"), True, BOTH),
        (("activation", "gradient"), True, BOTH),
        (
            ("activation", "gradient"),
            False,
            (Phase.FORWARD, Phase.WGRAD, Phase.PRE_WGRAD),
        ),
        (("activation",), True, (Phase.FORWARD,)),
        (("gradient",), True, (Phase.DGRAD, Phase.PRE_DGRAD)),
        (("gradient",), False, ()),
    ],
)
def test_phases_need_their_operands(
    operands: tuple[str, ...], input_gradient: bool, phases: tuple[Phase, ...]
) -> None:
    layer = make_layer(SMALL, operands=operands, input_gradient=input_gradient)
    assert layer.phases() == phases


@pytest.mark.parametrize("of_input", [False, True])
@pytest.mark.parametrize("of_weight", [False, True])
@pytest.mark.parametrize("extra", [(), ("pre_wgrad",), ("pre_wgrad", "pre_dgrad")])
def test_phases_that_training_did_not_run_are_none(
    of_input: bool, of_weight: bool, extra: tuple[Phase, ...]
) -> None:
    layer = make_layer(
        SMALL, input_gradient=of_input, weight_gradient=of_weight, extra_phases=extra
    )
    ran = {"forward"} | ({"dgrad"} if of_input else set()) | ({"wgrad"} if of_weight else set())
    ran |= {phase for phase in extra if phase.removeprefix("pre_") in ran}
    assert set(layer.phases()) == ran
    assert list(layer.phases()) == [phase for phase in Phase if phase in ran]


def test_values_are_read_only_copies() -> None:
    activation = np.ones((1, 2, 3, 3), np.float32)
    weight = np.ones((4, 2, 3, 3), np.int8)
    layer = layer_from_arrays("conv", activation=activation, weight=weight)
    activation[:] = 0
    values = layer.values("activation")
    assert values is not None
    assert values.all()
    assert not values.flags.writeable
    kept = layer.values("weight")
    assert kept is not None
    assert kept.dtype == np.int8
    assert layer.values("gradient") is None


def test_foreign_byte_order_becomes_native() -> None:
    activation = np.arange(4, dtype=">f4").reshape(1, 1, 2, 2)
    layer = layer_from_arrays("conv", activation=activation, weight=np.ones((1, 1, 1, 1)))
    values = layer.values("activation")
    assert values is not None
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values.ravel(), [0, 1, 2, 3])


def test_weights_without_zeros_are_dense() -> None:
    dense = make_layer(SMALL, density=1.0)
    assert dense.weight is None
    assert dense.values("weight") is not None
    full = Mask.from_array(np.ones(SMALL.weight_shape))
    assert Layer(name="a", shape=SMALL, gradient=dense.gradient, weight=full).weight is None


def test_layers_can_be_sent_to_another_process() -> None:
    layer = make_layer(STRIDED)
    assert pickle.loads(pickle.dumps(layer)) == layer


def test_fully_connected_is_1x1_on_1x1() -> None:
    layer = layer_from_arrays(
        "fc",
        activation=np.ones((3, 10, 1, 1)),
        weight=np.ones((5, 10, 1, 1)),
        gradient=np.ones((3, 5, 1, 1)),
    )
    assert layer.shape == LayerShape(C=10, H=1, W=1, K=5, R=1, S=1)


def arrays(**changed: Any) -> dict[str, Any]:
    given = {
        "activation": np.ones((2, 4, 6, 6)),
        "weight": np.ones((8, 4, 3, 3)),
        "gradient": np.ones((2, 8, 4, 4)),
    }
    return {**given, **changed}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"gradient": np.ones((2, 8, 4, 5))},
            r"layer 'conv1': gradient must be \[2, 8, 4, 4\], got \[2, 8, 4, 5\]",
        ),
        (
            {"gradient": np.ones((1, 8, 4, 4))},
            r"layer 'conv1': gradient must be \[2, 8, 4, 4\], got \[1, 8, 4, 4\]",
        ),
        (
            {"weight": np.ones((8, 3, 3, 3))},
            r"layer 'conv1': weight must be \[8, 4, 3, 3\], got \[8, 3, 3, 3\]",
        ),
        ({"activation": np.ones((4, 6, 6))}, r"layer 'conv1': activation must have 4"),
        ({"activation": np.ones((0, 4, 6, 6))}, r"layer 'conv1': activation must have 4"),
        ({"weight": None, "gradient": None}, "'conv1': shape must be given"),
        ({"activation": None, "gradient": None}, "'conv1': shape must be given"),
        ({"activation": None, "weight": None}, "'conv1': shape must be given"),
        ({"stride": (0, 1)}, "'conv1': stride_h must be a positive int, got 0"),
        ({"stride": 2}, "'conv1': stride must be a .height, width. pair, got 2"),
        ({"padding": (-1, 0)}, "'conv1': padding_h must be a non-negative int, got -1"),
        ({"dilation": (1, 9)}, "'conv1': output must be at least 1x1"),
        ({"groups": 0}, "'conv1': groups must be a positive int, got 0"),
        ({"groups": 3}, "'conv1': groups must divide C and K"),
    ],
)
def test_arrays_that_do_not_fit(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        layer_from_arrays("conv1", **arrays(**changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weight": np.full((8, 4, 3, 3), np.nan)}, "'conv1': weight must be finite, got 288 NaN"),
        ({"gradient": np.full((2, 8, 4, 4), np.inf)}, "'conv1': gradient must be finite"),
        ({"activation": np.ones((2, 4, 6, 6), complex)}, "activation must be one of bool, .* got"),
        ({"activation": np.full((2, 4, 6, 6), None)}, "activation must be one of .* got object"),
        ({"activation": [[1], [1, 2]]}, "'conv1': activation is no array"),
        ({"iteration": -1}, "'conv1': iteration must be a non-negative int, got -1"),
        ({"iteration": 1.5}, "'conv1': iteration must be a non-negative int, got 1.5"),
        ({"input_gradient": 1}, "'conv1': input_gradient must be True or False, got 1"),
        ({"weight_gradient": 0}, "'conv1': weight_gradient must be True or False, got 0"),
        ({"batch_size": 0}, "'conv1': batch_size must be a positive int or None, got 0"),
        ({"extra_phases": ("dgrad",)}, "'conv1': extra_phases must be of pre_dgrad, pre_wgrad"),
    ],
)
def test_contents_that_cannot_be_used(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        layer_from_arrays("conv1", **arrays(**changed))


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201, 3, None, "\ud800"])
def test_names_that_cannot_stand_in_a_message(name: Any) -> None:
    with pytest.raises(LayerError, match="layer name must be 1 to 200 printable") as caught:
        layer_from_arrays(name, **arrays())
    assert str(caught.value).isprintable()


def test_shape_replaces_the_geometry_and_is_checked() -> None:
    activation = np.ones((1, 2, 7, 7))
    shape = LayerShape(C=2, H=7, W=7, K=3, R=3, S=3, stride=(2, 2))
    assert layer_from_arrays("a", activation=activation, shape=shape).shape == shape
    with pytest.raises(ShapeError, match=r"'a': activation must be \[n, 2, 7, 7\], got \[1, 2, 6"):
        layer_from_arrays("a", activation=activation[:, :, :6], shape=shape)
    with pytest.raises(LayerError, match="'a' must have at least one sample"):
        layer_from_arrays("a", activation=activation[:0], shape=shape)
    with pytest.raises(LayerError, match="'a' must have an activation or a gradient"):
        layer_from_arrays("a", weight=np.ones(shape.weight_shape), shape=shape)


def test_operands_have_names() -> None:
    layer = make_layer(SMALL)
    with pytest.raises(GscnError, match="operand must be one of activation, gradient, weight"):
        layer.values("input")


def test_shape_must_be_one() -> None:
    with pytest.raises(LayerError, match="'a': shape must be a LayerShape"):
        Layer(name="a", shape=(1, 2))
