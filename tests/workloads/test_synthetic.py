"""Synthetic traces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workloads
from workloads import GscnError, LayerShape, Trace, synthesize
from workloads.synthetic import channel_densities, exact_mask

WIDE = LayerShape(C=64, H=28, W=28, K=128, R=3, S=3, padding=(1, 1))
LAYERS = [
    ("first", LayerShape(C=3, H=32, W=32, K=64, R=7, S=7, stride=(2, 2), padding=(3, 3))),
    ("wide", WIDE),
    ("fc", LayerShape(C=512, H=1, W=1, K=100, R=1, S=1)),
]


def make(layers: list[tuple[str, LayerShape]] = LAYERS, **changed: Any) -> Trace:
    wanted = {
        "batch_size": 16,
        "samples": 2,
        "activation_density": 0.5,
        "gradient_density": 0.1,
        "seed": 1,
    }
    return synthesize("toy", layers, **{**wanted, **changed})


def test_layers_have_the_wanted_shapes_and_only_the_first_lacks_an_input_gradient() -> None:
    trace = make()
    assert [(layer.name, layer.shape) for layer in trace.layers] == LAYERS
    assert [layer.input_gradient for layer in trace.layers] == [False, True, True]
    assert {layer.n_samples for layer in trace.layers} == {2}
    assert (trace.network, trace.batch_size, trace.seed) == ("toy", 16, 1)


def test_a_seed_gives_the_same_masks_whatever_is_asked_first() -> None:
    trace = make(channel_imbalance=0.2, weight_density=0.3)
    forwards = list(trace.layers)
    assert forwards[::-1] == [trace.layers[i] for i in (2, 1, 0)]
    assert trace.layers[1:] == forwards[1:]
    assert list(make(channel_imbalance=0.2, weight_density=0.3).layers) == forwards
    assert make(seed=2).digest != make().digest


def test_a_mask_does_not_depend_on_other_layers_or_other_operands() -> None:
    alone = make(LAYERS[1:2], gradient_density=0.7).layers[0]
    among = make().layers[1]
    assert alone.activation == among.activation
    assert alone.gradient != among.gradient


@pytest.mark.parametrize("imbalance", [0.0, 0.1, 0.6])
def test_densities_are_near_the_wanted_ones(imbalance: float) -> None:
    layer = make(channel_imbalance=imbalance, weight_density=0.3).layers[1]
    for operand, wanted in (("activation", 0.5), ("gradient", 0.1), ("weight", 0.3)):
        mask = layer.mask(operand)
        assert mask is not None
        # Five standard deviations of independent bits; drawing one density per equal slice of
        # the distribution adds little, but 64 slices of a wide distribution are not exact.
        slack = 5 * math.sqrt(wanted * (1 - wanted) / mask.size) + 0.01 * (imbalance > 0)
        assert abs(mask.density - wanted) < slack


@pytest.mark.parametrize("imbalance", [0.0, 0.1, 0.9])
def test_exact_counts(imbalance: float) -> None:
    for layer in make(exact=True, channel_imbalance=imbalance, weight_density=0.37).layers:
        for operand, wanted in (("activation", 0.5), ("gradient", 0.1), ("weight", 0.37)):
            mask = layer.mask(operand)
            assert mask is not None
            assert mask.nonzeros == round(wanted * mask.size)


def test_channels_are_equal_without_imbalance_and_spread_with_it() -> None:
    def channels(imbalance: float) -> np.ndarray:
        gradient = make(channel_imbalance=imbalance).layers[1].gradient
        assert gradient is not None
        return np.asarray(gradient.dense().mean(axis=(0, 2, 3)))

    bits = 2 * 28 * 28
    even, uneven = channels(0.0), channels(0.1)
    assert even.std() < 1.5 * math.sqrt(0.09 / bits)
    assert uneven.std() == pytest.approx(math.sqrt(0.1 * 0.09), rel=0.2)
    assert uneven.min() < 0.01
    assert uneven.max() > 0.35


@given(
    st.integers(1, 200),
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 2**32),
)
def test_channel_densities_are_probabilities(
    channels: int, density: float, imbalance: float, seed: int
) -> None:
    drawn = channel_densities(np.random.default_rng(seed), channels, density, imbalance)
    assert drawn.shape == (channels,)
    assert ((drawn >= 0) & (drawn <= 1)).all()


@given(
    st.tuples(*[st.integers(1, 6)] * 4),
    st.floats(0, 1),
    st.floats(0, 0.99),
    st.integers(0, 2**32),
)
def test_exact_masks_of_any_shape(
    shape: tuple[int, ...], density: float, imbalance: float, seed: int
) -> None:
    mask = exact_mask(np.random.default_rng(seed), shape, density, imbalance)
    assert mask.shape == shape
    assert mask.sum() == round(density * math.prod(shape))


def test_every_exact_mask_is_equally_likely() -> None:
    # 2 of 4 positions in two channels: six masks, 600 draws, chi-squared with 5 degrees of freedom.
    generator = np.random.default_rng(0)
    drawn = [exact_mask(generator, (1, 2, 1, 2), 0.5, 0.0).tobytes() for _ in range(600)]
    counts = [drawn.count(mask) for mask in set(drawn)]
    assert len(counts) == 6
    assert sum((count - 100) ** 2 / 100 for count in counts) < 20.5  # p = 0.001


def test_densities_by_layer() -> None:
    by_layer = {"first": 1.0, "wide": 0.25, "fc": 0.0}
    trace = make(activation_density=by_layer, exact=True)
    densities = [layer.activation.density for layer in trace.layers if layer.activation]
    assert densities == [1.0, 0.25, 0.0]


def test_dense_weights_and_missing_gradients_are_left_out() -> None:
    layer = make(gradient_density=None).layers[1]
    assert layer.weight is None
    assert layer.gradient is None
    assert layer.phases() == (workloads.Phase.FORWARD,)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"activation_density": 1.5}, "activation_density must be from 0 to 1, got 1.5"),
        ({"activation_density": math.nan}, "activation_density must be from 0 to 1, got nan"),
        ({"activation_density": "half"}, "activation_density must be from 0 to 1, got 'half'"),
        ({"activation_density": None}, "activation_density must be from 0 to 1, got None"),
        ({"gradient_density": {"first": 0.1}}, "gradient_density .* got none for 'wide'"),
        (
            {"weight_density": {"first": 1, "wide": -1, "fc": 1}},
            r"weight_density\['wide'\] must be from 0 to 1, got -1",
        ),
        ({"channel_imbalance": 1}, "channel_imbalance must be from 0 to below 1, got 1"),
        ({"batch_size": 0}, "batch_size must be a positive int, got 0"),
        ({"samples": 17}, "samples must be at most batch_size 16, got 17"),
        ({"samples": 0}, "samples must be a positive int, got 0"),
        ({"seed": -1}, "seed must be a non-negative int, got -1"),
        ({"seed": 1 << 64}, "seed must be an int from 0 to"),
        ({"layers": []}, "at least one layer"),
        ({"layers": [LAYERS[0], LAYERS[0]]}, "layer 'first' must be there only once"),
        ({"layers": [("a\nb", WIDE)]}, "layer name must be"),
        (
            {"layers": [("a", LayerShape(C=1 << 20, H=1 << 20, W=1, K=1, R=1, S=1))]},
            "at most 4294967296 elements",
        ),
        (
            {
                "layers": [("a", LayerShape(C=1 << 15, H=1 << 15, W=1, K=1, R=1, S=1))],
                "exact": True,
            },
            "'a': activation must have at most 999999999 elements for exact",
        ),
    ],
)
def test_what_cannot_be_synthesised(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(GscnError, match=message):
        make(**changed)
