"""The positional dataflow of wgrad: at each output position, gradients along K times the window."""

from __future__ import annotations

import numpy as np
from numba import njit

from gscn_sim.kernels.banks import bank
from gscn_sim.kernels.pairing import CYCLES, PAIRS, REAL_PAIRS, STEPS, USEFUL, issue


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
def positional_tiles(  # type: ignore[no-untyped-def]
    activation, gradient, activation_value, gradient_value, tiles, blocks, c_ranges, kernel_size,
    stride, padding, dilation, machine, counters, entries, sums,
):  # fmt: skip
    """Cycles and counters of accumulator groups (K range x C range) on each tile, for one sample.

    A pairing group is one output position: the window's activations, filter positions outer and
    channels inner, meet the gradients along K. All products are useful. The accumulators hold
    [K range, R, S, C range].

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
    height, width = activation.shape[0], activation.shape[1]
    n_r, n_s = kernel_size
    functional = sums.size > 0
    most_c, most_k = 0, 0
    for d in range(len(c_ranges)):
        most_c = max(most_c, c_ranges[d, 1] - c_ranges[d, 0])
    for b in range(len(blocks)):
        most_k = max(most_k, blocks[b, 1] - blocks[b, 0])
    n_positions = n_r * n_s * most_c
    absent = n_positions
    bank_of = np.empty(most_k * n_positions, np.int16)
    for k in range(most_k):
        for position in range(n_positions):
            r, s = position // (most_c * n_s), position // most_c % n_s
            bank_of[k * n_positions + position] = bank(
                kind, k, n_positions, position, k, r, s, num_banks
            )
    position_of = np.full(2 * absent + 1, -1, np.int32)
    for i in range(absent):
        position_of[i] = i

    window = np.empty(n_positions, np.int32)
    previous = np.full(n_positions, -1, np.int32)
    k_idx = np.empty(max(most_k, 1), np.int32)
    k_zero = np.zeros(max(most_k, 1), np.int32)
    n_blocks = len(blocks)
    free = np.zeros((n_blocks, num_banks), np.int64)
    now = np.zeros(n_blocks, np.int64)
    state = np.zeros(num_banks, np.int64)
    before = np.zeros((n_blocks, num_banks), np.int64)
    cost = np.zeros((n_blocks, 3), np.int64)  # cycles, steps, useful of the position walked last
    last_k = np.full((n_blocks, max(most_k, 1)), -1, np.int32)
    last_k_count = np.full(n_blocks, -1, np.int64)
    for t in range(len(tiles)):
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
            last_k_count[:] = -1
            for p in range(tiles[t, 0], tiles[t, 1]):
                for q in range(tiles[t, 2], tiles[t, 3]):
                    count = 0
                    window_real = 0
                    for r in range(n_r):
                        h = p * stride[0] - padding[0] + r * dilation[0]
                        if h < 0 or h >= height:
                            continue
                        for s in range(n_s):
                            w = q * stride[1] - padding[1] + s * dilation[1]
                            if w < 0 or w >= width:
                                continue
                            base = (r * n_s + s) * most_c
                            count = channel_run(
                                activation[h, w], c0, c1, base, 1, run_limit, absent, window, count
                            )
                    same_window = count == previous_count
                    for i in range(count):
                        same_window = same_window and window[i] == previous[i]
                        previous[i] = window[i]
                        window_real += window[i] != absent
                    previous_count = count
                    for b in range(b_start, b_stop):
                        k0, k1 = blocks[b, 0], blocks[b, 1]
                        # Offsets into k_idx are channel offsets; placeholders need their own mark.
                        n_k = channel_run(gradient[p, q], k0, k1, 0, 1, run_limit, -1, k_idx, 0)
                        entries[t, b, 0] += count
                        entries[t, b, 1] += n_k
                        same = same_window and n_k == last_k_count[b]
                        k_real = 0
                        for i in range(n_k):
                            same = same and k_idx[i] == last_k[b, i]
                            last_k[b, i] = k_idx[i]
                            k_real += k_idx[i] >= 0
                        last_k_count[b] = n_k
                        if count == 0 or n_k == 0:
                            continue
                        if functional:
                            _accumulate(
                                sums, window, count, absent, k_idx, n_k, k0, c0, most_c, n_s,
                                activation_value, gradient_value, p, q, stride, padding, dilation,
                            )  # fmt: skip
                            continue
                        for i in range(n_k):
                            if k_idx[i] >= 0:
                                k_zero[i] = 0
                                k_idx[i] *= n_positions
                            else:
                                k_zero[i] = absent
                                k_idx[i] = 0
                        counters[t, b, PAIRS] += count * n_k
                        counters[t, b, REAL_PAIRS] += window_real * k_real
                        for i in range(num_banks):
                            state[i] = max(free[b, i] - now[b], 0)
                            same = same and state[i] == before[b, i]
                        if same:
                            now[b] += cost[b, 0]
                            free[b] += cost[b, 0]
                        else:
                            before[b, :] = state
                            start = now[b]
                            clock = start
                            steps, useful = 0, 0
                            for a in range(0, count, vector_i):
                                a_end = min(a + vector_i, count)
                                for f in range(0, n_k, vector_f):
                                    hits, latest = issue(
                                        window, a, a_end, k_zero, k_idx, f, min(f + vector_f, n_k),
                                        position_of, bank_of, free[b], clock,
                                    )  # fmt: skip
                                    useful += hits
                                    steps += 1
                                    clock = max(clock + 1, latest - depth)
                            now[b] = clock
                            cost[b, 0], cost[b, 1], cost[b, 2] = clock - start, steps, useful
                        counters[t, b, STEPS] += cost[b, 1]
                        counters[t, b, USEFUL] += cost[b, 2]
            b_start = b_stop
        for b in range(n_blocks):
            tail = 0
            for i in range(num_banks):
                tail = max(tail, free[b, i] - now[b])
            counters[t, b, CYCLES] += now[b] + tail


@njit(cache=True, nogil=True)
def _accumulate(  # type: ignore[no-untyped-def]
    sums, window, count, absent, k_idx, n_k, k0, c0, most_c, n_s, activation_value, gradient_value,
    p, q, stride, padding, dilation,
):  # fmt: skip
    """Add one position's products to ``sums`` [K, R, S, C]."""
    for i in range(count):
        if window[i] == absent:
            continue
        r, s = window[i] // (most_c * n_s), window[i] // most_c % n_s
        c = c0 + window[i] % most_c
        h = p * stride[0] - padding[0] + r * dilation[0]
        w = q * stride[1] - padding[1] + s * dilation[1]
        for j in range(n_k):
            if k_idx[j] >= 0:
                k = k0 + k_idx[j]
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
