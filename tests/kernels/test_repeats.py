"""When a pairing group may be taken for the one before it: same list, same waiting products."""

from __future__ import annotations

import numpy as np
import pytest

from gscn_sim.kernels.pairing import same_list, same_queues


@pytest.mark.parametrize("bank", range(4))
def test_queues_are_the_same_only_if_they_are_at_every_bank(bank):
    """At cycle 10 two products wait at bank 0, five at bank 3; banks 1 and 2 are idle."""
    free, before = np.array([12, 9, 10, 15]), np.array([2, 0, 0, 5])
    assert same_queues(free, 10, before)
    free[bank] = 13
    assert not same_queues(free, 10, before)


def test_how_long_a_bank_has_been_idle_does_not_matter():
    assert same_queues(np.array([3, 10]), 10, np.array([0, 0]))
    assert not same_queues(np.array([3, 11]), 10, np.array([0, 0]))


@pytest.mark.parametrize("place", range(3))
def test_lists_are_the_same_only_if_every_entry_is(place):
    one, other = np.array([4, 7, 9, 1]), np.array([4, 7, 9, 2])
    assert same_list(one, other, 3)
    assert not same_list(one, other, 4)
    other[place] += 1
    assert not same_list(one, other, 3)
    assert same_list(one, other, place)
