"""Layers, and single layer-phases run on machines."""

from __future__ import annotations

from typing import Any

import numpy as np
import road
from oracles.products import useful_products

from gscn_sim import load_config, simulate
from gscn_sim.mapping.plan import Plan
from gscn_sim.results.record import PhaseRecord
from workloads import Layer, Phase, Trace, layer_from_arrays

PHASES = ("forward", "dgrad", "wgrad")
KINDS = ("auto", "planar", "sample", "channel", "mixed")
# One byte a value, one a run, bursts of one byte: traffic is twice the entries, not rounded.
BYTES = {
    "pe.value_bytes": 1,
    "pe.index_bits": 8,
    "dram.preset": "ideal",
    "dram.burst_bytes": 1,
    "pe.accumulator_entries": 300,
}


def run(layer: Layer, phase: str, overrides: dict[str, Any], batch: int) -> PhaseRecord:
    trace = Trace(network="toy", batch_size=99, layers=[layer])
    config = load_config("gscn-ideal", overrides)
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


def plan_of(layer: Layer, phase: str, overrides: dict[str, Any], batch: int) -> Plan:
    return road.plan_of(layer, Phase(phase), load_config("gscn-ideal", overrides), batch)


def ungrouped(layer: Layer) -> bool:
    return layer.shape.groups == 1
