"""The mapping that is taken: on real layers never far from the best of those that can be forced."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from gscn_sim.config import Config, load_config
from gscn_sim.config.names import MAPPING_KINDS
from gscn_sim.run.decide import without_banks
from gscn_sim.run.memo import Cache
from gscn_sim.run.pipeline import simulate_phase
from workloads import Layer, Phase, Trace, load

CACHE = Cache()


@cache
def trace(name: str) -> Trace:
    return load(f"workloads/data/{name}.npz")


def layer_of(network: str, name: str) -> Layer:
    return next(layer for layer in trace(network).layers if layer.name == name)


def cycles(layer: Layer, phase: Phase, config: Config) -> int:
    return simulate_phase("network", layer, phase, config, 16).cycles


@pytest.mark.parametrize(
    ("layer", "overrides"),
    [
        # The largest fill fits no PE's buffer where the mean one does: it was sent every round.
        pytest.param("layer4.0.conv1", {"array.pe_rows": 28}, id="fills"),
        pytest.param("layer2.3.conv1", {"dram.preset": "ddr4-50"}, id="slow memory"),
        pytest.param("layer2.0.conv1", {"array.pe_rows": 56}, id="many PEs"),
        pytest.param("layer3.5.conv2", {"pe.stationary_buffer_bytes": 2048}, id="small buffers"),
    ],
)
def test_no_forced_mapping_is_much_faster(layer: str, overrides: dict[str, Any]) -> None:
    given = layer_of("resnet34_q10", layer)
    auto = cycles(given, Phase.WGRAD, load_config("gscn-ideal", overrides))
    forced = [
        cycles(given, Phase.WGRAD, load_config("gscn-ideal", {**overrides, "mapping.kind": kind}))
        for kind in MAPPING_KINDS.names()
    ]
    assert auto <= 1.10 * min(forced)


def test_more_rows_of_pes_are_no_slower() -> None:
    """Doubling them made this layer 3 times slower."""
    given = layer_of("resnet34_q10", "layer2.1.conv1")
    few, many = (
        cycles(given, Phase.WGRAD, load_config("gscn-ideal", {"array.pe_rows": rows}))
        for rows in (28, 56)
    )
    assert many <= 1.005 * few


def test_counted_time_knows_no_banks() -> None:
    """Designs that differ in banks or queues, or where no counted time looks, are planned once."""
    default = without_banks(load_config("gscn-ideal"))
    for key, value in {
        "pe.accumulator_banks": 64,
        "pe.bank_queue_depth": 2,
        "pe.bank_hash": "modulo",
        "vector.lanes": 64,
        "mapping.group_outputs": 4,
    }.items():
        assert without_banks(load_config("gscn-ideal", {key: value})) == default, key
    assert without_banks(load_config("gscn-ideal", {"pe.index_bits": 4})) != default
