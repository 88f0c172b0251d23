"""One request on the memory's channels: banks with open rows, turnaround, refresh.

Times are absolute, in whole units of the caller's choice. State lives in three int64 arrays that
:func:`serve` updates: ``pins[channel]`` with the columns ``FREE`` (data pins busy until),
``OPENED`` (when the channel last opened a row), ``WRITING`` and ``PENDING`` (bursts written since
the pins last turned); ``open_row[channel, bank]`` and ``ready[channel, bank]`` (when the bank can
open another row). ``timing`` holds the constants, in the order of :data:`TIMING`.
"""

from __future__ import annotations

from gscn_sim.kernels.compiled import njit

FREE, OPENED, WRITING, PENDING = range(4)
TIMING = (
    "burst",  # one burst on the pins
    "row_bursts",  # bursts in a row
    "granule_bursts",  # consecutive bursts in a channel
    "column",  # CAS latency
    "activate",  # tRCD
    "precharge",  # tRP
    "active",  # tRAS
    "activate_interval",  # between rows opened in a channel
    "write_recovery",  # tWR
    "write_to_read",  # tWTR
    "read_to_write",  # bus turn
    "write_batch",  # bursts gathered before the pins turn to writing
    "refresh_interval",  # tREFI
    "refresh_gap",  # without data at the end of each interval
)


@njit(cache=True, nogil=True)
def serve(timing, pins, open_row, ready, arrival, key, home, bank0, position, bursts, write):
    """Reserve ``bursts`` bursts from burst ``position`` of the rows of ``key`` on.

    Granule g of a key lies in channel home + g, and row i of a channel in bank bank0 + i, both
    modulo their number. Returns when the first burst starts on the pins and when the last one
    ends, and how many rows were opened and how often pins turned.
    """
    count = pins.shape[0]
    granule = timing[2]
    stripe = granule * count
    first = position // granule
    touched = min(count, (position + bursts - 1) // granule - first + 1)
    begin, end, misses, turns = 2**62, 0, 0, 0
    for index in range(first, first + touched):
        lane = index % count
        start = _in_lane(position, lane, granule, stripe)
        stop = _in_lane(position + bursts, lane, granule, stripe)
        channel = (home + lane) % count
        gap = _turn(timing, pins[channel], stop - start, write)
        turns += gap > 0
        lane_begin, lane_end, lane_misses = _run(
            timing, pins[channel], open_row[channel], ready[channel],
            arrival, gap, key, bank0, start, stop, write,
        )  # fmt: skip
        begin = min(begin, lane_begin)
        end = max(end, lane_end)
        misses += lane_misses
    return begin, end, misses, turns


@njit(cache=True, nogil=True)
def _in_lane(position, lane, granule, stripe):
    """Bursts of one lane before burst ``position`` of the whole."""
    rest = position % stripe - lane * granule
    return position // stripe * granule + min(max(rest, 0), granule)


@njit(cache=True, nogil=True)
def _turn(timing, pin, bursts, write):
    """Time for which the pins turn before this run; 0 if they need not, or not yet."""
    if not write:
        turns = pin[WRITING] == 1
        pin[WRITING] = 0
        return timing[9] + timing[3] if turns else 0
    if pin[WRITING]:
        return 0
    pin[PENDING] += bursts
    if pin[PENDING] < timing[11]:
        return 0
    pin[PENDING] = 0
    pin[WRITING] = 1
    return timing[10]


@njit(cache=True, nogil=True)
def _run(timing, pin, open_row, ready, arrival, gap, key, bank0, start, stop, write):
    """Serve bursts ``start`` to ``stop`` of one lane, row after row, each opened when it can be."""
    burst, row_bursts, column, precharge = timing[0], timing[1], timing[3], timing[5]
    begin, misses = -1, 0
    free = pin[FREE] + gap
    at = start
    while at < stop:
        row = at // row_bursts
        bursts = min(stop, (row + 1) * row_bursts) - at
        bank = (bank0 + row) % open_row.shape[0]
        data = arrival + column
        if open_row[bank] != (key << 32) + row:
            misses += 1
            opened = max(arrival, ready[bank], pin[OPENED] + timing[7])
            pin[OPENED] = opened
            open_row[bank] = (key << 32) + row
            ready[bank] = opened + timing[6] + precharge
            data = opened + timing[4] + column
        data = _after_refresh(timing, max(data, free))
        free = _advance(timing, data, bursts * burst)
        recovery = timing[8] if write else -column  # a row closes while its last data is read
        ready[bank] = max(ready[bank], free + recovery + precharge)
        if begin < 0:
            begin = data
        at += bursts
    pin[FREE] = free
    return begin, free, misses


@njit(cache=True, nogil=True)
def _after_refresh(timing, time):
    """The earliest time from ``time`` on at which no refresh keeps data off the pins."""
    interval, gap = timing[12], timing[13]
    return time if time % interval < interval - gap else (time // interval + 1) * interval


@njit(cache=True, nogil=True)
def _advance(timing, begin, duration):
    """When a run of ``duration`` that begins at ``begin`` ends, refreshes in it included."""
    interval, gap = timing[12], timing[13]
    return begin + duration + (begin % interval + duration - 1) // (interval - gap) * gap
