"""Off-chip memory as a reservation server: no event per burst, every request in O(channels)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.component import Component
from gscn_sim.fabric.dram_channel import FS_PER_NS, Channel, Timing, exact
from gscn_sim.units import ceil_div


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """When one request moves its data, in absolute cycles.

    ``start_cycle``: the first data pin is busy; ``first_cycle``: the first burst has arrived;
    ``done_cycle``: the last one has.
    """

    start_cycle: int
    first_cycle: int
    done_cycle: int


def bound_cycles(config: Config, read_bytes: int, write_bytes: int) -> int:
    """Cycles in which the peak bandwidth moves so many bytes, rounded down; 0 if ideal."""
    dram = config.dram
    if dram.kind == "ideal":
        return 0
    bytes_per_ns = dram.channels * dram.channel_bits * exact(dram.transfers_gtps) / 8
    return int((read_bytes + write_bytes) * exact(config.array.clock_ghz) / bytes_per_ns)


class Dram(Component):
    """The memory: requests are served first come, first served, on all channels they touch.

    A request is a run of consecutive bytes, interleaved over the channels. It goes on where the
    previous request of its ``stream`` ended; without a stream it starts a row of its own, in a
    channel and a bank drawn by a fixed hash. Counters: ``read_bytes`` and ``write_bytes`` (whole
    bursts), ``requests``, ``row_hits`` and ``row_misses`` (bursts that find their row open, rows
    opened), ``turnarounds``.
    """

    def __init__(self, env: simpy.Environment, config: Config, path: str = "dram") -> None:
        super().__init__(env, path)
        dram = config.dram
        self._ideal = dram.kind == "ideal"
        self._burst_bytes = dram.burst_bytes
        self._granule = dram.interleave_bytes // dram.burst_bytes
        self._timing = Timing(dram)
        self._channels = [Channel(self._timing, self.counters) for _ in range(dram.channels)]
        fs_per_cycle = Fraction(FS_PER_NS) / exact(config.array.clock_ghz)
        self._fs, self._cycles = fs_per_cycle.numerator, fs_per_cycle.denominator
        self._streams: dict[str, tuple[int, int]] = {}  # stream -> (key, next burst)
        self._next_key = 0

    def read(self, size_bytes: int, stream: str | None = None) -> int:
        """Reserve a read now; the absolute cycle at which its last byte has arrived."""
        return self.transfer(size_bytes, write=False, stream=stream).done_cycle

    def write(self, size_bytes: int, stream: str | None = None) -> int:
        """Reserve a write now; the absolute cycle at which its last byte is in the memory."""
        return self.transfer(size_bytes, write=True, stream=stream).done_cycle

    def transfer(self, size_bytes: int, *, write: bool, stream: str | None = None) -> Transfer:
        """Reserve a run of ``size_bytes``, rounded up to whole bursts, at the current cycle.

        Raises:
            ValueError: if ``size_bytes`` is negative.
        """
        if size_bytes < 0:
            raise ValueError(f"{self.path}: size_bytes must not be negative, got {size_bytes}")
        now = int(self.env.now)
        bursts = ceil_div(size_bytes, self._burst_bytes)
        counters = self.counters
        counters["write_bytes" if write else "read_bytes"] += bursts * self._burst_bytes
        counters["requests"] += bursts > 0
        if self._ideal or not bursts:
            return Transfer(start_cycle=now, first_cycle=now, done_cycle=now)
        key, position = self._locate(stream, bursts)
        arrival = ceil_div(now * self._fs, self._cycles)
        begin, end = self._reserve(arrival, key, position, bursts, write)
        return Transfer(
            start_cycle=begin * self._cycles // self._fs,
            first_cycle=ceil_div((begin + self._timing.burst) * self._cycles, self._fs),
            done_cycle=ceil_div(end * self._cycles, self._fs),
        )

    @property
    def busy_cycles(self) -> int:
        """Cycles in which data moved so far, as a mean over the channels, rounded down."""
        bursts = (self.counters["read_bytes"] + self.counters["write_bytes"]) // self._burst_bytes
        if self._ideal:
            return 0
        return bursts * self._timing.burst * self._cycles // (self._fs * len(self._channels))

    def _locate(self, stream: str | None, bursts: int) -> tuple[int, int]:
        """The key of the rows a request uses, and its first burst in them."""
        found = None if stream is None else self._streams.get(stream)
        if found is None:
            found = (self._next_key, 0)
            self._next_key += 1
        key, position = found
        if stream is not None:
            self._streams[stream] = (key, position + bursts)
        return key, position

    def _reserve(
        self, arrival: int, key: int, position: int, bursts: int, write: bool
    ) -> tuple[int, int]:
        """Reserve each channel's share; when the first data moves and when the last has, in fs."""
        channels, granule = self._channels, self._granule
        count = len(channels)
        place = _scatter(key)
        home, bank = place % count, (place >> 32) % self._timing.banks
        stripe_start, rest_start = divmod(position, granule * count)
        stripe_stop, rest_stop = divmod(position + bursts, granule * count)
        first = position // granule
        touched = min(count, (position + bursts - 1) // granule - first + 1)
        begin, end = 1 << 100, 0
        for index in range(first, first + touched):
            lane = index % count
            skip = lane * granule
            start = stripe_start * granule + min(max(rest_start - skip, 0), granule)
            stop = stripe_stop * granule + min(max(rest_stop - skip, 0), granule)
            channel = channels[(home + lane) % count]
            data_begin, data_end = channel.serve(arrival, key, bank, start, stop, write)
            if data_begin < begin:
                begin = data_begin
            if data_end > end:
                end = data_end
        return begin, end


def _scatter(key: int) -> int:
    """A fixed 64-bit hash (the finaliser of SplitMix64): same key, same place, in every run."""
    mask = (1 << 64) - 1
    key = (key + 1) * 0x9E3779B97F4A7C15 & mask
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & mask
    key = (key ^ key >> 27) * 0x94D049BB133111EB & mask
    return key ^ key >> 31
