"""Pairing groups on a PE that can be built: what :mod:`gscn_sim.kernels.pairing` does, slower.

Groups without pairs are passed over a few a cycle, the next group begins some cycles after the one
before, banks have few write ports (:mod:`gscn_sim.kernels.queues`). A group that equals the one
before it and meets the same queues costs the same, as there. The queues are then as they were when
that one had ended, so only ``skipped`` cycles are counted and time goes back to that end.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.compiled import njit
from gscn_sim.kernels.pairing import (
    CYCLES,
    PAIRS,
    REAL_PAIRS,
    STEPS,
    USEFUL,
    WAIT_CYCLES,
    may_meet,
    same_list,
    vector_ranges,
)
from gscn_sim.kernels.queues import (
    LONG_AGO,
    as_remembered,
    end_step,
    places_of,
    remember,
    tail_of,
    take_product,
)


@njit(cache=True, nogil=True)
def look_past(empty, visits):
    """Cycles that one more group without pairs takes, after ``empty`` others in a row."""
    return np.int64(visits > 0 and empty % visits == 0)


@njit(cache=True, nogil=True)
def pair_buildable(
    stationary, streamed, visited, position_of, bank_of, machine, group_cycles, counters, width,
    absent, window,
):  # fmt: skip
    """As :func:`pair_all` and :func:`pair_anticipated`, on the PE that ``machine`` says.

    Args:
        visited: of each group: whether its class has streamed coordinates, so that it is looked at.
        width, absent, window: as in :func:`pair_anticipated`.
    """
    sta_ptr, sta_idx, sta_real = stationary
    str_ptr, str_idx, str_offset, str_real, str_of = streamed
    vector_i, vector_f = machine.vector_i, machine.vector_f
    depth, num_banks = machine.queue_depth, machine.num_banks
    anticipate, scan_vectors = machine.anticipate, machine.scan_vectors
    ports, stages = machine.ports, machine.adder_stages
    visits, bubble = machine.visits, machine.group_bubble
    banks = np.zeros((3, num_banks), np.int64)
    recent = np.full((2, num_banks, places_of(depth, stages)), LONG_AGO)
    before = np.zeros(recent.shape, np.int64)
    ready = np.zeros(len(bank_of) if stages > 1 else 1, np.int64)
    ranges = np.empty((len(str_idx) // vector_f + len(str_ptr), 5), np.int64)
    own = np.empty((1, 5), np.int64)
    ranges_of, vectors = -1, 0
    now = skipped = ended = np.int64(0)
    empty = 0
    last = -1  # the group walked last, with what it added; ``before`` are the queues it met
    last_cycles = np.int64(0)
    added = np.zeros(len(counters), np.int64)
    for g in range(len(str_of)):
        a0, a1 = sta_ptr[g], sta_ptr[g + 1]
        s = str_of[g]
        b0, b1 = str_ptr[s], str_ptr[s + 1]
        if a1 == a0 or b1 == b0:
            if visited[g]:
                waited = look_past(empty, visits)
                now += waited
                counters[WAIT_CYCLES] += waited
                group_cycles[g] += waited
                empty += 1
            continue
        empty = 0
        if last >= 0:
            now += bubble
            counters[WAIT_CYCLES] += bubble
            group_cycles[g] += bubble
            same = (
                str_of[last] == s
                and sta_ptr[last + 1] - sta_ptr[last] == a1 - a0
                and same_list(sta_idx[sta_ptr[last] :], sta_idx[a0:], a1 - a0)
                and as_remembered(banks, recent, now, stages, before)
            )
            if same:
                skipped += now - ended + last_cycles
                now = ended
                counters += added
                group_cycles[g] += last_cycles
                continue
        last = g
        remember(banks, recent, now, stages, before)
        added[:] = 0
        start = now
        if anticipate and ranges_of != s:
            vectors = vector_ranges(str_idx, b0, b1, vector_f, width, absent, ranges)
            ranges_of = s
        for a in range(a0, a1, vector_i):
            a_end = min(a + vector_i, a1)
            vector_start = now
            if anticipate:
                vector_ranges(sta_idx, a, a_end, vector_i, width, absent, own)
            v = -1
            for b in range(b0, b1, vector_f):
                b_end = min(b + vector_f, b1)
                v += 1
                if anticipate:
                    if not may_meet(own[0], ranges[v], window):
                        continue
                    added[PAIRS] += (a_end - a) * (b_end - b)
                    added[REAL_PAIRS] += own[0, 4] * ranges[v, 4]
                room, offered = now, now * ports
                for i in range(a, a_end):
                    base = sta_idx[i]
                    for j in range(b, b_end):
                        position = position_of[np.uint32(base + str_idx[j])]
                        if position >= 0:
                            output = np.uint32(str_offset[j] + position)
                            least, number = take_product(
                                bank_of[output], output, now, depth, ports, stages, banks, recent,
                                ready,
                            )  # fmt: skip
                            room, offered = max(room, least), max(offered, number)
                            added[USEFUL] += 1
                added[STEPS] += 1
                now = end_step(now, room, offered, ports)
            if anticipate:
                scanned = vector_start + (vectors + scan_vectors - 1) // scan_vectors
                if scanned > now:
                    added[WAIT_CYCLES] += scanned - now
                    now = scanned
        if not anticipate:
            added[PAIRS] = (a1 - a0) * (b1 - b0)
            added[REAL_PAIRS] = sta_real[g] * str_real[s]
        counters += added
        last_cycles = now - start
        ended = now
        group_cycles[g] += last_cycles
    tail = tail_of(banks, now, stages)
    if len(group_cycles):
        group_cycles[len(group_cycles) - 1] += tail
    counters[CYCLES] += now + skipped + tail


@njit(cache=True, nogil=True)
def count_pairs(stationary, streamed, visited, machine, group_cycles, counters):
    """As :func:`pair_buildable` where no product waits for a bank; useful ones are not counted."""
    sta_ptr, _, sta_real = stationary
    str_ptr, _, _, str_real, str_of = streamed
    vector_i, vector_f = machine.vector_i, machine.vector_f
    visits, bubble = machine.visits, machine.group_bubble
    empty = 0
    begun = False
    for g in range(len(str_of)):
        s = str_of[g]
        a, b = sta_ptr[g + 1] - sta_ptr[g], str_ptr[s + 1] - str_ptr[s]
        waited = steps = np.int64(0)
        if a == 0 or b == 0:
            if visited[g]:
                waited = look_past(empty, visits)
                empty += 1
        else:
            empty = 0
            waited += bubble * begun
            begun = True
            steps = ((a + vector_i - 1) // vector_i) * ((b + vector_f - 1) // vector_f)
            counters[PAIRS] += a * b
            counters[REAL_PAIRS] += sta_real[g] * str_real[s]
        counters[STEPS] += steps
        counters[WAIT_CYCLES] += waited
        counters[CYCLES] += steps + waited
        group_cycles[g] += steps + waited


@njit(cache=True, nogil=True)
def pair_position_buildable(
    window, count, k_idx, k_count, bank_of, machine, banks, recent, ready, now
):
    """All pairs of an output position; returns the cycle after the last step."""
    vector_i, vector_f, depth = machine.vector_i, machine.vector_f, machine.queue_depth
    ports, stages = machine.ports, machine.adder_stages
    for a in range(0, count, vector_i):
        a_end = min(a + vector_i, count)
        for f in range(0, k_count, vector_f):
            f_end = min(f + vector_f, k_count)
            room, offered = now, now * ports
            for i in range(a, a_end):
                left = window[i]
                for j in range(f, f_end):
                    right = k_idx[j]
                    if left >= 0 and right >= 0:
                        output = np.uint32(left + right)
                        least, number = take_product(
                            bank_of[output], output, now, depth, ports, stages, banks, recent, ready
                        )
                        room, offered = max(room, least), max(offered, number)
            now = end_step(now, room, offered, ports)
    return now


EMPTY, BEGUN, SINCE, LAST, ENDED, SKIPPED = range(6)
N_FRONT = 6


@njit(cache=True, nogil=True)
def pass_position(front, now, machine, counters):
    """Look at a position without pairs; returns the cycle after that."""
    waited = look_past(front[EMPTY], machine.visits)
    front[EMPTY] += 1
    front[SINCE] += waited
    counters[WAIT_CYCLES] += waited
    return now + waited


@njit(cache=True, nogil=True)
def begin_position(front, fragments, now, machine, counters):
    """Wait for a position with pairs; returns the cycle of its first step.

    ``fragments`` are those of its window, which is read while the position before is computed.
    """
    wait = machine.group_bubble if front[BEGUN] else 0
    if machine.gather_fragments > 0:
        gathered = (fragments + machine.gather_fragments - 1) // machine.gather_fragments
        wait = max(wait, gathered - front[SINCE])
    counters[WAIT_CYCLES] += wait
    return now + wait


@njit(cache=True, nogil=True)
def end_position(front, cycles):
    """Note that a position with pairs took so many cycles."""
    front[EMPTY], front[BEGUN], front[SINCE] = 0, 1, cycles


@njit(cache=True, nogil=True)
def visit_position(
    window, count, k_idx, k_count, fragments, bank_of, machine, front, banks, recent, ready, before,
    may_repeat, repeats, now, counters,
):  # fmt: skip
    """One output position of an accumulator group; returns the cycle after its last step.

    Args:
        front: of the group: ``EMPTY`` positions just passed; whether a position with pairs has
            ``BEGUN``; cycles ``SINCE`` the last one did, or since the start; cycles that it took
            (``LAST``); when the last one that was walked ``ENDED``; cycles ``SKIPPED`` since.
        may_repeat: whether the lists are those of the position before. repeats: whether the next
            position's may be these.
    """
    now = begin_position(front, fragments, now, machine, counters)
    if may_repeat and as_remembered(banks, recent, now, machine.adder_stages, before):
        front[SKIPPED] += now - front[ENDED] + front[LAST]
        now = front[ENDED]
    else:
        if repeats:
            remember(banks, recent, now, machine.adder_stages, before)
        start = now
        now = pair_position_buildable(
            window, count, k_idx, k_count, bank_of, machine, banks, recent, ready, now
        )
        front[LAST], front[ENDED] = now - start, now
    end_position(front, front[LAST])
    return now
