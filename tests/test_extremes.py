"""Sizes at the edge of what is allowed: counts stay exact, and what is too large is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gscn_sim
import workloads
from gscn_sim.errors import ConfigError
from workloads import LayerShape, layer_from_arrays

PHASES = ("forward", "dgrad", "wgrad", "pre_dgrad", "pre_wgrad")
INT32 = 1 << 31

Masks = NDArray[np.uint8]


def sparse(generator: np.random.Generator, density: float, *shape: int) -> Masks:
    return (generator.random(shape, np.float32) < density).astype(np.uint8)


def simulated(
    layer: workloads.Layer,
    batch: int = 1,
    phases: tuple[str, ...] = PHASES,
    preset: str = "gscn",
    **overrides: object,
) -> dict[str, dict[str, Any]]:
    """The table's rows by phase."""
    trace = workloads.Trace(network="edge", batch_size=batch, layers=[layer])
    config = gscn_sim.load_config(preset, {k.replace("__", "."): v for k, v in overrides.items()})
    table = gscn_sim.simulate(trace, config, phases=phases).table
    return {row["phase"]: row for row in table.to_dict("records")}


def meetings(shape: LayerShape, a: Masks, g: Masks) -> tuple[int, int, int]:
    """Useful products of forward, dgrad and wgrad with dense weights: a [C, H, W], g [K, P, Q]."""
    c, k = shape.C // shape.groups, shape.K // shape.groups
    a_sums = a.reshape(shape.groups, c, shape.H, shape.W).sum(1, dtype=np.int64)
    g_sums = g.reshape(shape.groups, k, shape.P, shape.Q).sum(1, dtype=np.int64)
    forward = dgrad = wgrad = 0
    for r in range(shape.R):
        h = np.arange(shape.P) * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
        p = (h >= 0) & (h < shape.H)
        for s in range(shape.S):
            w = np.arange(shape.Q) * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
            q = (w >= 0) & (w < shape.W)
            here, there = a_sums[:, h[p]][:, :, w[q]], g_sums[:, p][:, :, q]
            forward += int(here.sum()) * k
            dgrad += int(there.sum()) * c
            wgrad += int((here * there).sum())
    return forward, dgrad, wgrad


def check_products(
    shape: LayerShape, phases: tuple[str, ...] = PHASES, preset: str = "gscn"
) -> None:
    """A run checks its own identities; the products are counted here from dense arrays."""
    generator = np.random.default_rng(0)
    activation = sparse(generator, 0.3, 1, *shape.activation_shape)
    gradient = sparse(generator, 0.3, 1, *shape.gradient_shape)
    layer = layer_from_arrays("edge", shape=shape, activation=activation, gradient=gradient)
    rows = simulated(layer, phases=phases, preset=preset)
    ones = np.ones(shape.activation_shape, np.uint8), np.ones(shape.gradient_shape, np.uint8)
    counts = meetings(shape, activation[0], gradient[0]) + meetings(shape, *ones)[1:]
    expected = dict(zip(PHASES, counts, strict=True))
    assert {phase: row["useful_products"] for phase, row in rows.items()} == {
        phase: expected[phase] for phase in phases
    }


@pytest.mark.parametrize(
    ("C", "K", "groups", "phases"),
    [
        (65_535, 2, 1, ("forward", "dgrad", "wgrad")),
        (2, 65_535, 1, ("forward", "dgrad", "wgrad")),
        (65_535, 65_535, 65_535, ("forward", "dgrad")),
        (4_095, 4_095, 4_095, PHASES),
    ],
)
def test_many_channels(C: int, K: int, groups: int, phases: tuple[str, ...]) -> None:
    check_products(LayerShape(C=C, H=1, W=1, K=K, R=1, S=1, groups=groups), phases)


@pytest.mark.parametrize("preset", ["gscn", "ant"])
@pytest.mark.parametrize(
    "shape",
    [
        LayerShape(C=1, H=1, W=65_535, K=1, R=1, S=3, padding=(0, 1)),
        LayerShape(C=2, H=4, W=4, K=3, R=3, S=3, padding=(1, 1), stride=(65_535, 1 << 24)),
        LayerShape(C=1, H=300, W=300, K=1, R=1, S=1, dilation=(65_535, 65_535)),
        LayerShape(C=2, H=1, W=2, K=2, R=1, S=2, padding=(0, 32_768), dilation=(1, 65_535)),
    ],
    ids=["width", "stride", "dilation", "padding"],
)
def test_far_positions(shape: LayerShape, preset: str) -> None:
    check_products(shape, preset=preset)


@pytest.mark.parametrize("dataflow", ["cartesian", "anticipated"])
def test_products_too_far_apart_are_refused(dataflow: str) -> None:
    """Two filter positions 2^24 apart on each axis: a table of where products land cannot be."""
    far = 1 << 23
    shape = LayerShape(
        C=1, H=2, W=2, K=1, R=2, S=2, padding=(far, far), dilation=(2 * far, 2 * far)
    )
    layer = layer_from_arrays("far", shape=shape, activation=np.ones((1, 1, 2, 2)))
    expected = (
        "layer far, forward: products of one tile must land on at most 67108864 positions, "
        r"inside the output or not, got \d+"
    )
    with pytest.raises(ConfigError, match=f"^{expected}$"):
        simulated(layer, phases=("forward",), dataflow__forward=dataflow)


def test_more_than_a_trillion_macs() -> None:
    """Counts above 2^31 and 10^12, of a batch that one recorded sample stands for.

    Samples are split over PEs: with other mappings the fabric would have millions of rounds.
    """
    generator = np.random.default_rng(1)
    shape = LayerShape(C=64, H=14, W=14, K=64, R=3, S=3, padding=(1, 1))
    activation = sparse(generator, 0.2, 1, *shape.activation_shape)
    gradient = sparse(generator, 0.02, 1, *shape.gradient_shape)
    layer = layer_from_arrays("edge", shape=shape, activation=activation, gradient=gradient)
    batch = 1 << 18
    small = simulated(layer)
    large = simulated(layer, batch, mapping__kind="sample")
    for phase in ("forward", "dgrad", "wgrad"):
        row, products = large[phase], small[phase]["useful_products"]
        assert row["dense_macs"] == shape.dense_macs * batch > 10**12
        assert row["useful_products"] == row["slots_useful"] == products * batch > INT32
        slots = [row[name] for name in row if name.startswith("slots_")]
        assert min(slots) >= 0
        assert sum(slots) == 3584 * row["cycles"]
    for phase in ("pre_dgrad", "pre_wgrad"):  # of one sample, whatever the batch
        assert large[phase]["useful_products"] == small[phase]["useful_products"]


def test_a_machine_of_the_largest_sizes() -> None:
    """Buffers of 2^48 bytes, deep queues and wide vectors: still the same useful products."""
    generator = np.random.default_rng(2)
    shape = LayerShape(C=5, H=6, W=6, K=7, R=3, S=3, padding=(1, 1))
    layer = layer_from_arrays(
        "edge",
        shape=shape,
        activation=sparse(generator, 0.4, 2, *shape.activation_shape),
        gradient=sparse(generator, 0.4, 2, *shape.gradient_shape),
    )
    usual = simulated(layer, 2)
    largest = simulated(
        layer,
        2,
        pe__stationary_buffer_bytes=1 << 48,
        pe__streamed_fifo_entries=1 << 48,
        pe__bank_queue_depth=1 << 20,
        pe__adder_stages=1,
        pe__streamed_vector=256,
        pe__stationary_vector=256,
        pe__accumulator_banks=4096,
        pe__index_bits=32,
        pe__value_bytes=16,
        buffer__size_bytes=1 << 48,
        array__clock_ghz=100.0,
    )
    for phase in PHASES:
        assert largest[phase]["useful_products"] == usual[phase]["useful_products"]
