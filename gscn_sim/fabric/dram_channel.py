"""One channel of the memory: data pins, banks with open rows, turnaround, refresh."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from gscn_sim.config import DramConfig
from gscn_sim.units import ceil_div

FS_PER_NS = 1_000_000  # a burst is no whole cycle, nor whole ps: inside, time is whole fs


def exact(value: float) -> Fraction:
    """The decimal number somebody wrote, without its binary rounding."""
    return Fraction(repr(value))


def to_fs(nanoseconds: float) -> int:
    """Whole femtoseconds that cover a time."""
    return -int(-exact(nanoseconds) * FS_PER_NS // 1)


class Timing:
    """The timing of a memory in whole femtoseconds."""

    def __init__(self, dram: DramConfig) -> None:
        pins = dram.channel_bits * exact(dram.transfers_gtps)
        self.burst = -int(-8 * dram.burst_bytes * FS_PER_NS / pins // 1)
        self.banks = dram.banks
        self.row_bursts = dram.row_bytes // dram.burst_bytes
        self.controller = to_fs(dram.controller_ns)
        self.column = to_fs(dram.column_ns)
        self.open_to_data = to_fs(dram.row_activate_ns) + self.column
        self.precharge = to_fs(dram.row_precharge_ns)
        self.active = to_fs(dram.row_active_ns)
        self.activate_interval = to_fs(dram.activate_interval_ns)
        self.write_recovery = to_fs(dram.write_recovery_ns)
        self.write_to_read = to_fs(dram.write_to_read_ns) + self.column
        self.read_to_write = to_fs(dram.read_to_write_ns)
        self.write_batch = dram.write_batch_bursts
        # The next row of a run is opened ahead, which hides it unless rows are very short.
        row_period = max(self.activate_interval, ceil_div(self.active + self.precharge, self.banks))
        self.row_extra = max(0, row_period - self.row_bursts * self.burst)
        self.refresh_interval = to_fs(dram.refresh_interval_ns)
        self.between_refreshes = self.refresh_interval - to_fs(dram.refresh_gap_ns)

    def after_refresh(self, time: int) -> int:
        """The earliest time from ``time`` on at which no refresh keeps data from the pins."""
        interval = time // self.refresh_interval
        if time - interval * self.refresh_interval < self.between_refreshes:
            return time
        return (interval + 1) * self.refresh_interval

    def advance(self, begin: int, duration: int) -> int:
        """When a run of ``duration`` that begins at ``begin`` ends, refreshes included."""
        interval = begin // self.refresh_interval
        work = begin - interval * self.refresh_interval + duration
        refreshes = (work - 1) // self.between_refreshes if work else 0
        return begin + duration + refreshes * (self.refresh_interval - self.between_refreshes)


class Channel:
    """State of one channel between requests; all times are absolute, in fs."""

    def __init__(self, timing: Timing, counters: Counter[str]) -> None:
        self._timing = timing
        self._counters = counters
        self._pins_free = 0
        self._activated = -(1 << 62)  # when the latest row was opened
        self._writing = False
        self._pending_writes = 0
        self._open_row = [-1] * timing.banks
        self._bank_ready = [0] * timing.banks  # when a bank could open another row

    def serve(
        self, arrival: int, key: int, bank0: int, start: int, stop: int, write: bool
    ) -> tuple[int, int]:
        """Move bursts ``start`` to ``stop`` of the rows of ``key``, of which row i is in bank0 + i.

        Returns when the first burst starts on the pins and when the last one ends.
        """
        timing = self._timing
        row, last_row = start // timing.row_bursts, (stop - 1) // timing.row_bursts
        bank = (bank0 + row) % timing.banks
        request = arrival + timing.controller
        hit = self._open_row[bank] == (key << 40 | row)
        if hit:
            ready = request + timing.column
        else:
            self._activated = max(
                request, self._bank_ready[bank], self._activated + timing.activate_interval
            )
            self._bank_ready[bank] = self._activated + timing.active + timing.precharge
            ready = self._activated + timing.open_to_data
        misses = last_row - row + (not hit)
        self._counters["row_misses"] += misses
        self._counters["row_hits"] += stop - start - misses
        begin = timing.after_refresh(max(ready, self._pins_free + self._turn(write, stop - start)))
        duration = (stop - start) * timing.burst
        if last_row > row:
            duration += (last_row - row) * timing.row_extra
            self._pass_rows(begin, key, bank0, start, last_row, write)
        end = timing.advance(begin, duration)
        self._pins_free = end
        self._occupy(key, bank0, last_row, end, write)
        return begin, end

    def _turn(self, write: bool, bursts: int) -> int:
        """Time the pins need to turn before this request; writes turn them a batch at a time."""
        timing = self._timing
        if not write:
            if not self._writing:
                return 0
            self._writing = False
            self._counters["turnarounds"] += 1
            return timing.write_to_read
        if self._writing:
            return 0
        self._pending_writes += bursts
        if self._pending_writes < timing.write_batch:
            return 0
        self._pending_writes = 0
        self._writing = True
        self._counters["turnarounds"] += 1
        return timing.read_to_write

    def _occupy(self, key: int, bank0: int, row: int, data_end: int, write: bool) -> None:
        """Leave a row open whose data ended at ``data_end``; it can close after its recovery."""
        timing = self._timing
        bank = (bank0 + row) % timing.banks
        self._open_row[bank] = key << 40 | row
        recovery = timing.write_recovery if write else -timing.column
        ready = data_end + recovery + timing.precharge
        if ready > self._bank_ready[bank]:
            self._bank_ready[bank] = ready

    def _pass_rows(
        self, begin: int, key: int, bank0: int, start: int, last_row: int, write: bool
    ) -> None:
        """Account for the rows of a run before its last one, and open that one ahead."""
        timing = self._timing
        first_row = start // timing.row_bursts
        row_time = timing.row_bursts * timing.burst + timing.row_extra
        first_end = begin + ((first_row + 1) * timing.row_bursts - start) * timing.burst
        for row in range(max(first_row, last_row - timing.banks), last_row):
            self._occupy(key, bank0, row, first_end + (row - first_row) * row_time, write)
        last_begin = first_end + (last_row - 1 - first_row) * row_time
        opened = last_begin - timing.open_to_data
        bank = (bank0 + last_row) % timing.banks
        self._activated = max(self._activated, opened)
        ready = opened + timing.active + timing.precharge
        self._bank_ready[bank] = max(self._bank_ready[bank], ready)
