"""Bytes read and written: what the mapping says must move, counted from the masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import layers
from runs import BYTES, KINDS, plan_of, run, ungrouped

from workloads import Layer


@pytest.mark.parametrize("phase", ["forward", "dgrad"])
@pytest.mark.parametrize("tiles_fit", [True, False])
@pytest.mark.parametrize("buffer_fits", [True, False])
@settings(max_examples=25)
@given(layer=layers().filter(ungrouped), kind=st.sampled_from(KINDS), batch=st.integers(1, 5))
def test_maps_traffic(
    phase: str, tiles_fit: bool, buffer_fits: bool, layer: Layer, kind: str, batch: int
) -> None:
    """Maps are read once, or for every accumulator group; weights once, or for every pass.

    Output-channel parts share what they read. How many groups and passes there are is all that
    depends on the mapping.
    """
    overrides = BYTES | {
        "mapping.kind": kind,
        "pe.stationary_buffer_bytes": 1 << 30 if tiles_fit else 1,
        "buffer.size_bytes": 1 << 30 if buffer_fits else 1,
    }
    plan = plan_of(layer, phase, overrides, batch)
    record = run(layer, phase, overrides, batch)
    maps = layer.values("activation" if phase == "forward" else "gradient")
    nonzeros = sum(np.count_nonzero(maps[n % layer.n_samples]) for n in range(batch))
    weights = np.count_nonzero(layer.values("weight"))
    groups = max(len(split) for split in plan.blocks_of_split)
    groups = 1 if tiles_fit or buffer_fits else groups
    waves = -(-batch // plan.samples)
    visits = 1 if buffer_fits else waves * plan.passes[0] * plan.passes[1]
    assert record.dram_read_bytes == 2 * (nonzeros * groups + weights * visits)
    shape = layer.shape
    outputs = shape.K * shape.P * shape.Q if phase == "forward" else shape.C * shape.H * shape.W
    assert record.dram_write_bytes == batch * outputs


def reachable(layer: Layer) -> np.ndarray:
    """Activations between the first and the last that any gradient can meet."""
    s = layer.shape
    spans = []
    for i, (size, out, kernel) in enumerate(((s.H, s.P, s.R), (s.W, s.Q, s.S))):
        first = -s.padding[i]
        last = (out - 1) * s.stride[i] - s.padding[i] + (kernel - 1) * s.dilation[i]
        spans.append(slice(max(first, 0), max(0, min(last + 1, size))))
    return layer.values("activation")[:, :, spans[0], spans[1]]


@pytest.mark.parametrize("dataflow", ["cartesian", "positional"])
@pytest.mark.parametrize("tiles_fit", [True, False])
@pytest.mark.parametrize("buffer_fits", [True, False])
@settings(max_examples=25)
@given(
    layer=layers().filter(lambda layer: ungrouped(layer) and reachable(layer).size > 0),
    kind=st.sampled_from(("sample", "channel")),
    batch=st.integers(1, 5),
)
def test_wgrad_traffic(
    dataflow: str, tiles_fit: bool, buffer_fits: bool, layer: Layer, kind: str, batch: int
) -> None:
    """Activations are read once, or for every range of outputs; gradients once, or for each step.

    A step is one range of input channels on each input-channel part. Output-channel parts share the
    activations that they read.
    """
    overrides = BYTES | {
        "mapping.kind": kind,
        "dataflow.wgrad": dataflow,
        "pe.accumulator_entries": 16,  # one filter at least, seldom all of them
        "pe.stationary_buffer_bytes": 1 << 30 if tiles_fit else 1,
        "buffer.size_bytes": 1 << 30 if buffer_fits else 1,
    }
    plan = plan_of(layer, "wgrad", overrides, batch)
    record = run(layer, "wgrad", overrides, batch)
    window, gradient = reachable(layer), layer.values("gradient")
    acts = sum(np.count_nonzero(window[n % layer.n_samples]) for n in range(batch))
    grads = sum(np.count_nonzero(gradient[n % layer.n_samples]) for n in range(batch))
    steps = len(plan.blocks_of_split[0]) // len({(b.o0) for (b, *_) in plan.blocks_of_split[0]})
    ranges = max(len(split) for split in plan.blocks_of_split) // steps
    reads = acts * (1 if tiles_fit or buffer_fits else ranges)
    reads += grads * (1 if buffer_fits else steps)
    assert record.dram_read_bytes == 2 * reads
    assert record.dram_write_bytes == layer.values("weight").size
