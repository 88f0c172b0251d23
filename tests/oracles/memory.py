"""The memory, burst by burst, in exact fractions of a nanosecond."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from fractions import Fraction
from math import ceil

from gscn_sim.config import Config


@dataclass
class Lane:
    free: Fraction = Fraction(0)
    opened: Fraction = Fraction(-(10**9))
    writing: bool = False
    pending: int = 0
    row_in: dict[int, tuple[int, int]] = field(default_factory=dict)
    ready: dict[int, Fraction] = field(default_factory=dict)


class Memory:
    """The rules of the memory, one burst at a time; it is told where a request goes."""

    def __init__(self, config: Config) -> None:
        self.config, self.dram = config, config.dram
        self.lanes = [Lane() for _ in range(self.dram.channels)]
        pins = Fraction(repr(self.dram.transfers_gtps)) * self.dram.channel_bits
        self.burst = Fraction(ceil(self.dram.burst_bytes * 8 / pins * 10**6), 10**6)
        self.hits = self.misses = 0
        names = [f.name for f in fields(self.dram) if f.name.endswith("_ns")]
        self.figures = {name: Fraction(repr(getattr(self.dram, name))) for name in names}
        parts = ("row_precharge_ns", "refresh_ns", "row_activate_ns", "column_ns")
        self.gap = sum((self.ns(name) for name in parts), Fraction(0))

    def ns(self, name: str) -> Fraction:
        return self.figures[name]

    def past_refresh(self, time: Fraction) -> Fraction:
        interval = self.ns("refresh_interval_ns")
        if time % interval >= interval - self.gap:
            return (time // interval + 1) * interval
        return time

    def moved(self, begin: Fraction) -> Fraction:
        """End of one burst; a refresh that starts inside it stretches it."""
        interval = self.ns("refresh_interval_ns")
        stop = begin // interval * interval + interval - self.gap
        left = self.burst
        while begin + left > stop:
            left -= stop - begin
            begin = stop + self.gap
            stop = begin + interval - self.gap
        return begin + left

    def serve(
        self, now: int, key: int, home: int, bank0: int, position: int, bursts: int, write: bool
    ) -> tuple[Fraction, Fraction]:
        dram = self.dram
        clock = Fraction(repr(self.config.array.clock_ghz))
        arrival = Fraction(ceil(now / clock * 10**6), 10**6) + self.ns("controller_ns")
        granule = dram.interleave_bytes // dram.burst_bytes
        row_bursts = dram.row_bytes // dram.burst_bytes
        shares: dict[int, list[int]] = {}
        for burst in range(position, position + bursts):
            block = burst // granule
            inside = block // dram.channels * granule + burst % granule
            shares.setdefault((home + block) % dram.channels, []).append(inside)
        begins, ends = [], []
        for channel, share in shares.items():
            lane = self.lanes[channel]
            self.turn(lane, len(share), write)
            for count, burst in enumerate(share):
                row = burst // row_bursts
                bank = (bank0 + row) % dram.banks
                data = arrival + self.ns("column_ns")
                if lane.row_in.get(bank) != (key, row):
                    self.misses += 1
                    lane.row_in[bank] = (key, row)
                    lane.opened = max(
                        arrival,
                        lane.ready.get(bank, Fraction(0)),
                        lane.opened + self.ns("activate_interval_ns"),
                    )
                    lane.ready[bank] = (
                        lane.opened + self.ns("row_active_ns") + self.ns("row_precharge_ns")
                    )
                    data = lane.opened + self.ns("row_activate_ns") + self.ns("column_ns")
                else:
                    self.hits += 1
                data = self.past_refresh(max(data, lane.free))
                lane.free = self.moved(data)
                recovery = self.ns("write_recovery_ns") if write else -self.ns("column_ns")
                lane.ready[bank] = max(
                    lane.ready[bank], lane.free + recovery + self.ns("row_precharge_ns")
                )
                if count == 0:
                    begins.append(data)
            ends.append(lane.free)
        return min(begins), max(ends)

    def turn(self, lane: Lane, bursts: int, write: bool) -> None:
        if write and not lane.writing:
            lane.pending += bursts
            if lane.pending >= self.dram.write_batch_bursts:
                lane.pending, lane.writing = 0, True
                lane.free += self.ns("read_to_write_ns")
        elif not write and lane.writing:
            lane.writing = False
            lane.free += self.ns("write_to_read_ns") + self.ns("column_ns")
