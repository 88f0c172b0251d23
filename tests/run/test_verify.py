"""``verify``: every identity of every layer-phase, and functional equality on some."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from oracles.cases import layers
from oracles.products import convolve

from gscn_sim import load_config, verify
from gscn_sim.run.verify import direct, fill_with_integers
from workloads import Layer, Phase, Trace, layer_from_arrays


def toy_trace() -> Trace:
    rng = np.random.default_rng(2)
    conv = [
        layer_from_arrays(
            f"conv{i}",
            activation=rng.random((2, 3, 6, 6)) < 0.5,
            gradient=rng.random((2, 4, 6, 6)) < 0.2,
            weight=np.ones((4, 3, 3, 3)),
            padding=(1, 1),
            input_gradient=i > 0,
        )
        for i in range(3)
    ]
    return Trace(network="toy", batch_size=4, layers=conv)


@settings(max_examples=40)
@given(layer=layers(side=5, channels=3))
def test_the_direct_convolution_is_the_definition(layer: Layer) -> None:
    values = [layer.values(operand) for operand in ("activation", "gradient", "weight")]
    for phase in (Phase.FORWARD, Phase.DGRAD, Phase.WGRAD):
        expected = convolve(layer.shape, phase.value, *values)
        np.testing.assert_array_equal(direct(layer, phase), expected)


@pytest.mark.parametrize("preset", ["gscn", "gscn-bf16"])
def test_a_sound_trace_passes(preset: str) -> None:
    table = verify(toy_trace(), load_config(preset), functional_layers=2)
    assert table["passed"].all()
    assert set(table["layer"]) == {"conv0", "conv1", "conv2"}
    functional = table[table["check"] == "functional equality"]
    assert functional["layer"].nunique() == 2
    assert "dgrad" not in set(table[table["layer"] == "conv0"]["phase"])


def test_a_wrong_result_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(layer: Layer, phase: Phase) -> np.ndarray:
        result = direct(layer, phase)
        result.flat[0] += 1
        return result

    monkeypatch.setattr(sys.modules[direct.__module__], "direct", wrong)
    table = verify(toy_trace(), load_config(), functional_layers=3)
    failed = table[~table["passed"]]
    assert set(failed["check"]) == {"functional equality"}
    assert set(failed["got"]) == {"1 values differ"}


def test_filled_values_follow_the_masks() -> None:
    (layer, *_) = toy_trace().layers
    filled = fill_with_integers(layer, np.random.default_rng(0))
    for operand in ("activation", "gradient"):
        values = filled.values(operand)
        np.testing.assert_array_equal(values != 0, getattr(layer, operand).dense())
        assert np.abs(values).max() <= 4
