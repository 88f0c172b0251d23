"""Functional mode against the convolution's definition, exactly, on integers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from oracles.cases import layers, machine_overrides
from oracles.products import convolve

from gscn_sim import execute, load_config
from gscn_sim.errors import ConfigError
from workloads import Layer, LayerShape, layer_from_arrays

PHASES = ("forward", "dgrad", "wgrad")


def expected(layer: Layer, phase: str) -> np.ndarray:
    values = (layer.values(operand) for operand in ("activation", "gradient", "weight"))
    return convolve(layer.shape, phase, *values)


def integers(shape: LayerShape, samples: int, density: float) -> Layer:
    rng = np.random.default_rng(11)

    def values(size: tuple[int, ...]) -> np.ndarray:
        return rng.integers(-9, 10, size) * (rng.random(size) < density)

    return layer_from_arrays(
        "layer",
        activation=values((samples, *shape.activation_shape)),
        gradient=values((samples, *shape.gradient_shape)),
        weight=values(shape.weight_shape),
        shape=shape,
    )


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_usual_layers(kernel: int) -> None:
    """Stride 1 and 2, padding 0 and 1, groups 1 and 2, every phase, on the default machine."""
    for stride, pad, groups in itertools.product((1, 2), (0, 1), (1, 2)):
        shape = LayerShape(
            C=4,
            H=8,
            W=9,
            K=6,
            R=kernel,
            S=kernel,
            stride=(stride, stride),
            padding=(pad, pad),
            groups=groups,
        )
        layer = integers(shape, 2, 0.6)
        for phase in PHASES:
            result = execute(layer, phase, load_config())
            np.testing.assert_array_equal(result, expected(layer, phase))


@pytest.mark.parametrize("phase", PHASES)
@settings(max_examples=80)
@given(layer=layers(), overrides=machine_overrides())
def test_any_layer_on_any_machine(phase: str, layer: Layer, overrides: dict[str, Any]) -> None:
    config = load_config("gscn-ideal", overrides | {"pe.accumulator_entries": 256})
    np.testing.assert_array_equal(execute(layer, phase, config), expected(layer, phase))


def test_dense_weights_keep_their_values() -> None:
    """A layer whose weights hold no zero shares one list in the masks, not its values."""
    shape = LayerShape(C=4, H=5, W=5, K=4, R=3, S=3, padding=(1, 1), groups=2)
    layer = integers(shape, 1, 0.5)
    weight = np.arange(1.0, 1 + np.prod(shape.weight_shape)).reshape(shape.weight_shape)
    dense = layer_from_arrays(
        "layer",
        activation=layer.values("activation"),
        gradient=layer.values("gradient"),
        weight=weight,
        shape=shape,
    )
    assert dense.weight is None
    for phase in ("forward", "dgrad"):
        result = execute(dense, phase, load_config())
        np.testing.assert_array_equal(result, expected(dense, phase))


def nearest_even(values: np.ndarray) -> np.ndarray:
    """To 8 significant binary digits, nearest, ties to even: bfloat16 from its definition."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.rint(mantissa * 256), exponent - 8)


def reals(shape: LayerShape, samples: int, scale: float) -> Layer:
    rng = np.random.default_rng(5)

    def values(size: tuple[int, ...]) -> np.ndarray:
        found = scale * rng.standard_normal(size) * (rng.random(size) < 0.7)
        return found.astype(np.float32)

    return layer_from_arrays(
        "layer",
        activation=values((samples, *shape.activation_shape)),
        gradient=values((samples, *shape.gradient_shape)),
        weight=values(shape.weight_shape),
        shape=shape,
    )


@pytest.mark.parametrize("phase", PHASES)
def test_bf16_rounds_operands_and_the_result_and_nothing_else(phase: str) -> None:
    """Against the definition on rounded operands, summed in float64.

    fp32 sums of n terms are off by n eps of the sum of magnitudes at most; the result is rounded
    to 8 digits. Both dataflows of wgrad, groups, a stride.
    """
    shape = LayerShape(
        C=4, H=9, W=8, K=6, R=3, S=3, stride=(2, 2), padding=(1, 1), groups=2
    )  # fmt: skip
    layer = reals(shape, 2, 3.0)
    values = [layer.values(operand) for operand in ("activation", "gradient", "weight")]
    operands = [nearest_even(x) for x in values]
    assert any((a != b).any() for a, b in zip(operands, values, strict=True))
    reference = convolve(shape, phase, *operands)
    magnitudes = convolve(shape, phase, *map(np.abs, operands))
    terms = convolve(shape, phase, *((x != 0).astype(float) for x in operands)).max()
    for dataflow in ("cartesian", "positional") if phase == "wgrad" else ("cartesian",):
        config = load_config("gscn-bf16", {f"dataflow.{phase}": dataflow})
        result = execute(layer, phase, config)
        np.testing.assert_array_equal(result, nearest_even(result))  # bfloat16 numbers
        slack = terms * np.finfo(np.float32).eps * magnitudes
        assert (np.abs(result - reference) <= slack + 2.0**-8 * np.abs(reference)).all()
        exact = execute(layer, phase, load_config("gscn", {f"dataflow.{phase}": dataflow}))
        assert (np.abs(result - exact) > slack + 2.0**-8 * np.abs(reference)).any()


def test_bf16_sums_are_fp32() -> None:
    """2^12 squared is 2^24, where fp32 has no odd numbers: 2^24 + 1 is 2^24, + 2 is not.

    The products, one channel after the other, are 2^24, 1 and -2^24: in fp32 they sum to 0.
    """
    shape = LayerShape(C=3, H=1, W=1, K=1, R=1, S=1)
    for one, expected_sum in ((1.0, 0.0), (2.0, 2.0)):
        activation = np.array([4096.0, one, -4096.0]).reshape(1, 3, 1, 1)
        layer = layer_from_arrays(
            "layer",
            activation=activation,
            weight=np.array([4096.0, 1.0, 4096.0]).reshape(1, 3, 1, 1),
            shape=shape,
        )
        assert execute(layer, "forward", load_config("gscn-bf16")).item() == expected_sum
        assert execute(layer, "forward", load_config("gscn")).item() == one


def test_bf16_is_exact_where_nothing_is_rounded() -> None:
    layer = integers(LayerShape(C=3, H=6, W=6, K=2, R=3, S=3), 1, 0.5)
    for phase in PHASES:
        result = execute(layer, phase, load_config("gscn-bf16"))
        np.testing.assert_array_equal(result, nearest_even(expected(layer, phase)))


def test_bf16_has_its_widths() -> None:
    with pytest.raises(ConfigError, match=r"must be 2 and 4 with pe\.arithmetic bf16, got 4 and 4"):
        load_config("gscn", {"pe.arithmetic": "bf16"})


def test_what_cannot_be_executed() -> None:
    shape = LayerShape(C=1, H=3, W=3, K=1, R=1, S=1)
    no_weight = layer_from_arrays(
        "conv1", activation=np.ones((1, 1, 3, 3)), gradient=np.ones((1, 1, 3, 3)), shape=shape
    )
    with pytest.raises(ConfigError, match="layer conv1: dgrad in functional mode needs the values"):
        execute(no_weight, "dgrad", load_config())
    with pytest.raises(ConfigError, match="layer conv1: pre_dgrad has no recorded values"):
        execute(no_weight, "pre_dgrad", load_config())
