"""Counts of non-zeros by rectangle and by channel, as differences of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.problem.geometry import Ints


def integral(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    """[n, C, Y + 1, X + 1] sums over rectangles from the corner."""
    n, c, y, x = mask.shape
    out = np.zeros((n, c, y + 1, x + 1), np.int32)
    np.cumsum(mask, 2, dtype=np.int32, out=out[:, :, 1:, 1:])
    np.cumsum(out[:, :, 1:, 1:], 3, out=out[:, :, 1:, 1:])
    return out


def prefix(counts: NDArray[Any]) -> NDArray[np.int32]:
    """[n, channels, rows, cols] to [n, channels + 1, rows * cols] sums over the channels below."""
    flat = counts.reshape(*counts.shape[:2], -1)
    return np.pad(np.cumsum(flat, 1, dtype=np.int32), ((0, 0), (1, 0), (0, 0)))


def region_counts(
    sums: NDArray[np.int32], rows: list[tuple[int, int]], cols: list[tuple[int, int]]
) -> Ints:
    """[n, channels, rows, cols] non-zeros in each rectangle of a grid, from :func:`integral`."""
    y0, y1 = np.array(rows).T
    x0, x1 = np.array(cols).T
    low, high = sums[:, :, y0], sums[:, :, y1]
    bands = (high - low).astype(np.int64)
    return bands[..., x1] - bands[..., x0]
