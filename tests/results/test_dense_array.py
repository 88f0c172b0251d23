"""The dense array's bound, by hand."""

from __future__ import annotations

import pytest

from gscn_sim import load_config
from gscn_sim.results.dense_array import dense_bound, dense_layer
from workloads import LayerShape, Phase

CONFIG = load_config(
    "gscn-ideal", {"array.pe_rows": 1, "array.pe_cols": 2, "array.clock_ghz": 1.0}
)  # 32 multipliers; 484 bytes a cycle
SHAPE = LayerShape(C=4, H=6, W=6, K=8, R=3, S=3, padding=(1, 1))


def test_the_longer_of_slots_and_bytes() -> None:
    slots = dense_bound(3201, 121, 0, CONFIG)
    assert (slots.array_cycles, slots.memory_cycles, slots.cycles) == (101, 1, 101)
    bytes_ = dense_bound(32, 12_100, 12_100, CONFIG)
    assert (bytes_.array_cycles, bytes_.memory_cycles, bytes_.cycles) == (1, 200, 200)


@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.DGRAD, Phase.WGRAD])
def test_a_layer_moves_each_tensor_once(phase: Phase) -> None:
    """Two samples of 4x6x6 and 8x6x6 and 288 weights, whichever of them comes out."""
    bound = dense_layer(SHAPE, phase, 2, CONFIG)
    assert bound.array_cycles == 2 * 8 * 4 * 9 * 36 // 32
    assert bound.memory_cycles == 4 * (2 * 144 + 2 * 288 + 288) // 484
