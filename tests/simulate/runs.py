"""Layers, and single layer-phases run on machines."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracles.products import useful_products

from gscn_sim import load_config, simulate
from gscn_sim.records import PhaseRecord
from workloads import Layer, Trace, layer_from_arrays

PHASES = ("forward", "dgrad", "wgrad")
KINDS = ("auto", "planar", "sample", "channel", "mixed")


def run(layer: Layer, phase: str, overrides: dict[str, Any], batch: int) -> PhaseRecord:
    trace = Trace(network="toy", batch_size=99, layers=[layer])
    config = load_config("gscn", overrides)
    (record,) = simulate(trace, config, phases=(phase,), batch_size=batch).records
    return record


def expected_useful(layer: Layer, phase: str, batch: int) -> int:
    name = phase.removeprefix("pre_")
    shape, weight = layer.shape, layer.values("weight")
    if name != phase:
        ones = np.ones(shape.activation_shape), np.ones(shape.gradient_shape)
        return useful_products(shape, name, *ones, weight)
    activation, gradient = layer.values("activation"), layer.values("gradient")
    counts = [
        useful_products(shape, name, activation[n], gradient[n], weight)
        for n in range(layer.n_samples)
    ]
    return sum(counts[n % layer.n_samples] for n in range(batch))


def toy_layer(name: str = "conv1", **given_values: Any) -> Layer:
    rng = np.random.default_rng(3)
    values = {
        "activation": rng.random((2, 3, 6, 6)) < 0.5,
        "gradient": rng.random((2, 4, 6, 6)) < 0.3,
        "weight": np.ones((4, 3, 3, 3)),
    }
    return layer_from_arrays(name, padding=(1, 1), **(values | given_values))
