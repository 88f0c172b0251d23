"""One request on channels whose controllers reorder what waits: banks, pins, write buffer, queue.

A *run* is the consecutive bursts that a request has in one row. Runs are placed one by one, in the
order in which they were asked for, and a run once placed stays where it is. But it need not come
after the ones before it: its row is opened in the first slot between other rows' openings, and its
bursts take the first places on the pins that are free and that its bank can meet. That is what a
queue that serves the first ready burst does, as far back as the queue reaches.

Times are absolute, in whole units of the caller's choice, on a clock that stands still while a
channel refreshes itself (:func:`running` and :func:`passed` convert). ``timing`` holds the
constants in the order of :data:`TIMING`; :class:`Channels` is the state, which :func:`serve` and
:func:`flush` update.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gscn_sim.kernels.compiled import njit

TIMING = (
    "burst",  # one burst on the pins
    "row_bursts",  # bursts in a row
    "granule_bursts",  # consecutive bursts in a channel
    "groups",  # bank groups between which consecutive bursts of a channel alternate
    "read_column",  # CL
    "write_column",  # CWL
    "read_activate",  # tRCD
    "write_activate",  # tRCD of writes
    "precharge",  # tRP
    "active",  # tRAS
    "activate_interval",  # between rows opened in a channel
    "read_to_precharge",  # tRTP
    "write_recovery",  # tWR
    "write_to_read",  # tWTR
    "read_to_write",  # bus turn
    "write_batch",  # bursts in the write buffer at which it is emptied
    "refresh_interval",  # tREFI
    "refresh_gap",  # without data at the end of each interval
)
(
    _BURST, _ROW, _GRANULE, _GROUPS, _CL, _CWL, _RCD_READ, _RCD_WRITE, _RP, _RAS, _INTERVAL,
    _RTP, _WR, _WTR, _RTW, _BATCH, _REFI, _REFRESH,
) = range(len(TIMING))  # fmt: skip

FREE, WRITING, WRITTEN, PENDING, BUFFERED, GAPS = range(6)  # columns of Channels.lanes
ROW, OPENED, CLOSABLE, ISSUED = range(4)  # columns of Channels.banks, the last goes on
FOREIGN = -1  # the row of another use of the memory
GAPS_KEPT = ACTIVATES_KEPT = 16  # what a channel remembers of its schedule
_LONG_AGO = -(1 << 60)


Ints = np.ndarray[Any, np.dtype[np.int64]]


class Channels(NamedTuple):
    """State of the channels, one row each.

    ``lanes``: FREE (pins busy until), WRITING, WRITTEN (when the write buffer was last empty),
    PENDING (bursts in it), BUFFERED (runs in it), GAPS (free places on the pins before FREE).
    ``gaps``: begin and end of each. ``activates``: when rows were opened last, in order.
    ``places``: when a place of the queue falls free, in order. ``banks``: ROW (open or to be),
    OPENED (since when), CLOSABLE (from when on), and from ISSUED on the last commands, in order,
    as many as the bank's own queue has places. ``buffer``: first burst and number of each write.
    """

    lanes: Ints
    gaps: Ints
    activates: Ints
    places: Ints
    banks: Ints
    buffer: Ints


def idle_channels(count: int, banks: int, queue: int, bank_queue: int, batch: int) -> Channels:
    """Channels at rest; what was open before is some row of another use of the memory."""
    state = np.full((count, banks, ISSUED + bank_queue), _LONG_AGO, np.int64)
    state[:, :, ROW] = FOREIGN
    return Channels(
        lanes=np.zeros((count, 6), np.int64),
        gaps=np.zeros((count, GAPS_KEPT, 2), np.int64),
        activates=np.full((count, ACTIVATES_KEPT), _LONG_AGO, np.int64),
        places=np.full((count, queue), _LONG_AGO, np.int64),
        banks=state,
        buffer=np.zeros((count, batch, 2), np.int64),
    )


@njit(cache=True, nogil=True)
def running(timing, time):
    """A time on the clock that stands still during refreshes."""
    interval = timing[_REFI]
    whole = interval - timing[_REFRESH]
    return time // interval * whole + min(time % interval, whole)


@njit(cache=True, nogil=True)
def passed(timing, time):
    """The earliest time at which that clock shows this."""
    interval = timing[_REFI]
    whole = interval - timing[_REFRESH]
    if time <= 0:
        return time
    return (time - 1) // whole * interval + (time - 1) % whole + 1


@njit(cache=True, nogil=True)
def serve(timing, state, arrival, first, bursts, write):
    """Reserve bursts ``first`` to ``first + bursts`` of the memory for a request that arrives.

    Granule g lies in channel g modulo their number. A read is placed at once. A write is done when
    it is in the channel's write buffer, which is emptied when full. Returns when the first burst
    starts and when the last one ends, rows opened and how often pins turned.
    """
    count = state.lanes.shape[0]
    granule = timing[_GRANULE]
    stripe = granule * count
    now = running(timing, arrival)
    number = first // granule
    touched = min(count, (first + bursts - 1) // granule - number + 1)
    begin, end, misses, turns = 2**62, now, 0, 0
    for index in range(number, number + touched):
        lane = index % count
        start = _in_lane(first, lane, granule, stripe)
        stop = _in_lane(first + bursts, lane, granule, stripe)
        if write:
            done, opened, turned = _write(timing, state, lane, start, stop - start, now)
            lane_begin = now
        else:
            turned = _turn(timing, state, lane, 0)
            lane_begin, done, opened = _runs(timing, state, lane, start, stop, now, 0)
        begin = min(begin, lane_begin)
        end = max(end, done)
        misses += opened
        turns += turned
    return passed(timing, begin + 1) - 1, passed(timing, end), misses, turns


@njit(cache=True, nogil=True)
def flush(timing, state, arrival):
    """Empty all write buffers; when the last burst has moved, rows opened, turns."""
    now = running(timing, arrival)
    end, misses, turns = 0, 0, 0
    for lane in range(state.lanes.shape[0]):
        if state.lanes[lane, PENDING]:
            opened, turned = _empty(timing, state, lane, now)
            misses += opened
            turns += turned
        end = max(end, state.lanes[lane, FREE])
    return passed(timing, end), misses, turns


@njit(cache=True, nogil=True)
def pins_free(timing, state):
    """[channels] the time from which on their pins are not booked."""
    free = np.empty(state.lanes.shape[0], np.int64)
    for lane in range(len(free)):
        free[lane] = passed(timing, state.lanes[lane, FREE])
    return free


@njit(cache=True, nogil=True)
def _in_lane(position, lane, granule, stripe):
    """Bursts of one channel before burst ``position`` of the whole."""
    rest = position % stripe - lane * granule
    return position // stripe * granule + min(max(rest, 0), granule)


@njit(cache=True, nogil=True)
def _turn(timing, state, lane, write):
    """Turn the pins if they move the other way; a gap must have room to turn there and back."""
    lanes, gaps = state.lanes[lane], state.gaps[lane]
    if lanes[WRITING] == write:
        return 0
    lanes[WRITING] = write
    to_read, to_write = timing[_WTR] + timing[_CL], timing[_RTW]
    before, after = (to_write, to_read) if write else (to_read, to_write)
    kept = 0
    for k in range(lanes[GAPS]):
        begin, end = gaps[k, 0] + before, gaps[k, 1] - after
        if end - begin >= timing[_BURST]:
            gaps[kept, 0], gaps[kept, 1] = begin, end
            kept += 1
    lanes[GAPS] = kept
    lanes[FREE] += before
    return 1


@njit(cache=True, nogil=True)
def _write(timing, state, lane, start, bursts, now):
    """Put a write into the buffer; if that fills it, empty it. When it is done, rows, turns."""
    lanes = state.lanes
    runs = lanes[lane, BUFFERED]
    state.buffer[lane, runs, 0] = start
    state.buffer[lane, runs, 1] = bursts
    lanes[lane, BUFFERED] = runs + 1
    lanes[lane, PENDING] += bursts
    if lanes[lane, PENDING] < timing[_BATCH]:
        return max(now, lanes[lane, WRITTEN]), 0, 0
    misses, turns = _empty(timing, state, lane, now)
    return lanes[lane, WRITTEN], misses, turns


@njit(cache=True, nogil=True)
def _empty(timing, state, lane, now):
    """Write what waits in a channel's buffer."""
    lanes = state.lanes
    turns = _turn(timing, state, lane, 1)
    misses = 0
    for run in range(lanes[lane, BUFFERED]):
        start = state.buffer[lane, run, 0]
        stop = start + state.buffer[lane, run, 1]
        _, end, opened = _runs(timing, state, lane, start, stop, now, 1)
        misses += opened
        lanes[lane, WRITTEN] = max(lanes[lane, WRITTEN], end)
    lanes[lane, BUFFERED] = 0
    lanes[lane, PENDING] = 0
    return misses, turns


@njit(cache=True, nogil=True)
def _runs(timing, state, lane, start, stop, now, write):
    """Place bursts ``start`` to ``stop`` of a channel, row after row: begin, end, rows opened."""
    groups = timing[_GROUPS]
    row_bursts = timing[_ROW] * groups
    sets = state.banks.shape[1] // groups
    begin, end, misses = -1, 0, 0
    places = state.places[lane]
    depth = state.banks.shape[2] - ISSUED
    while start < stop:
        row = start // row_bursts
        bursts = min(stop, (row + 1) * row_bursts) - start
        spread = min(bursts, groups)
        entry = max(now, places[0])
        queued, last = entry, entry
        for j in range(spread):  # the bursts of each bank
            bank = row % sets * groups + (start + j) % groups
            queued = max(queued, state.banks[lane, bank, ISSUED])
            share = (bursts - j + spread - 1) // spread
            run_begin, run_end, issued, opened = _place(
                timing, state, lane, bank, row // sets, share, entry, write
            )
            begin = run_begin if begin < 0 else min(begin, run_begin)
            end = max(end, run_end)
            last = max(last, issued)
            misses += opened
        at_once = min(bursts, depth * spread)
        _remember(places, at_once, queued, 0, queued)
        last -= at_once * timing[_BURST]
        _remember(places, bursts - at_once, last, timing[_BURST], queued)
        start += bursts
    return begin, end, misses


@njit(cache=True, nogil=True)
def _place(timing, state, lane, bank, row, bursts, entry, write):
    """Place one run: begin and end of its data, its last command, 1 if its row had to be opened."""
    burst = timing[_BURST]
    column = timing[_CWL] if write else timing[_CL]
    activate = timing[_RCD_WRITE] if write else timing[_RCD_READ]
    state_of = state.banks[lane, bank]
    ready = max(entry, state_of[ISSUED])
    miss = 0
    if state_of[ROW] != row:
        miss = 1
        ready = max(ready, state_of[CLOSABLE]) + timing[_RP]
        opened = _open(state.activates[lane], ready, timing[_INTERVAL])
        state_of[ROW] = row
        state_of[OPENED] = opened
        state_of[CLOSABLE] = opened + timing[_RAS]
    data = max(ready, state_of[OPENED] + activate) + column
    begin, end = _move(state.lanes[lane], state.gaps[lane], data, bursts, burst, entry)
    last = end - burst - column
    recovered = end + timing[_WR] if write else last + timing[_RTP]
    state_of[CLOSABLE] = max(state_of[CLOSABLE], recovered)
    _remember(state_of[ISSUED:], bursts, last, burst, begin - column)
    return begin, end, last, miss


@njit(cache=True, nogil=True)
def _open(activates, time, interval):
    """Take the first slot from ``time`` on that keeps an interval to all rows opened."""
    size = activates.shape[0]
    slot = max(time, activates[0])
    at = 0
    while at < size and (activates[at] <= slot or activates[at] < slot + interval):
        slot = max(slot, activates[at] + interval)
        at += 1
    for k in range(1, at):
        activates[k - 1] = activates[k]
    activates[at - 1] = slot
    return slot


@njit(cache=True, nogil=True)
def _move(lane, gaps, data, bursts, burst, entry):
    """Take the first free places on the pins from ``data`` on; begin and end of what moves."""
    kept = 0
    for k in range(lane[GAPS]):  # nothing that comes now or later can use a place before its entry
        if gaps[k, 1] - burst >= entry:
            gaps[kept, 0], gaps[kept, 1] = gaps[k, 0], gaps[k, 1]
            kept += 1
    lane[GAPS] = kept
    begin, end, left = -1, 0, bursts
    k = 0
    while left and k < lane[GAPS]:
        gap_begin, gap_end = gaps[k, 0], gaps[k, 1]
        at = max(gap_begin, data)
        if gap_end - at < burst:
            k += 1
            continue
        fit = min(left, (gap_end - at) // burst)
        left -= fit
        begin = at if begin < 0 else begin
        end = at + fit * burst
        before, behind = at - gap_begin >= burst, gap_end - end >= burst
        if before:
            gaps[k, 1] = at
            k += 1
            if behind and lane[GAPS] < gaps.shape[0]:
                _insert(lane, gaps, k, end, gap_end)
        elif behind:
            gaps[k, 0] = end
        else:
            _delete(lane, gaps, k)
    if left:
        at = max(lane[FREE], data)
        begin = at if begin < 0 else begin
        end = at + left * burst
        if at - lane[FREE] >= burst:
            if lane[GAPS] == gaps.shape[0]:
                _delete(lane, gaps, 0)
            _insert(lane, gaps, lane[GAPS], lane[FREE], at)
        lane[FREE] = end
    return begin, end


@njit(cache=True, nogil=True)
def _insert(lane, gaps, at, begin, end):
    for k in range(lane[GAPS], at, -1):
        gaps[k, 0], gaps[k, 1] = gaps[k - 1, 0], gaps[k - 1, 1]
    gaps[at, 0], gaps[at, 1] = begin, end
    lane[GAPS] += 1


@njit(cache=True, nogil=True)
def _delete(lane, gaps, at):
    lane[GAPS] -= 1
    for k in range(at, lane[GAPS]):
        gaps[k, 0], gaps[k, 1] = gaps[k + 1, 0], gaps[k + 1, 1]


@njit(cache=True, nogil=True)
def _remember(times, count, last, step, least):
    """Put ``count`` times, ``step`` apart up to ``last``, among the latest, which are in order."""
    size = times.shape[0]
    new = min(count, size)
    if new <= 0:
        return
    first = max(least, last - (new - 1) * step)
    if first >= times[size - 1]:  # all of them are later: the usual case
        for k in range(size - new):
            times[k] = times[k + new]
        for k in range(new):
            times[size - 1 - k] = max(least, last - k * step)
        return
    old = 0  # entries of either list that were taken or fell out
    taken = 0
    time = first
    for at in range(-new, size):
        if taken == new:
            if at >= 0:
                return  # the rest is in its place
            old += 1
        elif old < size and times[old] <= time:
            if at >= 0:
                times[at] = times[old]
            old += 1
        else:
            if at >= 0:
                times[at] = time
            taken += 1
            time = max(least, last - (new - 1 - taken) * step)


@njit(cache=True, nogil=True)
def serve_all(timing, state, first, bursts, write):
    """Serve requests that all arrive at time 0, ``bursts`` each; when the last burst has moved."""
    end = 0
    for index in range(first.shape[0]):
        _, done, _, _ = serve(timing, state, 0, first[index], bursts, write[index])
        end = max(end, done)
    done, _, _ = flush(timing, state, 0)
    return max(end, done)
