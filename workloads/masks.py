"""Bit-packed masks of the non-zero elements of an array."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import ShapeError

MAX_ELEMENTS = 1 << 32
"""Largest accepted number of elements of one mask: 512 MiB when packed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mask:
    """Where an array is not zero, one bit an element.

    ``packed`` is ``np.packbits`` of the flattened (C order) mask: element 0 is the highest bit of
    byte 0, and the unused low bits of the last byte are zero. It is read-only.

    Raises:
        ShapeError: an axis is not a positive int, there are more than 2**32 elements, or ``packed``
            does not have the bytes that the shape needs.
    """

    shape: tuple[int, ...]
    packed: NDArray[np.uint8] = field(repr=False)
    _digest: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        size_bytes = packed_size_bytes(self.shape)
        packed = np.asarray(self.packed)
        if packed.dtype != np.uint8 or packed.shape != (size_bytes,):
            raise ShapeError(
                f"packed mask of shape {self.shape} must be {size_bytes} bytes of uint8, "
                f"got {packed.dtype} of shape {packed.shape}"
            )
        used_bits = math.prod(self.shape) % 8
        if used_bits and packed[-1] & (0xFF >> used_bits):
            raise ShapeError(f"packed mask of shape {self.shape} must end in zero padding bits")
        packed = np.ascontiguousarray(packed).view()
        packed.flags.writeable = False
        object.__setattr__(self, "packed", packed)

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> Mask:
        """Return the mask of the non-zero elements of ``array``."""
        array = np.asarray(array)
        packed_size_bytes(array.shape)
        nonzero = array if array.dtype == np.bool_ else array != 0
        return cls(shape=array.shape, packed=np.packbits(nonzero, axis=None))

    def dense(self) -> NDArray[np.bool_]:
        """Return the mask as a new bool array of ``shape``."""
        bits = np.unpackbits(self.packed, count=self.size)
        return bits.view(np.bool_).reshape(self.shape)

    @property
    def size(self) -> int:
        """Number of elements, zero or not."""
        return math.prod(self.shape)

    @property
    def nonzeros(self) -> int:
        """Number of non-zero elements."""
        return int(np.bitwise_count(self.packed).sum(dtype=np.int64))

    @property
    def density(self) -> float:
        """Non-zero elements / all elements, 0 to 1."""
        return self.nonzeros / self.size

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of shape and elements, worked out once."""
        if not self._digest:
            found = hashlib.sha256(repr(self.shape).encode() + self.packed.tobytes())
            object.__setattr__(self, "_digest", found.hexdigest())
        return self._digest

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.packed, other.packed)

    def __hash__(self) -> int:
        return hash((self.shape, self.packed.tobytes()))


def packed_size_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes that a packed mask of ``shape`` takes; raises ShapeError for a bad shape."""
    if not isinstance(shape, tuple) or not shape:
        raise ShapeError(f"mask shape must be a non-empty tuple, got {shape!r}")
    for axis, length in enumerate(shape):
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            raise ShapeError(f"mask axis {axis} must be a positive int, got {length!r}")
    size = math.prod(shape)
    if size > MAX_ELEMENTS:
        raise ShapeError(f"mask must have at most {MAX_ELEMENTS} elements, got {size} in {shape}")
    return -(-size // 8)
