"""Bit-packed masks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workloads import Mask, ShapeError
from workloads.masks import packed_size_bytes


@given(hnp.arrays(np.bool_, hnp.array_shapes(max_dims=4, max_side=7)))
def test_packing_keeps_every_bit_and_counts_them(array: np.ndarray) -> None:
    mask = Mask.from_array(array)
    np.testing.assert_array_equal(mask.dense(), array)
    assert mask.dense().dtype == np.bool_
    assert mask.nonzeros == sum(bool(x) for x in array.ravel())
    assert mask.density == mask.nonzeros / array.size
    assert mask == Mask(shape=array.shape, packed=mask.packed)
    assert hash(mask) == hash(pickle.loads(pickle.dumps(mask)))


def test_first_element_is_the_highest_bit() -> None:
    array = np.zeros((3, 4))
    array[0, 0] = -2.5
    array[2, 3] = 1
    np.testing.assert_array_equal(Mask.from_array(array).packed, [0b1000_0000, 0b0001_0000])


def test_negative_zero_is_zero_and_order_in_memory_does_not_matter() -> None:
    array = np.array([[-0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    mask = Mask.from_array(np.asfortranarray(array))
    np.testing.assert_array_equal(mask.dense(), [[False, True], [True, False], [False, True]])


def test_masks_of_other_shape_or_bits_differ() -> None:
    mask = Mask.from_array(np.ones((2, 3)))
    assert mask != Mask.from_array(np.ones((3, 2)))
    assert mask != Mask.from_array(np.eye(2, 3))
    assert mask != "mask"


def test_packed_bytes_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Mask.from_array(np.ones(3)).packed[0] = 0


def test_bits_show_in_no_message() -> None:
    assert repr(Mask.from_array(np.ones((1, 2)))) == "Mask(shape=(1, 2))"


@pytest.mark.parametrize(
    ("shape", "packed", "message"),
    [
        ((3,), [0b1110_0001], "padding"),
        ((8,), [1, 1], "must be 1 bytes"),
        ((9,), [1], "must be 2 bytes"),
        ((0,), [], "axis 0 must be a positive int, got 0"),
        ((2, -1), [1], "axis 1 must be a positive int, got -1"),
        ((True,), [1], "axis 0 must be a positive int, got True"),
        ((), [1], "non-empty tuple"),
        ((1 << 20, 1 << 20), [1], "at most 4294967296 elements"),
    ],
)
def test_what_is_no_mask(shape: tuple[int, ...], packed: list[int], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Mask(shape=shape, packed=np.array(packed, dtype=np.uint8))


def test_packed_must_be_uint8() -> None:
    with pytest.raises(ShapeError, match="got int64"):
        Mask(shape=(8,), packed=np.array([1], dtype=np.int64))


@given(st.integers(1, 1000))
def test_size_is_rounded_up_to_bytes(elements: int) -> None:
    assert packed_size_bytes((elements,)) == len(np.packbits(np.zeros(elements, np.uint8)))
