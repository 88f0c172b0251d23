"""Bank hashes by hand and against the oracle; the tables of a tile against their definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.banks import bank_of

from gscn_sim.kernels.banks import BANK_HASHES, bank, output_tables


@pytest.mark.parametrize(
    ("kind", "banks", "expected"),
    [
        ("modulo", 16, 53 % 16),
        ("xor", 16, 3 + 5),  # 53 is 0x35
        ("xor", 4, (3 + 1 + 1) % 4),  # 53 is 311 in base 4
        ("channel", 16, (5 + 4 * 2 + 9 * 3) % 16),
        ("dnnsim", 32, 16 + 8 + 1),  # of channel 5: bit 4 thrice, y odd, x even, 5 & 3
    ],
)
def test_by_hand(kind: str, banks: int, expected: int) -> None:
    """Output channel 5 of accumulators of 9 positions: place 8, at row 3 and column 2."""
    assert bank(BANK_HASHES[kind], 5, 9, 8, 5, 3, 2, banks) == expected


@pytest.mark.parametrize("kind", BANK_HASHES)
@pytest.mark.parametrize("banks", [1, 2, 3, 7, 8, 16, 32, 64])
def test_against_the_oracle(kind: str, banks: int) -> None:
    for o, position, channel, y, x in itertools.product(*map(range, (4, 6, 9, 5, 5))):
        expected = bank_of(kind, banks, o=o, address=o * 6 + position, channel=channel, y=y, x=x)
        assert bank(BANK_HASHES[kind], o, 6, position, channel, y, x, banks) == expected


@given(
    kind=st.sampled_from(tuple(BANK_HASHES.values())),
    origin=st.tuples(st.integers(-3, 2), st.integers(-3, 2)),
    reached=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    low=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    held=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    more=st.integers(0, 3),
)
def test_tables_of_a_tile(
    kind: int,
    origin: tuple[int, int],
    reached: tuple[int, int],
    low: tuple[int, int],
    held: tuple[int, int],
    more: int,
) -> None:
    """Positions inside the accumulators count row by row, all else (and placeholders) is -1."""
    rect = np.array([low[0], low[0] + held[0], low[1], low[1] + held[1]], np.int64)
    positions = list(itertools.product(range(*rect[:2]), range(*rect[2:])))
    stride = len(positions) + more
    banks, outputs, first = 16, 3, 7
    position_of, bank_of_output = output_tables(
        kind, banks, outputs, stride, first, *origin, *reached, rect
    )
    reach = itertools.product(range(reached[0]), range(reached[1]))
    landed = [(origin[0] + i, origin[1] + j) for i, j in reach]
    expected = [positions.index(at) if at in positions else -1 for at in landed]
    # A sum with a placeholder, or of two, is looked up too.
    assert position_of.tolist() == expected + [-1] * (len(expected) + 1)
    for o, (place, (y, x)) in itertools.product(range(outputs), enumerate(positions)):
        own = bank(kind, o, len(positions), place, first + o, y, x, banks)
        assert bank_of_output[o * stride + place] == own
