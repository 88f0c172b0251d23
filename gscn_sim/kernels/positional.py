"""The positional dataflow of wgrad: at each output position, gradients along K times the window."""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.banks import bank
from gscn_sim.kernels.buildable import N_FRONT, SKIPPED, pass_position, visit_position
from gscn_sim.kernels.compiled import njit
from gscn_sim.kernels.pairing import (
    CYCLES,
    PAIRS,
    REAL_PAIRS,
    STEPS,
    USEFUL,
    same_list,
    same_queues,
)
from gscn_sim.kernels.pixels import gradient_lists, pixel_lists, window_fragments, window_list
from gscn_sim.kernels.queues import LONG_AGO, places_of, tail_of


@njit(cache=True, nogil=True)
def _pair_position(
    window, count, k_idx, k_count, bank_of, vector_i, vector_f, queue_depth, free, now, all_real
):
    """All pairs of one position; returns the cycle after the last step.

    Indices are unsigned: the compiler then leaves out the check for negative ones.
    """
    one = np.uint64(1)
    a = np.uint64(0)
    while a < count:  # a range would divide to know its length
        a_end = min(a + vector_i, count)
        f = np.uint64(0)
        while f < k_count:
            f_end = min(f + vector_f, k_count)
            latest = np.int64(0)
            j = f
            while j < f_end:
                right = k_idx[j]
                i = a
                while i < a_end:
                    left = window[i]
                    if all_real or (left >= 0 and right >= 0):
                        bank = bank_of[np.uint32(right + left)]
                        idle = max(free[bank], now) + 1
                        free[bank] = idle
                        latest = max(latest, idle)
                    i += one
                j += one
            now = max(now + 1, latest - queue_depth)
            f = f_end
        a = a_end
    return now


@njit(cache=True, nogil=True)
def _same_as_before(ptr, idx, same):
    """Whether each list equals the one before it, and has entries."""
    same[0] = False
    for i in range(1, len(ptr) - 1):
        length = ptr[i + 1] - ptr[i]
        equal = length > 0 and length == ptr[i] - ptr[i - 1]
        at = 0
        while equal and at < length:
            equal = idx[ptr[i] + at] == idx[ptr[i - 1] + at]
            at += 1
        same[i] = equal


@njit(cache=True, nogil=True)
def positional_tiles(
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
        tiles: [T, 8] p0, p1, q0, q1 of the gradients, y0, y1, x0, x1 of the activations they meet.
        blocks: [B, 3] k0, k1, index into ``c_ranges``; blocks of a C range stand together.
        c_ranges: [D, 2] c0, c1.
        kernel_size, stride, padding, dilation: (height, width).
        machine: as in :func:`cartesian_tiles`.
        counters: out, [T, B, N_COUNTERS]. entries: out, [T, B, 3] stored entries of
            the tile's activations and gradients, and of lists longer than the FIFO sent again.
        sums: [K, R, S, C] result to add to in functional mode, else size 0.
    """
    vector_i, vector_f = machine.vector_i, machine.vector_f
    depth, num_banks = machine.queue_depth, machine.num_banks
    kind, run_limit = machine.bank_hash, machine.run_limit
    stages, is_ideal = machine.adder_stages, machine.is_ideal
    functional = sums.size > 0
    n_blocks = len(blocks)
    most_c, most_k = 1, 1
    for d in range(len(c_ranges)):
        most_c = max(most_c, c_ranges[d, 1] - c_ranges[d, 0])
    for b in range(n_blocks):
        most_k = max(most_k, blocks[b, 1] - blocks[b, 0])
    n_positions = kernel_size[0] * kernel_size[1] * most_c
    bank_of = np.empty(most_k * n_positions, np.uint16)
    for k in range(most_k):
        for position in range(n_positions):
            r, s = position // (most_c * kernel_size[1]), position // most_c % kernel_size[1]
            bank_of[k * n_positions + position] = bank(
                kind, k, n_positions, position, k, r, s, num_banks
            )
    k_ranges, k_row = _distinct_ranges(blocks)
    window = np.empty(n_positions + most_c, np.int32)
    previous = np.empty(n_positions + most_c, np.int32)
    c_idx, c_count, c_real = pixel_lists(activation, c_ranges, most_c, run_limit)
    free = np.empty((n_blocks, num_banks), np.int64)
    before = np.empty((n_blocks, num_banks), np.int64)
    now = np.empty(n_blocks, np.int64)
    last_cycles = np.empty(n_blocks, np.int64)
    wide_i, wide_f = np.uint64(vector_i), np.uint64(vector_f)
    # What a PE that is not ideal knows of the accumulator groups of one C range.
    n_rows = 0 if is_ideal else n_blocks
    front = np.empty((n_rows, N_FRONT), np.int64)
    banks = np.empty((n_rows, 3, num_banks), np.int64)
    recent = np.empty((n_rows, 2, num_banks, places_of(depth, stages)), np.int64)
    met = np.empty(recent.shape, np.int64)
    ready = np.empty((n_rows, len(bank_of) if stages > 1 else 1), np.int64)
    fragments = 0
    for t in range(len(tiles)):
        p0, p1, q0, q1 = tiles[t, 0], tiles[t, 1], tiles[t, 2], tiles[t, 3]
        area = (p1 - p0) * (q1 - q0)
        k_ptr = np.empty((len(k_ranges), area + 1), np.int64)
        k_real = np.empty((len(k_ranges), area), np.int64)
        k_idx = np.empty((len(k_ranges), area * most_k + 1), np.int32)
        k_same = np.zeros((len(k_ranges), area + 1), np.bool_)
        for row in range(len(k_ranges)):
            gradient_lists(
                gradient, p0, p1, q0, q1, k_ranges[row, 0], k_ranges[row, 1], n_positions,
                run_limit, k_ptr[row], k_real[row], k_idx[row],
            )  # fmt: skip
            _same_as_before(k_ptr[row], k_idx[row], k_same[row])
        free[:] = 0
        now[:] = 0
        b_start = 0
        while b_start < n_blocks:
            d = blocks[b_start, 2]
            b_stop = b_start
            while b_stop < n_blocks and blocks[b_stop, 2] == d:
                b_stop += 1
            held = 0
            for h in range(tiles[t, 4], tiles[t, 5]):
                for w in range(tiles[t, 6], tiles[t, 7]):
                    held += c_count[d, h, w]
            if not is_ideal:
                rows = b_stop - b_start
                front[:rows], banks[:rows], ready[:rows], recent[:rows] = 0, 0, 0, LONG_AGO
            previous_count = -1
            position = -1
            for p in range(p0, p1):
                for q in range(q0, q1):
                    position += 1
                    window, previous = previous, window
                    count, window_real = window_list(
                        c_idx[d], c_count[d], c_real[d], p, q, kernel_size, stride, padding,
                        dilation, window,
                    )  # fmt: skip
                    same_window = count == previous_count and same_list(window, previous, count)
                    previous_count = count
                    i_steps = (count + vector_i - 1) // vector_i
                    if machine.gather_fragments > 0:
                        fragments = window_fragments(
                            c_count[d], p, q, kernel_size, stride, padding, dilation, vector_i
                        )
                    for b in range(b_start, b_stop):
                        row = k_row[b]
                        k_start = k_ptr[row, position]
                        n_k = k_ptr[row, position + 1] - k_start
                        x = b - b_start
                        if count == 0 or n_k == 0:
                            if not is_ideal:
                                now[b] = pass_position(front[x], now[b], machine, counters[t, b])
                            continue
                        if functional:
                            _accumulate(
                                sums, window, count, k_idx[row], k_start, k_start + n_k,
                                n_positions, blocks[b, 0], c_ranges[d, 0], most_c, kernel_size[1],
                                activation_value, gradient_value, p, q, stride, padding, dilation,
                            )  # fmt: skip
                            continue
                        queues = free[b]
                        same = same_window and k_same[row, position]
                        if is_ideal and same:
                            same = same_queues(queues, now[b], before[b])
                        if not is_ideal:
                            now[b] = visit_position(
                                window, count, k_idx[row, k_start:], n_k, fragments, bank_of,
                                machine, front[x], banks[x], recent[x], ready[x], met[x], same,
                                k_same[row, position + 1], now[b], counters[t, b],
                            )  # fmt: skip
                        elif same:
                            now[b] += last_cycles[b]
                            queues += last_cycles[b]
                        else:
                            if k_same[row, position + 1]:  # the next position may repeat this one
                                for i in range(num_banks):
                                    before[b, i] = max(queues[i] - now[b], 0)
                            start = now[b]
                            now[b] = _pair_position(
                                window, np.uint64(count), k_idx[row, k_start:], np.uint64(n_k),
                                bank_of, wide_i, wide_f, depth, queues, start,
                                window_real == count and k_real[row, position] == n_k,
                            )  # fmt: skip
                            last_cycles[b] = now[b] - start
                        if 0 < machine.fifo_entries < n_k:
                            entries[t, b, 2] += (i_steps - 1) * n_k
                        counters[t, b, PAIRS] += count * n_k
                        counters[t, b, USEFUL] += window_real * k_real[row, position]
                        counters[t, b, STEPS] += i_steps * ((n_k + vector_f - 1) // vector_f)
            for b in range(b_start, b_stop):
                entries[t, b, 0] += held
                entries[t, b, 1] += k_ptr[k_row[b], area]
                if not is_ideal:
                    counters[t, b, CYCLES] += front[b - b_start, SKIPPED]
                    counters[t, b, CYCLES] += tail_of(banks[b - b_start], now[b], stages)
            b_start = b_stop
        for b in range(n_blocks):
            tail = 0
            for i in range(num_banks):
                tail = max(tail, free[b, i] - now[b])
            counters[t, b, CYCLES] += now[b] + tail
            counters[t, b, REAL_PAIRS] = counters[t, b, USEFUL]


@njit(cache=True, nogil=True)
def _distinct_ranges(blocks):
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
def _accumulate(
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
