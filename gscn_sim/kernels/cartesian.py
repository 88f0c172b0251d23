"""One accumulator group of a Cartesian dataflow on a set of tiles."""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.banks import output_tables
from gscn_sim.kernels.buildable import count_pairs, pair_buildable
from gscn_sim.kernels.compiled import njit
from gscn_sim.kernels.lists import (
    classes_of,
    stationary_lists,
    streamed_lists,
    streamed_term,
    term_range_stationary,
    term_range_streamed,
)
from gscn_sim.kernels.pairing import (
    COUNTED_BANKS,
    COUNTED_PAIRS,
    CYCLES,
    STEPS,
    StationaryLists,
    StreamedLists,
    accumulate,
    pair_all,
    pair_anticipated,
    pair_unqueued,
)


@njit(cache=True, nogil=True)
def cartesian_tiles(
    stationary, streamed, stationary_value, streamed_value, group_of_list, list_of_channel,
    c0, c1, o0, o1, tiles, axes, machine,
    counters, entries, resent, channel_cycles, channel_entries, sums,
):  # fmt: skip
    """Cycles and counters of one accumulator group on each tile, for one sample.

    Args:
        stationary: [C, Y, X] mask of the stationary operand.
        streamed: [J, R, S, O / groups] mask of the streamed operand.
        stationary_value, streamed_value: flat values for the functional mode, else empty.
        group_of_list: convolution group of each j. list_of_channel: the j that channel c meets.
        c0, c1, o0, o1: stationary channels and output channels of the group.
        tiles: [T, 12] stationary and streamed region of each tile, and the outputs it can reach.
        axes: [2, 5]: alpha, beta, gamma, div, output size, for y and x.
        machine: the PE (:class:`gscn_sim.kernels.machine.Machine`).
        counters: out, [T, N_COUNTERS].
        entries: out, [T, 2] stationary and streamed entries, placeholders counted.
        resent: out, [T, pairing groups] entries of lists that are sent once for each stationary
            vector, as they are longer than the FIFO, but for the first time; or [0, 0].
        channel_cycles: out, [T, c1 - c0] or [0, 0] if not wanted.
        channel_entries: out with them, [c1 - c0] streamed entries that each channel meets.
        sums: [O * out_y * out_x] flat result to add to in functional mode, else empty.
    """
    vector_i, vector_f = machine.vector_i, machine.vector_f
    depth, num_banks = machine.queue_depth, machine.num_banks
    kind, run_limit, anticipate = machine.bank_hash, machine.run_limit, machine.anticipate
    classes_y = classes_of(axes[0], stationary.shape[1], streamed.shape[1])
    classes_x = classes_of(axes[1], stationary.shape[2], streamed.shape[2])
    classes = len(classes_y) * len(classes_x)
    out_y, out_x = axes[0, 4], axes[1, 4]
    j0, j1 = list_of_channel[c0], list_of_channel[c1 - 1] + 1
    n_sta, n_str = (c1 - c0) * classes, (j1 - j0) * classes

    str_of = np.empty(n_sta, np.int64)
    for c in range(c0, c1):
        for cls in range(classes):
            str_of[(c - c0) * classes + cls] = (list_of_channel[c] - j0) * classes + cls
    # All tiles use the largest one's row length and accumulators, so that tiles with the same
    # streamed region (all of them but in wgrad) share its lists.
    sta_size, str_size, height, width, most_positions = 0, 0, 1, 1, 0
    for t in range(len(tiles)):
        region = tiles[t]
        sta_size = max(sta_size, (region[1] - region[0]) * (region[3] - region[2]))
        str_size = max(str_size, (region[5] - region[4]) * (region[7] - region[6]))
        a, b = term_range_stationary(axes, region[:4]), term_range_streamed(axes, region[4:8])
        height = max(height, a[1] - a[0] + b[1] - b[0] + 1)
        width = max(width, a[3] - a[2] + b[3] - b[2] + 1)
        rect_size = max(0, region[9] - region[8]) * max(0, region[11] - region[10])
        most_positions = max(most_positions, rect_size)
    absent = height * width
    sta_size *= c1 - c0
    str_size *= (j1 - j0) * min(o1 - o0, streamed.shape[3])
    sta_ptr, sta_real = np.empty(n_sta + 1, np.int64), np.empty(n_sta, np.int64)
    str_ptr, str_real = np.empty(n_str + 1, np.int64), np.empty(n_str, np.int64)
    sta_idx, sta_source = np.empty(sta_size, np.int32), np.empty(sta_size, np.int64)
    str_idx, str_offset = np.empty(str_size, np.int32), np.empty(str_size, np.int32)
    str_source = np.empty(str_size, np.int64)
    sta = StationaryLists(sta_ptr, sta_idx, sta_real)
    lists = StreamedLists(str_ptr, str_idx, str_offset, str_real, str_of)
    group_cycles = np.empty(n_sta, np.int64)
    rect, window = np.empty(4, np.int64), np.empty(4, np.int64)
    visited = np.empty(n_sta, np.bool_)
    str_count = 0
    unqueued = depth == 0 and vector_i * vector_f <= COUNTED_PAIRS and num_banks <= COUNTED_BANKS
    crowded = False  # products met on banks in the last tile, so they will in the next
    for t in range(len(tiles)):
        sta_region, str_region = tiles[t, :4], tiles[t, 4:8]
        a = term_range_stationary(axes, sta_region)
        b = term_range_streamed(axes, str_region)
        origin_y, origin_x = a[0] + b[0], a[2] + b[2]
        rect[:] = tiles[t, 8:]
        position_of, bank_of = output_tables(
            kind, num_banks, o1 - o0, most_positions, o0, origin_y, origin_x, height, width, rect
        )
        entries[t, 0] = stationary_lists(
            stationary, c0, c1, sta_region, axes, classes_y, classes_x, a[0], a[2], width,
            run_limit, absent, sta_ptr, sta_real, sta_idx, sta_source,
        )  # fmt: skip
        if t == 0 or not np.array_equal(str_region, tiles[t - 1, 4:8]):
            str_count = streamed_lists(
                streamed, j0, j1, group_of_list, o0, o1, str_region, axes, classes_y, classes_x,
                b[0], b[2], width, most_positions, run_limit, absent, str_ptr, str_real, str_idx,
                str_offset, str_source,
            )  # fmt: skip
        entries[t, 1] = str_count
        window[0], window[1] = rect[0] - origin_y, rect[1] - origin_y
        window[2], window[3] = rect[2] - origin_x, rect[3] - origin_x
        group_cycles[:] = 0
        for g in range(n_sta if len(resent) else 0):
            length = str_ptr[str_of[g] + 1] - str_ptr[str_of[g]]
            vectors = (sta_ptr[g + 1] - sta_ptr[g] + vector_i - 1) // vector_i
            if length > machine.fifo_entries:
                resent[t, g] = max(vectors - 1, 0) * length
        if len(sums):
            local = np.zeros((o1 - o0) * most_positions, sums.dtype)
            accumulate(
                sta, gather(stationary_value, sta_source, entries[t, 0]),
                lists, gather(streamed_value, str_source, entries[t, 1]),
                position_of, machine, width, absent, window, local,
            )  # fmt: skip
            reduce_into(sums, local, most_positions, o0, o1 - o0, rect, out_y, out_x)
        elif machine.counted:
            _visited_groups(axes, classes_y, classes_x, str_region, visited)
            count_pairs(sta, lists, visited, machine, group_cycles, counters[t])
        elif not machine.is_ideal:
            _visited_groups(axes, classes_y, classes_x, str_region, visited)
            pair_buildable(
                sta, lists, visited, position_of, bank_of, machine, group_cycles, counters[t],
                width, absent, window,
            )  # fmt: skip
        elif anticipate:
            pair_anticipated(
                sta, lists, position_of, bank_of, machine, group_cycles, counters[t], width,
                absent, window,
            )  # fmt: skip
        elif unqueued and crowded:
            pair_unqueued(
                sta, lists, position_of, bank_of, machine, group_cycles, counters[t]
            )  # fmt: skip
        else:
            pair_all(sta, lists, position_of, bank_of, machine, group_cycles, counters[t])
        crowded = counters[t, CYCLES] > counters[t, STEPS]
        if len(channel_cycles):
            for g in range(n_sta):
                channel_cycles[t, g // classes] += group_cycles[g]
    if len(channel_cycles):
        channel_entries[:] = 0
        for g in range(n_sta):
            channel_entries[g // classes] += str_ptr[str_of[g] + 1] - str_ptr[str_of[g]]


@njit(cache=True, nogil=True)
def _visited_groups(axes, classes_y, classes_x, region, visited):
    """Whether the class of each pairing group has coordinates of the streamed region.

    The layer's shape says so, so that groups of other classes need not even be looked at.
    """
    meets = np.zeros((len(classes_y), len(classes_x)), np.bool_)
    for r in range(region[0], region[1]):
        cy = streamed_term(axes[0, 2], axes[0, 3], r)[1]
        for s in range(region[2], region[3]):
            cx = streamed_term(axes[1, 2], axes[1, 3], s)[1]
            for y in range(len(classes_y)):
                for x in range(len(classes_x)):
                    if classes_y[y] == cy and classes_x[x] == cx:
                        meets[y, x] = True
    flat = meets.reshape(-1)
    for g in range(len(visited)):
        visited[g] = flat[g % len(flat)]


@njit(cache=True, nogil=True)
def gather(values, source, count):
    """Values of list entries, 0 for placeholders."""
    out = np.zeros(count, values.dtype)
    for i in range(count):
        if source[i] >= 0:
            out[i] = values[source[i]]
    return out


@njit(cache=True, nogil=True)
def reduce_into(sums, local, stride, first, outputs, rect, out_y, out_x):
    """Add a tile's accumulators to the whole result: what halo exchange and reduction do."""
    for o in range(outputs):
        i = o * stride
        for y in range(rect[0], rect[1]):
            for x in range(rect[2], rect[3]):
                sums[((first + o) * out_y + y) * out_x + x] += local[i]
                i += 1
