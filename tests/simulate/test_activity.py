"""How often each part of the machine worked, counted from the masks and the plan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import layers
from runs import BYTES, KINDS, plan_of, run, ungrouped

from gscn_sim.mapping.plan import Block, Plan
from gscn_sim.results.record import PhaseRecord
from workloads import Layer

STREAMED_VECTOR = 3
MACHINE = BYTES | {
    "array.pe_rows": 2,
    "array.pe_cols": 3,
    "pe.value_bytes": 2,
    "pe.streamed_vector": STREAMED_VECTOR,
    "pe.accumulator_entries": 40,
    "buffer.size_bytes": 1 << 30,
}
ENTRY_BYTES = 2 + 1  # a value and a run


def blocks_of(plan: Plan) -> list[Block]:
    return [b for split in plan.blocks_of_split for row in split for b in row if b is not None]


def check_what_every_phase_counts(record: PhaseRecord) -> None:
    slots, activity = record.slots, record.activity
    assert activity.accumulations == record.useful_products == slots.useful
    assert activity.multiplications == slots.useful + slots.redundant
    assert activity.streamed_read_bytes == ENTRY_BYTES * STREAMED_VECTOR * record.steps
    assert activity.network_bytes == activity.buffer_read_bytes
    assert activity.buffer_write_bytes == activity.dram_read_bytes


@pytest.mark.parametrize("phase", ["forward", "dgrad"])
@pytest.mark.parametrize("maps_fit", [True, False])
@settings(max_examples=40)
@given(layer=layers().filter(ungrouped), kind=st.sampled_from(KINDS), batch=st.integers(1, 5))
def test_maps(phase: str, maps_fit: bool, layer: Layer, kind: str, batch: int) -> None:
    """Each accumulator group reads the maps once; each PE is sent the weights for every tile."""
    machine = MACHINE | {
        "mapping.kind": kind,
        "pe.stationary_buffer_bytes": 1 << 30 if maps_fit else 1,
    }
    plan, record = plan_of(layer, phase, machine, batch), run(layer, phase, machine, batch)
    activity = record.activity
    maps = layer.values("activation" if phase == "forward" else "gradient")
    entries = sum(np.count_nonzero(maps[n % layer.n_samples]) for n in range(batch))
    weights = np.count_nonzero(layer.values("weight"))
    passes = range(plan.passes[0] * plan.passes[1])
    grid = [(row, col) for row in range(plan.rows) for col in range(plan.cols)]
    busy = sum(
        not all(plan.tiles[plan.tile_index(row, col, p)].is_empty for row, col in grid)
        for p in passes
    )  # passes in which a PE has anything to do
    sent = 1 if maps_fit else max(len(split) for split in plan.blocks_of_split)
    waves = -(-batch // plan.samples)
    check_what_every_phase_counts(record)
    assert activity.stationary_write_bytes == ENTRY_BYTES * entries * sent
    assert activity.stationary_read_bytes == ENTRY_BYTES * entries * len(blocks_of(plan))
    assert activity.streamed_write_bytes == ENTRY_BYTES * weights * busy * batch * len(grid)
    streams = ENTRY_BYTES * weights * busy * waves
    assert activity.network_bytes == activity.stationary_write_bytes + streams
    outputs = batch * (layer.shape.K if phase == "forward" else layer.shape.C)
    held = sum(tile.reached_outputs for tile in plan.tiles)
    halo = sum(max(0, tile.reached_outputs - tile.owned_outputs) for tile in plan.tiles)
    assert activity.drained_entries == outputs * held
    assert activity.partial_sums_exchanged == outputs * halo


def entries_of_windows(layer: Layer, activation: np.ndarray, gradient: np.ndarray) -> int:
    """Activations [C, H, W] in the windows of all positions that have gradients [K, P, Q]."""
    shape, found = layer.shape, 0
    for p, q in zip(*gradient.any(0).nonzero(), strict=True):
        for r in range(shape.R):
            for s in range(shape.S):
                h = p * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
                w = q * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
                if 0 <= h < shape.H and 0 <= w < shape.W:
                    found += np.count_nonzero(activation[:, h, w])
    return found


@pytest.mark.parametrize("dataflow", ["cartesian", "positional"])
@settings(max_examples=40)
@given(
    layer=layers().filter(ungrouped),
    kind=st.sampled_from(("sample", "channel")),
    batch=st.integers(1, 5),
)
def test_wgrad(dataflow: str, layer: Layer, kind: str, batch: int) -> None:
    """Each accumulator group reads its channels' activations, and is sent its gradients.

    With the positional dataflow it reads a window at each position that has a gradient.

    Each part of the batch has a sum of every weight: all are drained, all but one travel.
    """
    machine = MACHINE | {"mapping.kind": kind, "dataflow.wgrad": dataflow}
    plan, record = plan_of(layer, "wgrad", machine, batch), run(layer, "wgrad", machine, batch)
    activity = record.activity
    (tile,) = plan.tiles
    y0, y1, x0, x1 = tile.stationary
    window = layer.values("activation")[:, :, y0:y1, x0:x1]
    gradient = layer.values("gradient")
    own = [
        (window[n % layer.n_samples, b.c0 : b.c1], gradient[n % layer.n_samples, b.o0 : b.o1])
        for n in range(batch)
        for b in blocks_of(plan)
    ]
    fetched = [
        (
            layer.values("activation")[n % layer.n_samples, b.c0 : b.c1],
            gradient[n % layer.n_samples, b.o0 : b.o1],
        )
        for n in range(batch)
        for b in blocks_of(plan)
    ]
    check_what_every_phase_counts(record)
    reads = sum(np.count_nonzero(entries) for entries, _ in own)
    if dataflow == "positional":
        reads = sum(entries_of_windows(layer, *operands) for operands in fetched)
    assert activity.stationary_read_bytes == ENTRY_BYTES * reads
    writes = sum(np.count_nonzero(entries) for _, entries in own)
    assert activity.streamed_write_bytes == ENTRY_BYTES * writes
    weights = layer.values("weight").size
    assert activity.drained_entries == weights * plan.samples
    assert activity.partial_sums_exchanged == weights * (plan.samples - 1)
