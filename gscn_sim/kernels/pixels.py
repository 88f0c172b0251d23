"""The lists of pixels: runs along the channels, at each position of a map or of a window."""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.compiled import njit


@njit(cache=True, nogil=True)
def channel_run(mask, first, last, base, step, run_limit, absent, idx, used):
    """Append the entries of channels first..last at one pixel (``mask`` [channels] there).

    ``idx`` needs room for one entry more than it gets.
    """
    if last - first <= run_limit:  # no run is too long: nothing to decide, only to count
        for c in range(first, last):
            idx[used] = base + (c - first) * step
            used += mask[c] != 0
        return used
    run = 0
    for c in range(first, last):
        if mask[c]:
            while run >= run_limit:
                idx[used] = absent
                used += 1
                run -= run_limit
            idx[used] = base + (c - first) * step
            used += 1
            run = 0
        else:
            run += 1
    return used


@njit(cache=True, nogil=True)
def gradient_lists(gradient, p0, p1, q0, q1, k0, k1, n_positions, run_limit, ptr, real, idx):
    """Lists of one K range at each position of a tile, as channel offsets (-1: placeholder).

    ``ptr`` [positions + 1], ``real`` [positions] and ``idx`` are filled.
    """
    used = 0
    position = 0
    ptr[0] = 0
    for p in range(p0, p1):
        for q in range(q0, q1):
            start = used
            used = channel_run(gradient[p, q], k0, k1, 0, n_positions, run_limit, -1, idx, used)
            count = 0
            for i in range(start, used):
                count += idx[i] >= 0
            real[position] = count
            position += 1
            ptr[position] = used


@njit(cache=True, nogil=True)
def pixel_lists(activation, c_ranges, most_c, run_limit):
    """Lists of each C range at each pixel, as channel offsets (-1: placeholder).

    Returns:
        idx [D, H, W, most_c], and count, real [D, H, W]: entries and non-placeholders of each.
    """
    height, width, _ = activation.shape
    shape = (len(c_ranges), height, width)
    idx = np.empty((*shape, most_c), np.int32)
    count, real = np.empty(shape, np.int32), np.empty(shape, np.int32)
    entries = np.empty(most_c + 1, np.int32)
    for d in range(len(c_ranges)):
        for h in range(height):
            for w in range(width):
                used = channel_run(
                    activation[h, w], c_ranges[d, 0], c_ranges[d, 1], 0, 1, run_limit, -1,
                    entries, 0,
                )  # fmt: skip
                placeholders = 0
                for i in range(used):
                    placeholders += entries[i] < 0
                idx[d, h, w] = entries[:most_c]
                count[d, h, w] = used
                real[d, h, w] = used - placeholders
    return idx, count, real


@njit(cache=True, nogil=True)
def window_list(idx, count, real, p, q, kernel_size, stride, padding, dilation, out):
    """Entries of one position's window, filter positions outer, channels inner.

    A placeholder is negative. ``idx``, ``count`` and ``real`` are the pixels' lists of a C range;
    ``out`` needs room for one pixel more than the window has. Returns (entries, non-placeholders).
    """
    height, width, most_c = idx.shape
    total = 0
    reals = 0
    for r in range(kernel_size[0]):
        h = p * stride[0] - padding[0] + r * dilation[0]
        if h < 0 or h >= height:
            continue
        for s in range(kernel_size[1]):
            w = q * stride[1] - padding[1] + s * dilation[1]
            if w < 0 or w >= width:
                continue
            base = (r * kernel_size[1] + s) * most_c
            used = count[h, w]
            # Short lists are copied whole: that costs less than a loop of unpredictable length.
            for i in range(most_c if most_c <= 16 else used):
                entry = idx[h, w, i]
                out[total + i] = base + entry if entry >= 0 else -1
            total += used
            reals += real[h, w]
    return total, reals


@njit(cache=True, nogil=True)
def window_fragments(count, p, q, kernel_size, stride, padding, dilation, most):
    """How many parts of a pixel's list, of at most ``most`` entries each, a window consists of.

    ``count``: entries of each pixel's list.
    """
    total = 0
    for r in range(kernel_size[0]):
        h = p * stride[0] - padding[0] + r * dilation[0]
        if h < 0 or h >= count.shape[0]:
            continue
        for s in range(kernel_size[1]):
            w = q * stride[1] - padding[1] + s * dilation[1]
            if w >= 0 and w < count.shape[1]:
                total += (count[h, w] + most - 1) // most
    return total


@njit(cache=True, nogil=True)
def pixel_entries(mask, y0, y1, x0, x1, c0, c1, run_limit):
    """Entries of a region stored pixel by pixel: non-zeros and placeholders ([Y, X, C] mask)."""
    total = 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            run = 0
            for c in range(c0, c1):
                if mask[y, x, c]:
                    total += 1 + run // run_limit
                    run = 0
                else:
                    run += 1
    return total
