"""What the positional dataflow reads from the stationary buffer."""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.pixels import pixel_lists
from gscn_sim.problem.geometry import Ints

Pair = tuple[int, int]
Where = tuple[Ints, Ints, Ints, Pair, Pair, Pair, Pair]
"""Tiles, blocks, C ranges, kernel size, stride, padding, dilation: for the kernel."""


def window_reads(
    activation: np.ndarray, gradient: np.ndarray, where: Where, *, run_limit: int
) -> Ints:
    """Stationary entries that each accumulator group fetches on each tile, for one sample.

    At a position that has gradients of the group's output channels, all entries of its window are
    fetched, placeholders too; they stay while the gradients pass. Windows overlap, so an entry is
    fetched once for each such position whose window it lies in.

    Args:
        activation: [H, W, C] mask; gradient: [P, Q, K] mask.
        run_limit: longest run of zeros that an entry can say.

    Returns:
        [tiles, blocks]
    """
    tiles, blocks, c_ranges, kernel_size, stride, padding, dilation = where
    most_c = int((c_ranges[:, 1] - c_ranges[:, 0]).max())
    _, count, _ = pixel_lists(activation, c_ranges, most_c, run_limit)
    height, width = activation.shape[:2]
    out_height, out_width = gradient.shape[:2]
    windows = np.zeros((len(c_ranges), out_height, out_width))  # exact: far below 2**53
    for r in range(kernel_size[0]):
        h = np.arange(out_height) * stride[0] - padding[0] + r * dilation[0]
        p = (h >= 0) & (h < height)
        for s in range(kernel_size[1]):
            w = np.arange(out_width) * stride[1] - padding[1] + s * dilation[1]
            q = (w >= 0) & (w < width)
            windows[:, p[:, None] & q] += count[:, h[p]][:, :, w[q]].reshape(len(c_ranges), -1)
    k_ranges, k_row = np.unique(blocks[:, :2], axis=0, return_inverse=True)
    present = np.array([gradient[:, :, k0:k1].any(-1) for k0, k1 in k_ranges.tolist()])
    reads = np.zeros((len(tiles), len(blocks)), np.int64)
    for t, (p0, p1, q0, q1) in enumerate(tiles[:, :4].tolist()):
        area = np.s_[:, p0:p1, q0:q1]
        met = present[area].reshape(len(k_ranges), -1).astype(np.float64)
        of_ranges = met @ windows[area].reshape(len(c_ranges), -1).T  # [K ranges, C ranges]
        reads[t] = of_ranges[k_row.reshape(-1), blocks[:, 2]]
    return reads
