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


def test_what_cannot_be_executed() -> None:
    shape = LayerShape(C=1, H=3, W=3, K=1, R=1, S=1)
    no_weight = layer_from_arrays(
        "conv1", activation=np.ones((1, 1, 3, 3)), gradient=np.ones((1, 1, 3, 3)), shape=shape
    )
    with pytest.raises(ConfigError, match="layer conv1: dgrad in functional mode needs the values"):
        execute(no_weight, "dgrad", load_config())
    with pytest.raises(ConfigError, match="layer conv1: pre_dgrad has no recorded values"):
        execute(no_weight, "pre_dgrad", load_config())
