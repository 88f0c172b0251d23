"""Compressed operand lists: non-zeros in order, a placeholder where a zero run is too long.

Along one axis, stationary coordinate y and streamed coordinate r meet at the output coordinate
(alpha * y + beta + gamma * r) / div. They can only meet at a whole coordinate when their residues
(*classes*) agree, so each class has lists of its own; inside a class the output coordinate is the
sum of two whole terms, one of each operand.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.compiled import njit


@njit(cache=True, nogil=True, inline="always")
def stationary_term(alpha, beta, div, y):
    """(whole term, class) of a stationary coordinate."""
    value = alpha * y + beta
    return value // div, value % div


@njit(cache=True, nogil=True, inline="always")
def streamed_term(gamma, div, r):
    """(whole term, class) of a streamed coordinate: the class it can meet."""
    cls = (-gamma * r) % div
    return (gamma * r + cls) // div, cls


@njit(cache=True, nogil=True)
def classes_of(axis, stationary_size, streamed_size):
    """The classes, in order, that any coordinate of either operand along an axis belongs to."""
    alpha, beta, gamma, div = axis[0], axis[1], axis[2], axis[3]
    # Where div is not 1, alpha is: classes take turns along the axis.
    if div <= stationary_size:
        return np.arange(div)
    found = np.empty(stationary_size + streamed_size, np.int64)
    for y in range(stationary_size):
        found[y] = stationary_term(alpha, beta, div, y)[1]
    for r in range(streamed_size):
        found[stationary_size + r] = streamed_term(gamma, div, r)[1]
    return np.unique(found)


@njit(cache=True, nogil=True)
def stationary_lists(
    mask, c0, c1, region, axes, classes_y, classes_x, origin_y, origin_x, width, run_limit, absent,
    ptr, real, idx, source,
):  # fmt: skip
    """Lists of channels c0..c1 of a region of feature maps, a list per (channel, class).

    Positions are in raster order; an entry is (y term - origin_y) * width + (x term - origin_x).

    Args:
        mask: [C, Y, X], non-zero where there is a value.
        region: y0, y1, x0, x1.
        axes: [2, 5]: alpha, beta, gamma, div, output size, for y and x.
        classes_y, classes_x: :func:`classes_of` each axis.
        ptr, real, idx: out: list bounds, non-placeholders a list, entries.
        source: out: flat index into ``mask`` of each entry, -1 for a placeholder.
    """
    y0, y1, x0, x1 = region[0], region[1], region[2], region[3]
    div_y, div_x = axes[0, 3], axes[1, 3]
    used = 0
    group = 0
    ptr[0] = 0
    class_of_y0 = stationary_term(axes[0, 0], axes[0, 1], div_y, y0)[1]
    class_of_x0 = stationary_term(axes[1, 0], axes[1, 1], div_x, x0)[1]
    for c in range(c0, c1):
        for cls_y in classes_y:
            first_y = y0 + (cls_y - class_of_y0) % div_y
            for cls_x in classes_x:
                first_x = x0 + (cls_x - class_of_x0) % div_x
                count = 0
                run = 0
                first = stationary_term(axes[1, 0], axes[1, 1], div_x, first_x)[0]
                for y in range(first_y, y1, div_y):
                    ty = stationary_term(axes[0, 0], axes[0, 1], div_y, y)[0]
                    entry = (ty - origin_y) * width - origin_x + first
                    row = mask[c, y]
                    at = (c * mask.shape[1] + y) * mask.shape[2]
                    for x in range(first_x, x1, div_x):
                        if row[x]:
                            while run >= run_limit:
                                idx[used] = absent
                                source[used] = -1
                                used += 1
                                run -= run_limit
                            idx[used] = entry
                            source[used] = at + x
                            used += 1
                            count += 1
                            run = 0
                        else:
                            run += 1
                        entry += axes[1, 0]
                real[group] = count
                group += 1
                ptr[group] = used
    return used


@njit(cache=True, nogil=True)
def streamed_lists(
    mask, j0, j1, group_of_list, o0, o1, region, axes, classes_y, classes_x, origin_y, origin_x,
    width, n_positions, run_limit, absent, ptr, real, idx, offset, source,
):  # fmt: skip
    """Lists j0..j1 of filters, or of a gradient region, a list per (j, class), channels fastest.

    Args:
        mask: [J, R, S, O / groups].
        group_of_list: convolution group of each j.
        o0, o1: output channels of the accumulator group (absolute).
        region: r0, r1, s0, s1.
        classes_y, classes_x: as in :func:`stationary_lists`.
        n_positions: output positions of one channel in the accumulators.
        ptr, real, idx, offset, source: out: bounds, non-placeholders, entries, channel offsets,
            flat indices into ``mask`` (-1 for a placeholder).
    """
    r0, r1, s0, s1 = region[0], region[1], region[2], region[3]
    div_y, div_x = axes[0, 3], axes[1, 3]
    per_group = mask.shape[3]
    used = 0
    group = 0
    ptr[0] = 0
    for j in range(j0, j1):
        first = group_of_list[j] * per_group
        low = max(o0 - first, 0)
        high = min(o1 - first, per_group)
        for cls_y in classes_y:
            for cls_x in classes_x:
                count = 0
                run = 0
                for r in range(r0, r1):
                    ty, cy = streamed_term(axes[0, 2], div_y, r)
                    if cy != cls_y:
                        continue
                    row = (ty - origin_y) * width - origin_x
                    for s in range(s0, s1):
                        tx, cx = streamed_term(axes[1, 2], div_x, s)
                        if cx != cls_x:
                            continue
                        for o in range(low, high):
                            if mask[j, r, s, o]:
                                while run >= run_limit:
                                    idx[used] = absent
                                    offset[used] = 0
                                    source[used] = -1
                                    used += 1
                                    run -= run_limit
                                idx[used] = row + tx
                                offset[used] = (first + o - o0) * n_positions
                                flat = (j * mask.shape[1] + r) * mask.shape[2] + s
                                source[used] = flat * per_group + o
                                used += 1
                                count += 1
                                run = 0
                            else:
                                run += 1
                real[group] = count
                group += 1
                ptr[group] = used
    return used


@njit(cache=True, nogil=True)
def term_range_stationary(axes, region):
    """Smallest and largest terms of a stationary region: y low, y high, x low, x high."""
    out = np.empty(4, np.int64)
    for axis in range(2):
        low = stationary_term(axes[axis, 0], axes[axis, 1], axes[axis, 3], region[2 * axis])[0]
        high = stationary_term(
            axes[axis, 0], axes[axis, 1], axes[axis, 3], region[2 * axis + 1] - 1
        )[0]
        out[2 * axis] = low
        out[2 * axis + 1] = high
    return out


@njit(cache=True, nogil=True)
def term_range_streamed(axes, region):
    """Smallest and largest terms of a streamed region: y low, y high, x low, x high."""
    out = np.empty(4, np.int64)
    for axis in range(2):
        low = np.int64(1 << 60)
        high = -low
        for r in range(region[2 * axis], region[2 * axis + 1]):
            term = streamed_term(axes[axis, 2], axes[axis, 3], r)[0]
            low = min(low, term)
            high = max(high, term)
        out[2 * axis] = low
        out[2 * axis + 1] = high
    return out
