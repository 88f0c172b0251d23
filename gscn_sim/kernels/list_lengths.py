"""Lengths of the positional dataflow's lists: enough to count steps, pairs and waits."""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.buildable import N_FRONT, begin_position, end_position, pass_position
from gscn_sim.kernels.compiled import njit
from gscn_sim.kernels.pairing import CYCLES, PAIRS, REAL_PAIRS, STEPS, USEFUL


@njit(cache=True, nogil=True)
def list_lengths(mask, ranges, run_limit):
    """Entries, and entries that are no placeholders, of each channel range at each pixel.

    Args:
        mask: [Y, X, channels]. ranges: [D, 2].

    Returns:
        [D, Y, X] each.
    """
    height, width, _ = mask.shape
    entries = np.empty((len(ranges), height, width), np.int32)
    real = np.empty((len(ranges), height, width), np.int32)
    for d in range(len(ranges)):
        first, last = ranges[d, 0], ranges[d, 1]
        may_run = last - first > run_limit
        for y in range(height):
            for x in range(width):
                pixel = mask[y, x]
                found = 0
                placeholders = 0
                if may_run:
                    run = 0
                    for c in range(first, last):
                        if pixel[c]:
                            found += 1
                            placeholders += run // run_limit
                            run = 0
                        else:
                            run += 1
                else:
                    for c in range(first, last):
                        found += pixel[c] != 0
                entries[d, y, x] = found + placeholders
                real[d, y, x] = found
    return entries, real


@njit(cache=True, nogil=True)
def window_sums(values, plane, kernel_size, stride, padding, dilation):
    """[D, P, Q] sums of ``values`` [D, Y, X] over the window of each position of ``plane``."""
    ranges, height, width = values.shape
    out = np.zeros((ranges, plane[0], plane[1]), np.int32)
    for d in range(ranges):
        for p in range(plane[0]):
            for r in range(kernel_size[0]):
                y = p * stride[0] - padding[0] + r * dilation[0]
                if y < 0 or y >= height:
                    continue
                for q in range(plane[1]):
                    for s in range(kernel_size[1]):
                        x = q * stride[1] - padding[1] + s * dilation[1]
                        if 0 <= x < width:
                            out[d, p, q] += values[d, y, x]
    return out


@njit(cache=True, nogil=True)
def count_positions(
    k_entries, k_real, window, window_real, fragments, tiles, blocks, machine, counters, resent
):
    """What :func:`positional_tiles` counts where no product waits for a bank, for one sample.

    Args:
        k_entries, k_real: [K ranges, P, Q] of :func:`list_lengths`. window, window_real, fragments:
            [C ranges, P, Q] entries of each position's window, those that are no placeholders, and
            parts of pixels' lists that it consists of.
        tiles: [T, 8] as there; blocks: [B, 2] rows of K and C ranges.
        machine: as there. counters: out, [T, B, N_COUNTERS]. resent: out, [T, B] entries of lists
            longer than the FIFO sent again.
    """
    vector_i, vector_f, fifo = machine.vector_i, machine.vector_f, machine.fifo_entries
    front = np.empty(N_FRONT, np.int64)
    for t in range(len(tiles)):
        for b in range(len(blocks)):
            k_row, c_row = blocks[b, 0], blocks[b, 1]
            found = counters[t, b]
            front[:] = 0
            now = np.int64(0)
            for p in range(tiles[t, 0], tiles[t, 1]):
                for q in range(tiles[t, 2], tiles[t, 3]):
                    k, c = np.int64(k_entries[k_row, p, q]), np.int64(window[c_row, p, q])
                    if k == 0 or c == 0:
                        now = pass_position(front, now, machine, found)
                        continue
                    now = begin_position(front, fragments[c_row, p, q], now, machine, found)
                    vectors = (c + vector_i - 1) // vector_i
                    steps = vectors * ((k + vector_f - 1) // vector_f)
                    now += steps
                    end_position(front, steps)
                    found[STEPS] += steps
                    found[PAIRS] += k * c
                    found[USEFUL] += np.int64(k_real[k_row, p, q]) * window_real[c_row, p, q]
                    if 0 < fifo < k:
                        resent[t, b] += (vectors - 1) * k
            found[CYCLES] += now
            found[REAL_PAIRS] = found[USEFUL]
