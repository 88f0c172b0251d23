"""The positional dataflow of wgrad: at each output position, gradients along K times the window."""

from __future__ import annotations

import numpy as np
from numba import njit

from gscn_sim.kernels.banks import bank
from gscn_sim.kernels.pairing import CYCLES, PAIRS, REAL_PAIRS, STEPS, USEFUL


@njit(cache=True, nogil=True)
def channel_run(mask, first, last, base, step, run_limit, absent, idx, used):  # type: ignore[no-untyped-def]
    """Append the entries of channels first..last at one pixel (``mask`` [channels] there)."""
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
def gradient_lists(gradient, p0, p1, q0, q1, k0, k1, n_positions, run_limit, ptr, real, idx):  # type: ignore[no-untyped-def]
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
def window_list(  # type: ignore[no-untyped-def]
    activation, p, q, c0, c1, most_c, kernel_size, stride, padding, dilation, run_limit, idx
):
    """Entries of one position's window, filter positions outer, channels inner (-1: placeholder).

    Returns (entries, non-placeholders).
    """
    used = 0
    for r in range(kernel_size[0]):
        h = p * stride[0] - padding[0] + r * dilation[0]
        if h < 0 or h >= activation.shape[0]:
            continue
        for s in range(kernel_size[1]):
            w = q * stride[1] - padding[1] + s * dilation[1]
            if w < 0 or w >= activation.shape[1]:
                continue
            base = (r * kernel_size[1] + s) * most_c
            used = channel_run(activation[h, w], c0, c1, base, 1, run_limit, -1, idx, used)
    real = 0
    for i in range(used):
        real += idx[i] >= 0
    return used, real


@njit(cache=True, nogil=True)
def _pair_position(  # type: ignore[no-untyped-def]
    window, count, k_idx, k_start, k_stop, bank_of, vector_i, vector_f, queue_depth, free, now
):
    """All pairs of one position; returns (cycle after the last step, steps)."""
    steps = 0
    for a in range(0, count, vector_i):
        a_end = min(a + vector_i, count)
        for f in range(k_start, k_stop, vector_f):
            latest = 0
            for i in range(a, a_end):
                if window[i] < 0:
                    continue
                for j in range(f, min(f + vector_f, k_stop)):
                    if k_idx[j] < 0:
                        continue
                    bank = bank_of[k_idx[j] + window[i]]
                    idle = max(free[bank], now) + 1
                    free[bank] = idle
                    latest = max(latest, idle)
            steps += 1
            now = max(now + 1, latest - queue_depth)
    return now, steps


@njit(cache=True, nogil=True)
def positional_tiles(  # type: ignore[no-untyped-def]
    activation, gradient, activation_value, gradient_value, tiles, blocks, c_ranges, kernel_size,
    stride, padding, dilation, machine, counters, entries, sums,
):  # fmt: skip
    """Cycles and counters of accumulator groups (K range x C range) on each tile, for one sample.

    A pairing group is one output position: the window's activations meet the gradients along K.
    All products are useful. The accumulators hold [K range, R, S, C range]. A position whose lists
    and queue state equal those of the position before costs the same and is not walked again.

    Args:
        activation: [H, W, C] mask; gradient: [P, Q, K] mask (channels last: one pixel is one run).
        activation_value, gradient_value: values in the same layouts in functional mode, else empty.
        tiles: [T, 4] p0, p1, q0, q1.
        blocks: [B, 3] k0, k1, index into ``c_ranges``; blocks of a C range stand together.
        c_ranges: [D, 2] c0, c1.
        kernel_size, stride, padding, dilation: (height, width).
        machine: as in :func:`cartesian_tiles`.
        counters: out, [T, B, N_COUNTERS]. entries: out, [T, B, 2] window and gradient entries.
        sums: [K, R, S, C] result to add to in functional mode, else size 0.
    """
    vector_i, vector_f, depth, num_banks = machine[0], machine[1], machine[2], machine[3]
    kind, run_limit = machine[4], machine[5]
    functional = sums.size > 0
    n_blocks = len(blocks)
    most_c, most_k = 1, 1
    for d in range(len(c_ranges)):
        most_c = max(most_c, c_ranges[d, 1] - c_ranges[d, 0])
    for b in range(n_blocks):
        most_k = max(most_k, blocks[b, 1] - blocks[b, 0])
    n_positions = kernel_size[0] * kernel_size[1] * most_c
    bank_of = np.empty(most_k * n_positions, np.int16)
    for k in range(most_k):
        for position in range(n_positions):
            r, s = position // (most_c * kernel_size[1]), position // most_c % kernel_size[1]
            bank_of[k * n_positions + position] = bank(
                kind, k, n_positions, position, k, r, s, num_banks
            )
    k_ranges, k_row = _distinct_ranges(blocks)
    window = np.empty(n_positions, np.int32)
    previous = np.empty(n_positions, np.int32)
    free = np.empty((n_blocks, num_banks), np.int64)
    before = np.empty((n_blocks, num_banks), np.int64)
    now = np.empty(n_blocks, np.int64)
    last_cycles = np.empty(n_blocks, np.int64)
    last_steps = np.empty(n_blocks, np.int64)
    for t in range(len(tiles)):
        p0, p1, q0, q1 = tiles[t, 0], tiles[t, 1], tiles[t, 2], tiles[t, 3]
        area = (p1 - p0) * (q1 - q0)
        k_ptr = np.empty((len(k_ranges), area + 1), np.int64)
        k_real = np.empty((len(k_ranges), area), np.int64)
        k_idx = np.empty((len(k_ranges), area * most_k), np.int32)
        for row in range(len(k_ranges)):
            gradient_lists(
                gradient, p0, p1, q0, q1, k_ranges[row, 0], k_ranges[row, 1], n_positions,
                run_limit, k_ptr[row], k_real[row], k_idx[row],
            )  # fmt: skip
        free[:] = 0
        now[:] = 0
        b_start = 0
        while b_start < n_blocks:
            d = blocks[b_start, 2]
            b_stop = b_start
            while b_stop < n_blocks and blocks[b_stop, 2] == d:
                b_stop += 1
            c0, c1 = c_ranges[d, 0], c_ranges[d, 1]
            previous_count = -1
            position = -1
            for p in range(p0, p1):
                for q in range(q0, q1):
                    position += 1
                    count, window_real = window_list(
                        activation, p, q, c0, c1, most_c, kernel_size, stride, padding, dilation,
                        run_limit, window,
                    )  # fmt: skip
                    same_window = count == previous_count
                    for i in range(count):
                        same_window = same_window and window[i] == previous[i]
                        previous[i] = window[i]
                    previous_count = count
                    for b in range(b_start, b_stop):
                        row = k_row[b]
                        k_start, k_stop = k_ptr[row, position], k_ptr[row, position + 1]
                        n_k = k_stop - k_start
                        entries[t, b, 0] += count
                        entries[t, b, 1] += n_k
                        if count == 0 or n_k == 0:
                            last_steps[b] = -1
                            continue
                        if functional:
                            _accumulate(
                                sums, window, count, k_idx[row], k_start, k_stop, n_positions,
                                blocks[b, 0], c0, most_c, kernel_size[1], activation_value,
                                gradient_value, p, q, stride, padding, dilation,
                            )  # fmt: skip
                            continue
                        same = same_window and position > 0 and last_steps[b] >= 0
                        same = same and n_k == k_start - k_ptr[row, position - 1]
                        if same:
                            for i in range(n_k):
                                same = (
                                    same
                                    and k_idx[row, k_start + i] == k_idx[row, k_start - n_k + i]
                                )
                        if same:
                            for i in range(num_banks):
                                same = same and max(free[b, i] - now[b], 0) == before[b, i]
                        if same:
                            now[b] += last_cycles[b]
                            free[b] += last_cycles[b]
                        else:
                            for i in range(num_banks):
                                before[b, i] = max(free[b, i] - now[b], 0)
                            start = now[b]
                            now[b], last_steps[b] = _pair_position(
                                window, count, k_idx[row], k_start, k_stop, bank_of, vector_i,
                                vector_f, depth, free[b], start,
                            )  # fmt: skip
                            last_cycles[b] = now[b] - start
                        counters[t, b, PAIRS] += count * n_k
                        counters[t, b, REAL_PAIRS] += window_real * k_real[row, position]
                        counters[t, b, USEFUL] += window_real * k_real[row, position]
                        counters[t, b, STEPS] += last_steps[b]
            b_start = b_stop
        for b in range(n_blocks):
            tail = 0
            for i in range(num_banks):
                tail = max(tail, free[b, i] - now[b])
            counters[t, b, CYCLES] += now[b] + tail


@njit(cache=True, nogil=True)
def _distinct_ranges(blocks):  # type: ignore[no-untyped-def]
    """The distinct K ranges of blocks, and which of them each block has."""
    ranges = np.empty((len(blocks), 2), np.int64)
    row = np.empty(len(blocks), np.int64)
    found = 0
    for b in range(len(blocks)):
        row[b] = -1
        for i in range(found):
            if ranges[i, 0] == blocks[b, 0] and ranges[i, 1] == blocks[b, 1]:
                row[b] = i
                break
        if row[b] < 0:
            ranges[found] = blocks[b, :2]
            row[b] = found
            found += 1
    return ranges[:found], row


@njit(cache=True, nogil=True)
def _accumulate(  # type: ignore[no-untyped-def]
    sums, window, count, k_idx, k_start, k_stop, n_positions, k0, c0, most_c, n_s,
    activation_value, gradient_value, p, q, stride, padding, dilation,
):  # fmt: skip
    """Add one position's products to ``sums`` [K, R, S, C]."""
    for i in range(count):
        if window[i] < 0:
            continue
        r, s = window[i] // (most_c * n_s), window[i] // most_c % n_s
        c = c0 + window[i] % most_c
        h = p * stride[0] - padding[0] + r * dilation[0]
        w = q * stride[1] - padding[1] + s * dilation[1]
        for j in range(k_start, k_stop):
            if k_idx[j] >= 0:
                k = k0 + k_idx[j] // n_positions
                sums[k, r, s, c] += activation_value[h, w, c] * gradient_value[p, q, k]


@njit(cache=True, nogil=True)
def pixel_entries(mask, y0, y1, x0, x1, c0, c1, run_limit):  # type: ignore[no-untyped-def]
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
