"""The dense reference machine: closed forms by hand, and against loops over the convolution."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import layers

from gscn_sim import load_config, simulate
from gscn_sim.errors import ConfigError
from gscn_sim.run.pipeline import simulate_phase
from workloads import Layer, LayerShape, Phase, Trace, layer_from_arrays

IDEAL = {"dram.preset": "ideal", "network.operand_bytes_per_cycle": 0, "drain.entries_per_cycle": 0}
SMALL = IDEAL | {"array.pe_rows": 2, "array.pe_cols": 2}


def test_a_layer_by_hand() -> None:
    """10 channels, 3x3, 8x8 outputs on 2x2 PEs of 16: 16 outputs a PE and filter, 90 / 16 -> 6."""
    a = np.zeros((1, 10, 8, 8))
    w = np.ones((3, 10, 3, 3))
    a[0, 0, 4, 4] = 1  # one non-zero only: a dense machine cannot tell
    layer = layer_from_arrays("layer", activation=a, weight=w, padding=(1, 1))
    trace = Trace(network="toy", batch_size=1, layers=[layer])
    record = simulate(trace, load_config("dense", SMALL), phases=("forward",)).records[0]
    assert record.cycles == 16 * 3 * 6
    inside = (3 * 8 - 2) ** 2  # of a channel's 3x3 windows, the edge ones stick out
    assert record.slots.useful == record.useful_products == 3 * 10 * inside
    assert record.slots.fragmentation == 4 * 16 * record.cycles - record.slots.useful
    assert record.slots.redundant == record.slots.placeholder == record.slots.bank_conflict == 0


def test_sparsity_changes_nothing() -> None:
    shape = LayerShape(C=4, H=7, W=7, K=5, R=3, S=3, stride=(2, 2), padding=(1, 1))
    cycles = set()
    for density in (0.0, 0.3, 1.0):
        generator = np.random.default_rng(1)
        layer = layer_from_arrays(
            "layer",
            activation=generator.random((2, *shape.activation_shape)) < density,
            gradient=generator.random((2, *shape.gradient_shape)) < density,
            stride=(2, 2),
            padding=(1, 1),
            shape=shape,
        )
        trace = Trace(network="toy", batch_size=4, layers=[layer])
        run = simulate(trace, load_config("dense"), phases=("forward", "dgrad", "wgrad"))
        cycles.add(tuple(record.cycles for record in run.records))
    assert len(cycles) == 1


def products(shape: LayerShape, phase: Phase) -> dict[tuple[int, ...], list[bool]]:
    """Each output's products: whether they lie inside the input, those on padding included."""
    out: dict[tuple[int, ...], list[bool]] = {}
    channels, filters = shape.C // shape.groups, shape.K // shape.groups
    for p, q, r, s in itertools.product(*map(range, (shape.P, shape.Q, shape.R, shape.S))):
        h = p * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
        w = q * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
        inside = 0 <= h < shape.H and 0 <= w < shape.W
        if phase is Phase.FORWARD:
            out.setdefault((p, q), []).extend([inside] * channels)
        elif phase is Phase.WGRAD:
            out.setdefault((r, s), []).append(inside)
        elif inside:
            out.setdefault((h, w), []).extend([True] * filters)
    return out


@settings(max_examples=60, deadline=None)
@given(layer=layers(), phase=st.sampled_from((Phase.FORWARD, Phase.WGRAD)))
def test_one_pe_against_loops(layer: Layer, phase: Phase) -> None:
    config = load_config("dense", IDEAL | {"array.pe_rows": 1, "array.pe_cols": 1})
    record = simulate_phase("toy", layer, phase, config, 3)
    shape = layer.shape
    lists = products(shape, phase)
    copies = shape.K if phase is Phase.FORWARD else shape.K * shape.C // shape.groups
    assert record.steps == 3 * copies * sum(math.ceil(len(v) / 16) for v in lists.values())
    assert record.slots.useful == 3 * copies * sum(map(sum, lists.values()))


@settings(max_examples=40, deadline=None)
@given(layer=layers())
def test_dgrad_forms_each_product_once(layer: Layer) -> None:
    record = simulate_phase("toy", layer, Phase.DGRAD, load_config("dense", SMALL), 2)
    shape = layer.shape
    expected = sum(map(sum, products(shape, Phase.DGRAD).values()))
    assert record.slots.useful == 2 * shape.C * expected
    assert record.steps >= math.ceil(record.slots.useful / 16)


def test_nothing_else_maps_it_and_operands_are_stored_dense() -> None:
    config = load_config("dense", {"mapping.kind": "auto"})
    layer = layer_from_arrays(
        "layer", activation=np.ones((1, 2, 4, 4)), weight=np.ones((2, 2, 1, 1))
    )
    record = simulate_phase("toy", layer, Phase.FORWARD, config, 1)
    assert record.mapping == "n1 8x8 o1"
    assert record.activity.stationary_write_bytes == 2 * 16 * config.pe.value_bytes
    with pytest.raises(ConfigError, match=r"pe\.index_bits"):
        load_config("dense", {"pe.index_bits": -1})


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.DGRAD, Phase.WGRAD])
def test_every_element_is_read_once(phase: Phase, groups: int) -> None:
    """With a large buffer: maps of each sample, weights of none twice.

    Windows of neighbouring tiles overlap in wgrad: PEs are sent both, memory is read once.
    """
    shape = LayerShape(C=6, H=4, W=6, K=4, R=3, S=3, groups=groups)
    layer = layer_from_arrays(
        "layer",
        activation=np.zeros((1, *shape.activation_shape)),
        gradient=np.zeros((1, *shape.gradient_shape)),
        weight=np.ones(shape.weight_shape),
        shape=shape,
    )
    config = load_config("dense", SMALL | {"dram.burst_bytes": 1, "buffer.size_bytes": 1 << 20})
    record = simulate_phase("toy", layer, phase, config, 2)
    activations, gradients = 6 * 4 * 6, 4 * 2 * 4
    weights = 4 * 6 // groups * 3 * 3
    elements = {
        Phase.FORWARD: 2 * activations + weights,
        Phase.DGRAD: 2 * gradients + weights,
        Phase.WGRAD: 2 * (activations + gradients),
    }
    assert record.dram_read_bytes == elements[phase] * config.pe.value_bytes
    if phase is Phase.WGRAD:
        sent = record.activity.stationary_write_bytes
        assert sent > 2 * activations * config.pe.value_bytes
