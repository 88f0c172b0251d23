"""Schedules of a small layer, every number worked out by hand.

The layer: 2 x 2 PEs with a quadrant of an 8 x 8 plane each, two channels, filters of 3 x 3 with
padding one. Two samples are recorded of a batch of three, so sample 0 comes twice. A compressed
entry is two bytes: value and zero run. Every PE multiplies one pair a cycle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gscn_sim import load_config
from gscn_sim.kernels.pairing import PAIRS, REAL_PAIRS, STEPS, USEFUL
from gscn_sim.run.pipeline import prepare_phase
from gscn_sim.schedule.model import Schedule
from workloads import Layer, Phase, layer_from_arrays

MACHINE = {
    "array.pe_rows": 2,
    "array.pe_cols": 2,
    "pe.streamed_vector": 1,
    "pe.stationary_vector": 1,
    "pe.bank_queue_depth": 0,
    "pe.value_bytes": 1,
    "pe.index_bits": 8,
    "pe.stationary_buffer_bytes": 70,
    "pe.accumulator_entries": 50,
    "network.partial_sums_per_cycle": 3,
    "drain.entries_per_cycle": 4,
    "mapping.kind": "planar",
    "policy.barrier": "group",
    "policy.load_balance": "static",
    "dataflow.forward": "cartesian",
    "dataflow.wgrad": "cartesian",
}
LARGE_BUFFER, NO_BUFFER = {"buffer.size_bytes": 1 << 20}, {"buffer.size_bytes": 1}


def schedule(layer: Layer, phase: Phase, overrides: dict[str, Any]) -> Schedule:
    config = load_config("gscn-ideal", MACHINE | overrides)
    return prepare_phase(layer, phase, config, 3).schedule


def forward_layer() -> Layer:
    """Sample 0: channel 0 fills the first quadrant, channel 1 has one corner; sample 1: one entry.

    Filters 0, 1 and 2 have 18, 1 and 5 weights: 9, 1 and 5 of them for channel 0.
    """
    activation = np.zeros((2, 2, 8, 8))
    activation[0, 0, :4, :4] = 1
    activation[0, 1, 7, 7] = 1
    activation[1, 0, 0, 7] = 1
    weight = np.zeros((3, 2, 3, 3))
    weight[0] = 1
    weight[1, 0, 1, 1] = 1
    weight[2, 0, 1] = weight[2, 0, :, 1] = 1
    return layer_from_arrays("layer", activation=activation, weight=weight, padding=(1, 1))


def test_forward() -> None:
    """A tile reaches 5 x 5 outputs of its 4 x 4 own: two filters fit 50 accumulators.

    Rounds are filters 0 and 1, then 2, for samples 0, 1 and 0.
    """
    found = schedule(forward_layer(), Phase.FORWARD, LARGE_BUFFER)
    (gang,) = found.gangs
    assert gang.pes.tolist() == [0, 1, 2, 3]
    assert gang.busy_cycles.tolist() == [
        [16 * 10, 16 * 5, 0, 0, 16 * 10, 16 * 5],
        [0, 0, 10, 5, 0, 0],
        [0] * 6,
        [9, 0, 0, 0, 9, 0],  # the corner meets channel 1 of filter 0 only
    ]
    assert gang.lockstep_cycles.tolist() == [-1] * 6
    assert gang.lists is None
    # A sample's entries stay in the PEs' buffers (70 bytes hold two of the largest, 32).
    assert gang.fill.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.fill_bytes.tolist() == found.fill_dram_bytes.tolist() == [34, 2, 34]
    assert found.fill_owner.tolist() == [0, 0, 0]
    assert found.fills_held == 2
    # Weights come from memory once, and are sent for every sample.
    assert gang.stream_bytes.tolist() == [2 * 19, 2 * 5] * 3
    assert gang.stream_dram_bytes.tolist() == [2 * 19, 2 * 5, 0, 0, 0, 0]
    # The busiest link carries the four sums of a side, for each filter; 3 go in a cycle.
    assert gang.exchange_cycles.tolist() == [3, 2] * 3
    assert gang.exchanged_sums.tolist() == [2 * 4 * (25 - 16), 4 * (25 - 16)] * 3
    assert gang.drain_cycles.tolist() == [13, 7] * 3
    assert gang.drained_entries.tolist() == [2 * 4 * 25, 4 * 25] * 3
    assert gang.output_bytes.tolist() == [2 * 64, 64] * 3
    # Each of two groups reads the 17, 1 and 17 entries; four PEs get each of 24 weights thrice.
    assert found.stationary_reads == 2 * (17 + 1 + 17)
    assert found.streamed_reads == 4 * 3 * 24
    pairs = 2 * (16 * 15 + 9) + 15
    # Of the corners' pairs 5 of 9 fall outside, of the lone entry's 5 (filter 0) and 1 (filter 2);
    # of the quadrant's those of its 4 left and 4 upper entries: 7 rows and columns of filter 0 too
    # few (3 * 4 + 3 * 4 - 1), and 4 + 4 of filter 2.
    useful = 2 * (16 * 15 - 23 - 8 + 4) + (15 - 5 - 2)
    counters = found.counters
    assert counters[[PAIRS, REAL_PAIRS, STEPS]].tolist() == [pairs] * 3
    assert counters[USEFUL] == useful


def uneven_layer() -> Layer:
    """Entries of channels 0 and 1: 2 and 1 in the first quadrant, 1 and 3 in the second."""
    activation = np.zeros((1, 2, 8, 8))
    activation[0, 0, 0, [0, 1, 4]] = 1
    activation[0, 1, 0, [0, 4, 5, 6]] = 1
    weight = np.array([1.0, 1.0, 1.0, 0.0]).reshape(2, 2, 1, 1)
    return layer_from_arrays("layer", activation=activation, weight=weight)


def test_a_barrier_after_every_channel() -> None:
    """A round takes each channel's slowest PE: 2 + 3 weights of filter 0, but no PE 5 entries."""
    machine = LARGE_BUFFER | {"policy.barrier": "input_channel", "pe.accumulator_entries": 16}
    (gang,) = schedule(uneven_layer(), Phase.FORWARD, machine).gangs
    assert gang.busy_cycles[:2, :2].tolist() == [[2 + 1, 2], [1 + 3, 1]]
    assert gang.lockstep_cycles.tolist() == [2 + 3, 2] * 3
    assert gang.lists is None
    dense = machine | {"dataflow.forward": "dense"}
    (gang,) = schedule(uneven_layer(), Phase.FORWARD, dense).gangs
    assert gang.lockstep_cycles.tolist() == [-1] * 6  # its PEs do the same at the same time


def test_lists_that_keep_pes_together() -> None:
    """A list a channel; the rounds of sample 0 that come again have the same ones."""
    machine = LARGE_BUFFER | {"policy.drift": "fifo"}
    (gang,) = schedule(forward_layer(), Phase.FORWARD, machine).gangs
    assert gang.lists is not None
    assert gang.lists.pattern == [0, 1, 2, 3, 0, 1]
    assert gang.lists.cycles[0].tolist() == [[160, 0], [0, 0], [0, 0], [0, 9]]
    assert gang.lists.cycles[2].tolist() == [[0, 0], [10, 0], [0, 0], [0, 0]]
    assert [entries.tolist() for entries in gang.lists.entries] == [[10, 9], [5, 0]] * 2


def test_convolution_groups_have_fills_of_their_own() -> None:
    """Two groups of a channel and a filter each: a block meets its own channel only."""
    activation = np.zeros((1, 2, 8, 8))
    activation[0, 0, 0, :3] = activation[0, 1, 7, 7] = 1
    weight = np.ones((2, 1, 1, 1))
    layer = layer_from_arrays("layer", activation=activation, weight=weight, groups=2)
    machine = LARGE_BUFFER | {"pe.accumulator_entries": 16}
    found = schedule(layer, Phase.FORWARD, machine)
    (gang,) = found.gangs
    assert gang.fill.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.fill_bytes.tolist() == found.fill_dram_bytes.tolist() == [6, 2] * 3
    assert found.fills_held == 1
    assert gang.busy_cycles[[0, 3]].tolist() == [[3, 0] * 3, [0, 1] * 3]
    assert found.stationary_reads == 3 * (3 + 1)


@pytest.mark.parametrize(("buffer", "again"), [(LARGE_BUFFER, 0), (NO_BUFFER, 1)])
def test_maps_that_do_not_fit(buffer: dict[str, int], again: int) -> None:
    """Every accumulator group is sent the maps again; from memory, if the global buffer is full."""
    found = schedule(forward_layer(), Phase.FORWARD, buffer | {"pe.stationary_buffer_bytes": 31})
    (gang,) = found.gangs
    assert gang.fill.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.fill_bytes.tolist() == [34, 34, 2, 2, 34, 34]
    assert found.fill_dram_bytes.tolist() == [34, 34 * again, 2, 2 * again, 34, 34 * again]
    assert found.fills_held == 1
    streams = np.array([38, 10] * 3) * ([1, 1] + [again] * 4)
    assert gang.stream_dram_bytes.tolist() == streams.tolist()


def test_a_tile_in_two_passes() -> None:
    """20 accumulators hold one filter of half a tile: two rows of four, four of five reached.

    Rounds are the three filters, for the upper and the lower half, for each sample.
    """
    found = schedule(forward_layer(), Phase.FORWARD, LARGE_BUFFER | {"pe.accumulator_entries": 20})
    (gang,) = found.gangs
    quadrant, lone, corner = [8 * 9, 8, 8 * 5], [9, 1, 5], [9, 0, 0]
    nothing = [0] * 3
    assert gang.busy_cycles.tolist() == [
        [*quadrant, *quadrant, *nothing, *nothing, *quadrant, *quadrant],
        [*nothing, *nothing, *lone, *nothing, *nothing, *nothing],
        nothing * 6,
        [*nothing, *corner, *nothing, *nothing, *nothing, *corner],
    ]
    assert gang.fill.tolist() == [visit for visit in range(6) for _ in range(3)]
    assert found.fill_bytes.tolist() == [16, 18, 2, 0, 16, 18]
    assert found.fills_held == 70 // 16
    assert gang.stream_bytes.tolist() == [36, 2, 10] * 6
    assert gang.stream_dram_bytes.tolist() == [36, 2, 10] + [0] * 15
    assert gang.exchange_cycles.tolist() == [2] * 18
    # Halves at the upper or lower edge reach 3 x 5 outputs, the others 4 x 5.
    assert gang.drain_cycles.tolist() == [5] * 18
    assert gang.drained_entries.tolist() == [2 * 15 + 2 * 20] * 18
    assert gang.exchanged_sums.tolist() == [70 - 4 * 8] * 18
    assert gang.output_bytes.tolist() == [4 * 8] * 18
    assert found.stationary_reads == 3 * (17 + 1 + 17)
    assert found.streamed_reads == 4 * 3 * 2 * 24


def test_gangs_share_fills() -> None:
    """Each of three PEs has a filter and all of the plane: a broadcast fill reaches them all."""
    machine = LARGE_BUFFER | {"mapping.kind": "channel", "pe.accumulator_entries": 64}
    found = schedule(forward_layer(), Phase.FORWARD, machine)
    assert [gang.fill.tolist() for gang in found.gangs] == [[0, 1, 2]] * 3
    assert [gang.pes.tolist() for gang in found.gangs] == [[0], [1], [2]]
    assert [gang.stream_bytes.tolist() for gang in found.gangs] == [[36] * 3, [2] * 3, [10] * 3]
    assert found.fill_owner.tolist() == [-1, -1, -1]
    assert not any(gang.exchange_cycles.any() for gang in found.gangs)


def test_halo_of_padded_tiles() -> None:
    """The padded plane of 10 x 10 is cut in 4 x 2 parts of 3 x 5 (two passes), filters are 1 x 5.

    Products land up to 3 columns to the left or 1 to the right, and a row below: the link to the
    left carries 3 x 3 sums, the one below 1 x 5.
    """
    layer = layer_from_arrays(
        "layer", activation=np.ones((1, 1, 8, 8)), weight=np.ones((1, 1, 1, 5)), padding=(1, 1)
    )
    machine = LARGE_BUFFER | {"mapping.tile_rule": "padded", "pe.accumulator_entries": 9}
    (gang,) = schedule(layer, Phase.FORWARD, machine).gangs
    assert gang.exchange_cycles.tolist() == [3 * 3 // 3] * 6


@pytest.mark.parametrize("width", [8, 9])
def test_the_busiest_link_of_a_halo(width: int) -> None:
    """Filters of 1 x 4 with padding one: products land 2 columns to the left up to 1 to the right.

    A row of 8 has 7 outputs: the left tiles (columns 0-3) reach outputs 0-4 and own 0-2, the right
    ones reach 2-6: a link to the right carries 4 x 2 sums, one to the left 4 x 1. A row of 9 has 8:
    the left tiles reach 0-4 and own 0-3, the right ones (columns 4-8) reach 2-7: 4 x 2 to the left.
    """
    layer = layer_from_arrays(
        "layer", activation=np.ones((1, 1, 8, width)), weight=np.ones((1, 1, 1, 4)), padding=(0, 1)
    )
    (gang,) = schedule(layer, Phase.FORWARD, LARGE_BUFFER).gangs
    assert gang.exchange_cycles.tolist() == [-(-4 * 2 // 3)] * 3


def wgrad_layer() -> Layer:
    """Filters of 2 x 2. Gradients lie in the first 3 x 3 positions, activations in 4 x 4.

    Sample 0 has 9 gradients in filter 0 and one in filter 2, sample 1 one in filter 1. Channel 0
    has 16 activations in both samples, channel 1 one in sample 0.
    """
    activation = np.zeros((2, 2, 8, 8))
    activation[:, 0, :4, :4] = 1
    activation[0, 1, 0, 0] = 1
    gradient = np.zeros((2, 3, 7, 7))
    gradient[0, 0, :3, :3] = 1
    gradient[0, 2, 0, 0] = 1
    gradient[1, 1, 2, 2] = 1
    return layer_from_arrays("layer", activation=activation, gradient=gradient)


@pytest.mark.parametrize(("buffer", "again"), [(LARGE_BUFFER, 0), (NO_BUFFER, 1)])
def test_wgrad(buffer: dict[str, int], again: int) -> None:
    """16 accumulators hold 2 x 2 weights of 3 filters and one channel: a round a channel.

    The 7 x 7 gradients are cut in 3 + 4 rows and columns, so all of them are in the first tile,
    whose window has 4 x 4 activations. Its PE runs sample 0 twice and sample 1 once in each round.
    """
    found = schedule(wgrad_layer(), Phase.WGRAD, buffer | {"pe.accumulator_entries": 16})
    (gang,) = found.gangs
    assert gang.busy_cycles[0].tolist() == [16 * (2 * 10 + 1), 2 * 10]
    assert not gang.busy_cycles[1:].any()
    # Row and column 3 lie in the windows of the neighbours too: sent to them, but read once.
    assert gang.fill.tolist() == [0, 1]
    assert found.fill_bytes.tolist() == [2 * 3 * (16 + 4 + 4 + 1), 2 * 2]
    assert found.fill_dram_bytes.tolist() == [2 * 3 * 16, 2 * 2]
    # The first PE's 2 * 3 * 16 bytes do not fit its buffer: they pass through.
    assert found.fills_held == 1
    gradients = 2 * (2 * 10 + 1)
    assert gang.stream_bytes.tolist() == [gradients, gradients]
    assert gang.stream_dram_bytes.tolist() == [gradients, gradients * again]
    # Four PEs add up 12 sums: each passes on 9, at 3 a cycle.
    assert gang.exchange_cycles.tolist() == [3, 3]
    assert gang.exchanged_sums.tolist() == [12 * 3, 12 * 3]
    assert gang.drain_cycles.tolist() == [3, 3]
    assert gang.drained_entries.tolist() == [12 * 4, 12 * 4]
    assert gang.output_bytes.tolist() == [12, 12]
    assert found.stationary_reads == 3 * 25 + 2
    assert found.streamed_reads == 2 * 21


@pytest.mark.parametrize(
    ("accumulators", "reads"),
    [
        # All filters in a group. Channel 0: 9 positions of sample 0 have 4 activations each in
        # their window, one of sample 1 has 4; channel 1: one position of sample 0 has one.
        (12, 2 * (9 * 4 + 1) + 4),
        # Filters 0 and 1 as before; filter 2 fetches the window of position 0, 0 of sample 0 again.
        (8, 2 * (9 * 4 + 1) + 4 + 2 * (4 + 1)),
    ],
)
def test_windows_that_overlap_are_fetched_once_for_each(accumulators: int, reads: int) -> None:
    """Positional wgrad fetches a window at each position that has a gradient, and only there."""
    positional = {"dataflow.wgrad": "positional", "pe.accumulator_entries": accumulators}
    found = schedule(wgrad_layer(), Phase.WGRAD, positional)
    assert found.stationary_reads == reads
    cartesian = schedule(wgrad_layer(), Phase.WGRAD, positional | {"dataflow.wgrad": "cartesian"})
    assert found.fill_bytes.tolist() == cartesian.fill_bytes.tolist()


@pytest.mark.parametrize(
    ("machine", "fill", "fill_bytes", "fill_dram_bytes", "again"),
    [
        (LARGE_BUFFER, [0, 1, 2, 3], [150, 150, 4, 4], [96, 0, 4, 0], 0),
        (NO_BUFFER, [0, 1, 2, 3], [150, 150, 4, 4], [96, 96, 4, 4], 1),
        # Room for one: activations (100 bytes in all) save more than gradients (42).
        ({"buffer.size_bytes": 100}, [0, 1, 2, 3], [150, 150, 4, 4], [96, 0, 4, 0], 1),
        (NO_BUFFER | {"pe.stationary_buffer_bytes": 96}, [0, 0, 1, 1], [150, 4], [96, 4], 1),
    ],
)
def test_wgrad_of_two_ranges_of_filters(
    machine: dict[str, int],
    fill: list[int],
    fill_bytes: list[int],
    fill_dram_bytes: list[int],
    again: int,
) -> None:
    """8 accumulators: filters 0 and 1, then 2, for channel 0, then 1.

    A channel's activations (96 bytes in the first PE) are sent for both ranges, or stay.
    """
    found = schedule(wgrad_layer(), Phase.WGRAD, machine | {"pe.accumulator_entries": 8})
    (gang,) = found.gangs
    assert gang.busy_cycles[0].tolist() == [16 * (2 * 9 + 1), 16 * 2, 2 * 9, 2]
    assert gang.fill.tolist() == fill
    assert found.fill_bytes.tolist() == fill_bytes
    assert found.fill_dram_bytes.tolist() == fill_dram_bytes
    assert gang.stream_bytes.tolist() == [2 * (2 * 9 + 1), 2 * 2] * 2
    assert gang.stream_dram_bytes.tolist() == [38, 4, 38 * again, 4 * again]
    assert gang.exchange_cycles.tolist() == [2, 1] * 2
    assert gang.exchanged_sums.tolist() == [8 * 3, 4 * 3] * 2
    assert gang.drain_cycles.tolist() == [2, 1] * 2
    assert gang.drained_entries.tolist() == [8 * 4, 4 * 4] * 2
    assert gang.output_bytes.tolist() == [8, 4] * 2


def test_activations_in_memory_have_placeholders_too() -> None:
    """One activation in the last of five channels, at (3, 3), which lies in all four windows.

    In memory a pixel's channels follow each other: four zeros before it, two for each placeholder
    that a run of one bit can say. The lists of the tiles, with zeros of whole planes, are longer.
    """
    activation = np.zeros((1, 5, 8, 8))
    activation[0, 4, 3, 3] = 1
    layer = layer_from_arrays("layer", activation=activation, gradient=np.ones((1, 1, 7, 7)))
    machine = LARGE_BUFFER | {"pe.index_bits": 1, "pe.accumulator_entries": 64}
    found = schedule(layer, Phase.WGRAD, machine)
    assert found.fill_dram_bytes.tolist() == [-(-3 * 3 * (8 + 1) // 8)]  # three samples
    assert found.fill_bytes.sum() > found.fill_dram_bytes.sum()
