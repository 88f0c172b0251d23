"""A trace through :func:`simulate`: order, repeated phases, batches, bad requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from oracles.cases import layers, machine_overrides
from runs import PHASES, expected_useful, toy_layer

from gscn_sim import load_config, simulate
from gscn_sim.errors import ConfigError
from gscn_sim.run.pipeline import simulate_phase
from workloads import Layer, Phase, Trace


@settings(max_examples=40)
@given(layer=layers(), overrides=machine_overrides())
def test_the_same_run_twice_gives_the_same_records(layer: Layer, overrides: dict[str, Any]) -> None:
    config = load_config("gscn-ideal", {**overrides, "pe.accumulator_entries": 1024})
    trace = Trace(network="toy", batch_size=3, layers=[layer, replace(layer, name="again")])
    first = simulate(trace, config, phases=PHASES, workers=1)
    second = simulate(trace, config, phases=PHASES, workers=3)
    assert first.records == second.records
    assert first == second


def test_phases_run_in_the_order_of_the_trace() -> None:
    first = toy_layer("first", input_gradient=False)
    trace = Trace(network="toy", batch_size=4, layers=[first, toy_layer("second")])
    seen: list[tuple[int, int, str]] = []
    result = simulate(
        trace,
        load_config(),
        phases=("wgrad", "dgrad", "wgrad"),
        progress=lambda *what: seen.append(what),
    )
    assert [(r.layer, r.phase.value) for r in result.records] == [
        ("first", "wgrad"),
        ("second", "wgrad"),
        ("second", "dgrad"),
    ]
    assert [r.batch_size for r in result.records] == [4, 4, 4]
    assert seen == [(0, 2, "first"), (1, 2, "second"), (2, 2, "")]
    assert result.trace_digest == trace.digest
    assert 0 < result.simpy_share < 1


def test_a_repeated_dense_phase_is_reported_under_its_own_name() -> None:
    """Pre-phases of equal shape cost the same, unless the weights differ."""
    sparse = np.zeros((4, 3, 3, 3))
    sparse[0, 0, 0, 0] = 1
    trace = Trace(
        network="toy",
        batch_size=4,
        layers=[
            toy_layer("a"),
            toy_layer("b"),
            toy_layer("c", weight=sparse),
            toy_layer("d", weight=sparse),
        ],
    )
    records = simulate(trace, load_config(), phases=("pre_dgrad", "pre_wgrad")).records
    by_layer = {name: [r for r in records if r.layer == name] for name in "abcd"}
    assert [len(rows) for rows in by_layer.values()] == [2] * 4
    for one, other in (("a", "b"), ("c", "d")):
        assert [replace(r, layer=other) for r in by_layer[one]] == by_layer[other]
    assert by_layer["a"][0].useful_products != by_layer["c"][0].useful_products
    assert replace(by_layer["a"][1], layer="c") == by_layer["c"][1]
    for name, layer in zip("abcd", trace.layers, strict=True):
        alone = simulate_phase("toy", layer, Phase.PRE_DGRAD, load_config(), 4)
        assert alone == by_layer[name][0]


def test_a_larger_batch_repeats_the_recorded_samples() -> None:
    layer = toy_layer()
    trace = Trace(network="toy", batch_size=4, layers=[layer])
    small, large = (
        simulate(trace, load_config(), phases=PHASES, batch_size=n).records for n in (None, 7)
    )
    for record, batch in ((small[1], 4), (large[1], 7), (large[2], 7)):
        assert record.batch_size == batch
        assert record.samples_recorded == 2
        assert record.useful_products == expected_useful(layer, record.phase.value, batch)
    assert large[0].dense_macs == 7 * layer.shape.dense_macs


def test_bad_requests() -> None:
    trace = Trace(network="toy", batch_size=4, layers=[toy_layer(gradient=None)])
    config = load_config()
    known = "phases are forward, dgrad, wgrad, pre_dgrad, pre_wgrad"
    with pytest.raises(ConfigError, match=f"unknown phase 'backward'; {known}"):
        simulate(trace, config, phases=("backward",))
    with pytest.raises(ConfigError, match=f"no phase given; {known}"):
        simulate(trace, config, phases=())
    with pytest.raises(ConfigError, match="batch size must be a positive int, got 0"):
        simulate(trace, config, phases=("forward",), batch_size=0)
    with pytest.raises(ConfigError, match="no layer of trace 'toy' can run dgrad, wgrad"):
        simulate(trace, config)
