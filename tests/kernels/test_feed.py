"""How far PEs drift apart: by hand, and rounds one by one against all their lists at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gscn_sim.kernels.feed import feed_round

NOTHING_BEFORE = np.zeros((2, 0), np.int64)


def feed(
    start: list[int], cycles: list[list[int]], entries: list[int], depth: int, before: np.ndarray
) -> tuple[list[int], np.ndarray]:
    own = np.array(cycles, np.int64).reshape(len(start), len(entries))
    done, after = feed_round(
        np.array(start, np.int64), own, np.array(entries, np.int64), depth, before
    )
    return done.tolist(), after


def test_by_hand() -> None:
    """A FIFO of two entries, lists of one: the third is sent when both PEs are done with the first.

    PE 0 takes 5 cycles for the first list, so PE 1, done with two at 2, waits from 2 to 5.
    """
    cycles = [[5, 1, 1], [1, 1, 1]]
    assert feed([0, 0], cycles, [1, 1, 1], 2, NOTHING_BEFORE)[0] == [7, 6]
    # With room for all, nobody waits; with room for one, all meet after every list.
    assert feed([0, 0], cycles, [1, 1, 1], 3, NOTHING_BEFORE)[0] == [7, 3]
    assert feed([0, 0], cycles, [1, 1, 1], 1, NOTHING_BEFORE)[0] == [7, 7]
    # A list that is longer than the FIFO: sent when all are done with what precedes.
    assert feed([0, 0], cycles, [1, 9, 1], 2, NOTHING_BEFORE)[0] == [7, 7]
    assert feed([3, 9], [[1], [2]], [1], 2, NOTHING_BEFORE)[0] == [4, 11]


@given(data=st.data(), pes=st.integers(1, 3), rounds=st.lists(st.integers(0, 4), min_size=1))
def test_lists_of_earlier_rounds_still_take_room(
    data: st.DataObject, pes: int, rounds: list[int]
) -> None:
    """Cutting the same lists into rounds changes nothing."""
    count = sum(rounds)
    entries = data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    row = st.lists(st.integers(0, 9), min_size=count, max_size=count)
    cycles = data.draw(st.lists(row, min_size=pes, max_size=pes))
    start = data.draw(st.lists(st.integers(0, 5), min_size=pes, max_size=pes))
    depth = data.draw(st.integers(1, 12))
    at_once, _ = feed(start, cycles, entries, depth, NOTHING_BEFORE)
    done, before, first = start, NOTHING_BEFORE, 0
    for number in rounds:
        lists = slice(first, first + number)
        done, before = feed(done, [own[lists] for own in cycles], entries[lists], depth, before)
        first += number
    assert done == at_once
