"""The multiplier array, crossbar and bank queues of one PE, product by product.

Operands come as lists of entries cut into *pairing groups*; every stationary entry of a group meets
every streamed entry of the group. An entry is an int: where its products land is the sum of the two
entries, looked up in ``position_of`` (output position, or -1 outside the output), then in
``bank_of`` at ``streamed channel offset + position``. A placeholder is an entry that is -1 in
``position_of`` whatever it is added to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gscn_sim.kernels.compiled import njit


class StationaryLists(NamedTuple):
    """The stationary lists of pairing groups: bounds, entries, non-placeholders of each list."""

    ptr: NDArray[np.int64]
    idx: NDArray[np.int32]
    real: NDArray[np.int64]


class StreamedLists(NamedTuple):
    """Streamed lists: bounds, entries with the offsets of their channels, non-placeholders of each.

    ``of``: the list of each pairing group.
    """

    ptr: NDArray[np.int64]
    idx: NDArray[np.int32]
    offset: NDArray[np.int32]
    real: NDArray[np.int64]
    of: NDArray[np.int64]


CYCLES, STEPS, USEFUL, PAIRS, REAL_PAIRS, WAIT_CYCLES = range(6)
"""Of these ``WAIT_CYCLES``: cycles without a step because the operands' lists were not ready."""
N_COUNTERS = 6


@njit(cache=True, nogil=True, inline="always")
def issue(sta_idx, a, a_end, str_idx, str_offset, b, b_end, position_of, bank_of, free, now):
    """Send one step's products to their banks; return (useful products, last bank's idle cycle)."""
    # Indices are unsigned: the compiler then leaves out the check for negative ones.
    useful = np.int64(0)
    latest = np.int64(0)
    i = a
    while i < a_end:
        base = sta_idx[i]
        j = b
        while j < b_end:
            position = position_of[np.uint32(base + str_idx[j])]
            if position >= 0:
                bank = bank_of[np.uint32(str_offset[j] + position)]
                idle = max(free[bank], now) + 1
                free[bank] = idle
                latest = max(latest, idle)
                useful += 1
            j += np.uint64(1)
        i += np.uint64(1)
    return useful, latest


@njit(cache=True, nogil=True)
def same_list(one, other, length):
    """Whether two lists begin with the same entries."""
    i = 0
    while i < length and one[i] == other[i]:
        i += 1
    return i == length


@njit(cache=True, nogil=True)
def same_queues(free, now, before):
    """Whether products wait at the banks as they did before."""
    bank = 0
    while bank < len(free) and max(free[bank] - now, 0) == before[bank]:
        bank += 1
    return bank == len(free)


@njit(cache=True, nogil=True)
def vector_ranges(idx, start, stop, length, width, absent, ranges):
    """Bounding box and non-placeholders of each vector of a list.

    ``ranges`` [vectors, 5], out: y low, y high, x low, x high, non-placeholders.
    """
    v = 0
    for first in range(start, stop, length):
        y_low, x_low = np.int64(1 << 60), np.int64(1 << 60)
        y_high, x_high = -y_low, -x_low
        real = 0
        for i in range(first, min(first + length, stop)):
            if idx[i] != absent:
                y, x = idx[i] // width, idx[i] % width
                y_low, y_high = min(y_low, y), max(y_high, y)
                x_low, x_high = min(x_low, x), max(x_high, x)
                real += 1
        ranges[v, 0], ranges[v, 1], ranges[v, 2], ranges[v, 3] = y_low, y_high, x_low, x_high
        ranges[v, 4] = real
        v += 1
    return v


@njit(cache=True, nogil=True, inline="always")
def may_meet(a, b, window):
    """Whether two vectors' bounding boxes allow a product inside the output window."""
    return (
        a[4] > 0
        and b[4] > 0
        and a[1] + b[1] >= window[0]
        and a[0] + b[0] < window[1]
        and a[3] + b[3] >= window[2]
        and a[2] + b[2] < window[3]
    )


@njit(cache=True, nogil=True)
def pair_all(stationary, streamed, position_of, bank_of, machine, group_cycles, counters):
    """All pairs of every pairing group, in order: the Cartesian product.

    Timing: a step issues its pairs in one cycle; a bank retires one product a cycle; products of a
    step beyond ``queue_depth`` waiting at their bank hold the array. With a depth of 0 a step costs
    max(1, most products on one bank). The call ends when every queue is empty.

    A pairing group that equals the one before it and starts from the same queue state must cost the
    same, so it is not walked again: the result is exact.

    Args:
        stationary, streamed: :class:`StationaryLists`, :class:`StreamedLists`.
        position_of, bank_of: of :func:`gscn_sim.kernels.banks.output_tables`.
        machine: the PE (:class:`gscn_sim.kernels.machine.Machine`).
        group_cycles: out, added to: cycles of each pairing group.
        counters: out, added to: CYCLES, STEPS, USEFUL, PAIRS, REAL_PAIRS.
    """
    sta_ptr, sta_idx, sta_real = stationary
    str_ptr, str_idx, str_offset, str_real, str_of = streamed
    num_banks, queue_depth = machine.num_banks, machine.queue_depth
    free = np.zeros(num_banks, np.int64)
    before = np.zeros(num_banks, np.int64)
    step_i, step_f = np.uint64(machine.vector_i), np.uint64(machine.vector_f)
    now = np.int64(0)
    last = -1  # the group walked last, with its cost; ``before`` is the queue state it met
    last_cycles = 0
    last_useful = 0
    last_steps = 0
    for g in range(len(str_of)):
        a0, a1 = sta_ptr[g], sta_ptr[g + 1]
        s = str_of[g]
        b0, b1 = str_ptr[s], str_ptr[s + 1]
        if a1 == a0 or b1 == b0:
            continue
        counters[PAIRS] += (a1 - a0) * (b1 - b0)
        counters[REAL_PAIRS] += sta_real[g] * str_real[s]
        same = (
            last >= 0
            and str_of[last] == s
            and sta_ptr[last + 1] - sta_ptr[last] == a1 - a0
            and same_list(sta_idx[sta_ptr[last] :], sta_idx[a0:], a1 - a0)
            and same_queues(free, now, before)
        )
        start = now
        if same:
            now += last_cycles
            free += last_cycles
        else:
            for bank in range(num_banks):
                before[bank] = max(free[bank] - now, 0)
            last = g
            last_useful = 0
            last_steps = 0
            a_stop, b_stop = np.uint64(a1), np.uint64(b1)
            a = np.uint64(a0)
            while a < a_stop:  # a range would divide to know its length
                a_end = min(a + step_i, a_stop)
                b = np.uint64(b0)
                while b < b_stop:
                    b_end = min(b + step_f, b_stop)
                    useful, latest = issue(
                        sta_idx, a, a_end, str_idx, str_offset, b, b_end, position_of, bank_of,
                        free, now,
                    )  # fmt: skip
                    last_useful += useful
                    last_steps += 1
                    now = max(now + 1, latest - queue_depth)
                    b = b_end
                a = a_end
            last_cycles = now - start
        counters[USEFUL] += last_useful
        counters[STEPS] += last_steps
        group_cycles[g] += now - start
    _finish(free, now, group_cycles, counters)


COUNTED_PAIRS, COUNTED_BANKS = 31, 64  # of a step, what the words of unqueued_steps hold


@njit(cache=True, nogil=True)
def unqueued_steps(
    sta_idx, a_start, a_stop, vector_i, str_idx, str_offset, b_start, b_stop, vector_f,
    position_of, bank_of,
):  # fmt: skip
    """All steps of a pairing group at banks without queues.

    Bounds and vectors are unsigned. Returns useful products, steps and cycles.

    The products of a step on each bank are counted in registers, bit k of all counts in one word.
    Where products meet on banks this is faster than counts in memory, whose reads and writes the
    processor cannot tell apart in time; where they do not meet it is slower.
    """
    useful = steps = cycles = np.int64(0)
    a = a_start
    while a < a_stop:
        a_end = min(a + vector_i, a_stop)
        b = b_start
        while b < b_stop:
            b_end = min(b + vector_f, b_stop)
            ones = twos = fours = eights = sixteens = np.uint64(0)
            i = a
            while i < a_end:
                base = sta_idx[i]
                j = b
                while j < b_end:
                    position = position_of[np.uint32(base + str_idx[j])]
                    if position >= 0:
                        bank = bank_of[np.uint32(str_offset[j] + position)]
                        carry = np.uint64(1) << np.uint64(bank)
                        ones, carry = ones ^ carry, ones & carry
                        twos, carry = twos ^ carry, twos & carry
                        fours, carry = fours ^ carry, fours & carry
                        eights, carry = eights ^ carry, eights & carry
                        sixteens ^= carry
                        useful += 1
                    j += np.uint64(1)
                i += np.uint64(1)
            most = np.int64(0)
            fullest = ~np.uint64(0)  # banks that have as many products as any
            for weight, bits in ((16, sixteens), (8, eights), (4, fours), (2, twos), (1, ones)):
                if fullest & bits:
                    fullest &= bits
                    most += weight
            steps += 1
            cycles += max(most, 1)
            b = b_end
        a = a_end
    return useful, steps, cycles


@njit(cache=True, nogil=True)
def pair_unqueued(stationary, streamed, position_of, bank_of, machine, group_cycles, counters):
    """As :func:`pair_all` with a ``queue_depth`` of 0, faster where products meet on banks.

    A step takes at most ``COUNTED_PAIRS`` pairs, and there are at most ``COUNTED_BANKS`` banks.
    """
    sta_ptr, sta_idx, sta_real = stationary
    str_ptr, str_idx, str_offset, str_real, str_of = streamed
    vector_i, vector_f = np.uint64(machine.vector_i), np.uint64(machine.vector_f)
    for g in range(len(str_of)):
        a0, a1 = sta_ptr[g], sta_ptr[g + 1]
        s = str_of[g]
        b0, b1 = str_ptr[s], str_ptr[s + 1]
        useful, steps, cycles = unqueued_steps(
            sta_idx, np.uint64(a0), np.uint64(a1), vector_i, str_idx, str_offset,
            np.uint64(b0), np.uint64(b1), vector_f, position_of, bank_of,
        )  # fmt: skip
        counters[PAIRS] += (a1 - a0) * (b1 - b0)
        counters[REAL_PAIRS] += sta_real[g] * str_real[s]
        counters[USEFUL] += useful
        counters[STEPS] += steps
        counters[CYCLES] += cycles
        group_cycles[g] += cycles


@njit(cache=True, nogil=True)
def pair_anticipated(
    stationary, streamed, position_of, bank_of, machine, group_cycles, counters, width, absent,
    window,
):  # fmt: skip
    """As :func:`pair_all`, but steps whose index ranges cannot meet the output are skipped.

    Args:
        width: width of the relative positions, to split an entry into y and x.
        window: y0, y1, x0, x1 of the output in relative positions.

    The array waits when fewer steps remain than it takes to compare the ranges.
    """
    sta_ptr, sta_idx, _ = stationary
    str_ptr, str_idx, str_offset, _, str_of = streamed
    vector_i, vector_f = machine.vector_i, machine.vector_f
    queue_depth, scan_vectors = machine.queue_depth, machine.scan_vectors
    free = np.zeros(machine.num_banks, np.int64)
    now = 0
    ranges = np.empty((len(str_idx) // vector_f + len(str_ptr), 5), np.int64)
    own = np.empty((1, 5), np.int64)
    ranges_of = -1
    vectors = 0
    for g in range(len(str_of)):
        a0, a1 = sta_ptr[g], sta_ptr[g + 1]
        s = str_of[g]
        b0, b1 = str_ptr[s], str_ptr[s + 1]
        if a1 == a0 or b1 == b0:
            continue
        if ranges_of != s:
            vectors = vector_ranges(str_idx, b0, b1, vector_f, width, absent, ranges)
            ranges_of = s
        start = now
        for a in range(a0, a1, vector_i):
            a_end = min(a + vector_i, a1)
            vector_ranges(sta_idx, a, a_end, vector_i, width, absent, own)
            vector_start = now
            if own[0, 4] > 0:
                for v in range(vectors):
                    if not may_meet(own[0], ranges[v], window):
                        continue
                    b = b0 + v * vector_f
                    b_end = min(b + vector_f, b1)
                    useful, latest = issue(
                        sta_idx, np.uint64(a), np.uint64(a_end), str_idx, str_offset,
                        np.uint64(b), np.uint64(b_end), position_of, bank_of, free, now,
                    )  # fmt: skip
                    counters[USEFUL] += useful
                    counters[STEPS] += 1
                    counters[PAIRS] += (a_end - a) * (b_end - b)
                    counters[REAL_PAIRS] += own[0, 4] * ranges[v, 4]
                    now = max(now + 1, latest - queue_depth)
            scanned = vector_start + (vectors + scan_vectors - 1) // scan_vectors
            if scanned > now:
                counters[WAIT_CYCLES] += scanned - now
                now = scanned
        group_cycles[g] += now - start
    _finish(free, now, group_cycles, counters)


@njit(cache=True, nogil=True)
def _finish(free, now, group_cycles, counters):
    """Wait for the queues to empty; the last pairing group pays."""
    tail = 0
    for bank in range(len(free)):
        tail = max(tail, free[bank] - now)
    if len(group_cycles):
        group_cycles[len(group_cycles) - 1] += tail
    counters[CYCLES] += now + tail


@njit(cache=True, nogil=True)
def accumulate(
    stationary, sta_value, streamed, str_value, position_of, machine, width, absent, window, sums
):
    """The products of the same steps, with values, added into ``sums`` [outputs * positions]."""
    sta_ptr, sta_idx, _ = stationary
    str_ptr, str_idx, str_offset, _, str_of = streamed
    vector_i, vector_f, anticipate = machine.vector_i, machine.vector_f, machine.anticipate
    own = np.empty((1, 5), np.int64)
    other = np.empty((1, 5), np.int64)
    for g in range(len(str_of)):
        s = str_of[g]
        for a in range(sta_ptr[g], sta_ptr[g + 1], vector_i):
            a_end = min(a + vector_i, sta_ptr[g + 1])
            vector_ranges(sta_idx, a, a_end, vector_i, width, absent, own)
            for b in range(str_ptr[s], str_ptr[s + 1], vector_f):
                b_end = min(b + vector_f, str_ptr[s + 1])
                if anticipate:
                    vector_ranges(str_idx, b, b_end, vector_f, width, absent, other)
                    if not may_meet(own[0], other[0], window):
                        continue
                for i in range(a, a_end):
                    for j in range(b, b_end):
                        position = position_of[sta_idx[i] + str_idx[j]]
                        if position >= 0:
                            sums[str_offset[j] + position] += sta_value[i] * str_value[j]
