"""The memory whose controllers reorder, burst by burst, in exact fractions of a nanosecond."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from fractions import Fraction
from math import ceil, floor

from gscn_sim.config import Config

REMEMBERED = 16  # free places on the pins, and openings of rows, that a channel remembers
LONG_AGO = Fraction(-(1 << 60), 10**6)


@dataclass
class Bank:
    row: int | None = None  # of this memory
    opened: Fraction = LONG_AGO
    closable: Fraction = LONG_AGO
    commands: list[Fraction] = field(default_factory=list)


@dataclass
class Channel:
    banks: list[Bank]
    pins_end: Fraction = Fraction(0)
    free: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    openings: list[Fraction] = field(default_factory=lambda: [LONG_AGO] * REMEMBERED)
    left_queue: list[Fraction] = field(default_factory=list)
    writing: bool = False
    written: Fraction = Fraction(0)
    waiting: list[list[int]] = field(default_factory=list)


class QueueMemory:
    """The rules of ``fr-fcfs``; requests say at which burst of the memory they begin."""

    def __init__(self, config: Config) -> None:
        self.config, self.dram = config, config.dram
        names = [f.name for f in fields(self.dram) if f.name.endswith("_ns")]
        self.ns = {name: Fraction(repr(getattr(self.dram, name))) for name in names}
        pins = Fraction(repr(self.dram.transfers_gtps)) * self.dram.channel_bits
        self.burst = Fraction(ceil(self.dram.burst_bytes * 8 / pins * 10**6), 10**6)
        parts = ("row_precharge_ns", "refresh_ns", "row_activate_ns", "column_ns")
        self.gap = sum((self.ns[name] for name in parts), Fraction(0))
        self.channels = [
            Channel(banks=[Bank() for _ in range(self.dram.banks)])
            for _ in range(self.dram.channels)
        ]
        self.opened = self.turns = 0

    # --- time: a clock that stands still during refreshes

    def running(self, time: Fraction) -> Fraction:
        whole = self.ns["refresh_interval_ns"] - self.gap
        intervals = floor(time / self.ns["refresh_interval_ns"])
        return intervals * whole + min(time - intervals * self.ns["refresh_interval_ns"], whole)

    def passed(self, time: Fraction) -> Fraction:
        if time <= 0:
            return time
        whole = self.ns["refresh_interval_ns"] - self.gap
        return time + (ceil(time / whole) - 1) * self.gap

    # --- requests

    def serve(
        self, now: int, first: int, bursts: int, write: bool
    ) -> tuple[Fraction | None, Fraction]:
        """When a read's first burst starts (None: a write), and when the request is done."""
        arrival = self.arrival(now)
        granule = self.dram.interleave_bytes // self.dram.burst_bytes
        shares: dict[int, list[int]] = {}
        for burst in range(first, first + bursts):
            block = burst // granule
            inside = block // self.dram.channels * granule + burst % granule
            shares.setdefault(block % self.dram.channels, []).append(inside)
        begins, ends = [], [arrival]
        for number, share in shares.items():
            channel = self.channels[number]
            if write:
                channel.waiting.append(share)
                if sum(map(len, channel.waiting)) >= self.dram.write_batch_bursts:
                    self.empty(channel, arrival)
                ends.append(channel.written)
            else:
                self.turn(channel, False)
                begin, end = self.share(channel, share, arrival, False)
                begins.append(begin)
                ends.append(end)
        begin_at = None
        if begins:
            step = Fraction(1, 10**6)
            begin_at = self.passed(min(begins) + step) - step
        return begin_at, self.passed(max(ends))

    def arrival(self, now: int) -> Fraction:
        clock = Fraction(repr(self.config.array.clock_ghz))
        return self.running(Fraction(ceil(now / clock * 10**6), 10**6) + self.ns["controller_ns"])

    def flush(self, now: int) -> Fraction:
        for channel in self.channels:
            if channel.waiting:
                self.empty(channel, self.arrival(now))
        return self.passed(max(channel.pins_end for channel in self.channels))

    def empty(self, channel: Channel, arrival: Fraction) -> None:
        self.turn(channel, True)
        for share in channel.waiting:
            channel.written = max(channel.written, self.share(channel, share, arrival, True)[1])
        channel.waiting = []

    def turn(self, channel: Channel, write: bool) -> None:
        if channel.writing == write:
            return
        self.turns += 1
        channel.writing = write
        to_read = self.ns["write_to_read_ns"] + self.ns["column_ns"]
        to_write = self.ns["read_to_write_ns"]
        there, back = (to_write, to_read) if write else (to_read, to_write)
        shorter = [(begin + there, end - back) for begin, end in channel.free]
        channel.free = [(b, e) for b, e in shorter if e - b >= self.burst]
        channel.pins_end += there

    # --- one channel

    def share(
        self, channel: Channel, share: list[int], arrival: Fraction, write: bool
    ) -> tuple[Fraction, Fraction]:
        """The bursts of a request in one channel, by row and bank."""
        dram = self.dram
        groups, row_bursts = dram.bank_groups, dram.row_bytes // dram.burst_bytes
        by_row: dict[int, dict[int, list[int]]] = {}
        for burst in share:
            row, group = burst // (row_bursts * groups), burst % groups
            by_row.setdefault(row, {}).setdefault(group, []).append(burst)
        begins, ends = [], []
        for row, by_group in by_row.items():
            sets = dram.banks // groups
            banks = [channel.banks[row % sets * groups + group] for group in by_group]
            entry = max(arrival, latest(channel.left_queue, dram.queue_bursts))
            queued = max(entry, *(latest(b.commands, dram.bank_queue_bursts) for b in banks))
            last = entry
            for bank, bursts in zip(banks, by_group.values(), strict=True):
                begin, end, command = self.run(
                    channel, bank, row // sets, len(bursts), entry, write
                )
                last = max(last, command)
                begins.append(begin)
                ends.append(end)
            count = sum(map(len, by_group.values()))
            depth = dram.bank_queue_bursts * len(banks)
            for burst in range(count):  # a burst leaves when the one ``depth`` before it is served
                served = last - (count - 1 - burst + depth) * self.burst
                channel.left_queue.append(queued if burst < depth else max(queued, served))
        return min(begins), max(ends)

    def run(
        self, channel: Channel, bank: Bank, row: int, bursts: int, entry: Fraction, write: bool
    ) -> tuple[Fraction, Fraction, Fraction]:
        """Bursts of one row: their data begins and ends, their last command."""
        ns = self.ns
        column = ns["write_column_ns" if write else "column_ns"]
        ready = max(entry, latest(bank.commands, self.dram.bank_queue_bursts))
        if bank.row != row:
            self.opened += 1
            ready = max(ready, bank.closable) + ns["row_precharge_ns"]
            bank.row, bank.opened = row, self.open(channel, ready)
            bank.closable = bank.opened + ns["row_active_ns"]
        activate = ns["write_activate_ns" if write else "row_activate_ns"]
        data = max(ready, bank.opened + activate) + column
        channel.free = [(b, e) for b, e in channel.free if e - self.burst >= entry]
        starts: list[Fraction] = []
        while len(starts) < bursts:
            starts += self.move(channel, data, bursts - len(starts))
        end = starts[-1] + self.burst
        last = starts[-1] - column
        after = end + ns["write_recovery_ns"] if write else last + ns["read_to_precharge_ns"]
        bank.closable = max(bank.closable, after)
        for burst in range(bursts):
            bank.commands.append(max(starts[0] - column, last - burst * self.burst))
        return starts[0], end, last

    def open(self, channel: Channel, time: Fraction) -> Fraction:
        """The first slot that keeps its distance to all remembered openings."""
        apart = self.ns["activate_interval_ns"]
        time = max(time, channel.openings[0])
        slots = sorted([time, *(other + apart for other in channel.openings)])
        slot = next(
            t
            for t in slots
            if t >= time and all(t >= o + apart or t + apart <= o for o in channel.openings)
        )
        channel.openings = sorted([*channel.openings, slot])[-REMEMBERED:]
        return slot

    def move(self, channel: Channel, data: Fraction, bursts: int) -> list[Fraction]:
        """As many bursts as fit into the first free place from ``data`` on."""
        for number, (begin, end) in enumerate(channel.free):
            at = max(begin, data)
            fit = min(bursts, floor((end - at) / self.burst))
            if fit < 1:
                continue
            rest = [(begin, at), (at + fit * self.burst, end)]
            rest = [(b, e) for b, e in rest if e - b >= self.burst]
            if len(rest) == 2 and len(channel.free) == REMEMBERED:
                rest.pop()
            channel.free[number : number + 1] = rest
            return [at + k * self.burst for k in range(fit)]
        at = max(channel.pins_end, data)
        if at - channel.pins_end >= self.burst:
            channel.free = [*channel.free, (channel.pins_end, at)][-REMEMBERED:]
        channel.pins_end = at + bursts * self.burst
        return [at + k * self.burst for k in range(bursts)]


def latest(times: list[Fraction], count: int) -> Fraction:
    """The ``count``-th latest of some times."""
    return sorted(times)[-count] if len(times) >= count else LONG_AGO
