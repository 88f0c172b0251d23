"""Off-chip memory as a reservation server: no event per burst, microseconds per request."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import simpy

from gscn_sim.config import Config, DramConfig
from gscn_sim.fabric.component import Component, Probe
from gscn_sim.kernels import dram as kernel
from gscn_sim.problem.geometry import Ints
from gscn_sim.units import ceil_div

FS_PER_NS = 1_000_000  # a burst is no whole cycle, nor whole ps: inside, time is whole fs
_BANK_STRIDE = 5  # between the first banks of two streams


class Transfer(NamedTuple):
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
    bytes_per_ns = dram.channels * dram.channel_bits * _exact(dram.transfers_gtps) / 8
    return int((read_bytes + write_bytes) * _exact(config.array.clock_ghz) / bytes_per_ns)


class Dram(Component):
    """The memory: requests are served first come, first served, on all channels they touch.

    A request is a run of consecutive bytes, interleaved over the channels. It goes on where the
    previous request of its ``stream`` ended; without a stream it starts a row of its own, in a
    channel and a bank drawn by a fixed hash. Counters: ``read_bytes`` and ``write_bytes`` (whole
    bursts), ``requests``, ``row_misses`` (rows opened), ``row_hits`` (bursts that found their row
    open), ``turnarounds`` (of one channel's pins). With a ``timeline``, each channel is a track.
    """

    def __init__(
        self,
        env: simpy.Environment,
        config: Config,
        path: str = "dram",
        timeline: Probe | None = None,
    ) -> None:
        super().__init__(env, path)
        self._timeline = timeline
        dram = config.dram
        self._ideal = dram.kind == "ideal"
        self._burst_bytes = dram.burst_bytes
        self._channels, self._banks = dram.channels, dram.banks
        self._timing = _timing_array(dram)
        self._burst = int(self._timing[0])
        self._controller = _to_fs(dram.controller_ns)
        fs_per_cycle = Fraction(FS_PER_NS) / _exact(config.array.clock_ghz)
        self._fs, self._cycles = fs_per_cycle.numerator, fs_per_cycle.denominator
        self._pins = np.zeros((dram.channels, 4), dtype=np.int64)
        self._pins[:, kernel.OPENED] = -(1 << 60)
        self._open_row = np.full((dram.channels, dram.banks), -1, dtype=np.int64)
        self._ready = np.zeros((dram.channels, dram.banks), dtype=np.int64)
        self._streams: dict[str, tuple[int, int, int, int]] = {}  # key, channel, bank, next burst
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
        if not bursts:
            return Transfer(start_cycle=now, first_cycle=now, done_cycle=now)
        counters["requests"] += 1
        if self._ideal:
            return Transfer(start_cycle=now, first_cycle=now, done_cycle=now)
        key, channel, bank, position = self._locate(stream, bursts)
        arrival = ceil_div(now * self._fs, self._cycles) + self._controller
        free_before = self._pins[:, kernel.FREE].copy() if self._timeline else None
        begin, end, misses, turns = kernel.serve(
            self._timing, self._pins, self._open_row, self._ready,
            arrival, key, channel, bank, position, bursts, write,
        )  # fmt: skip
        counters["row_misses"] += misses
        counters["row_hits"] += bursts - misses
        counters["turnarounds"] += turns
        if free_before is not None:
            self._draw("write" if write else "read", begin, free_before)
        return Transfer(
            start_cycle=begin * self._cycles // self._fs,
            first_cycle=ceil_div((begin + self._burst) * self._cycles, self._fs),
            done_cycle=ceil_div(end * self._cycles, self._fs),
        )

    @property
    def busy_cycles(self) -> int:
        """Cycles in which data moved so far, as a mean over the channels, rounded down."""
        if self._ideal:
            return 0
        bursts = (self.counters["read_bytes"] + self.counters["write_bytes"]) // self._burst_bytes
        return bursts * self._burst * self._cycles // (self._fs * self._channels)

    def _draw(self, name: str, begin: int, free_before: np.ndarray) -> None:
        """Put the channels a request used on the timeline, from its first data on any of them."""
        assert self._timeline is not None
        free = self._pins[:, kernel.FREE]
        for channel in np.flatnonzero(free != free_before).tolist():
            start = max(begin, int(free_before[channel])) * self._cycles // self._fs
            end = int(free[channel]) * self._cycles // self._fs
            self._timeline.span(f"{self.path}/channel {channel}", name, start, end)

    def _locate(self, stream: str | None, bursts: int) -> tuple[int, int, int, int]:
        """Key, first channel and first bank of the rows of a request, and its first burst there."""
        found = None if stream is None else self._streams.get(stream)
        if found is None:
            place = _scatter(self._next_key)
            bank = (place >> 32) % self._banks
            if stream is not None:  # streams run side by side: they start in different banks
                bank = len(self._streams) * _BANK_STRIDE % self._banks
            found = (self._next_key, place % self._channels, bank, 0)
            self._next_key += 1
        if stream is not None:
            self._streams[stream] = (*found[:3], found[3] + bursts)
        return found


@lru_cache(maxsize=16)
def _timing_array(dram: DramConfig) -> Ints:
    """The constants in the order in which the kernel reads them."""
    timing = _timing(dram)
    return np.array([timing[name] for name in kernel.TIMING], dtype=np.int64)


def _timing(dram: DramConfig) -> dict[str, int]:
    """The constants of the kernel, times in fs; a burst is rounded up, never faster than peak."""
    pins_gbps = dram.channel_bits * _exact(dram.transfers_gtps)
    return {
        "burst": -int(-8 * dram.burst_bytes * FS_PER_NS / pins_gbps // 1),
        "row_bursts": dram.row_bytes // dram.burst_bytes,
        "granule_bursts": dram.interleave_bytes // dram.burst_bytes,
        "column": _to_fs(dram.column_ns),
        "activate": _to_fs(dram.row_activate_ns),
        "precharge": _to_fs(dram.row_precharge_ns),
        "active": _to_fs(dram.row_active_ns),
        "activate_interval": _to_fs(dram.activate_interval_ns),
        "write_recovery": _to_fs(dram.write_recovery_ns),
        "write_to_read": _to_fs(dram.write_to_read_ns),
        "read_to_write": _to_fs(dram.read_to_write_ns),
        "write_batch": dram.write_batch_bursts,
        "refresh_interval": _to_fs(dram.refresh_interval_ns),
        "refresh_gap": _to_fs(dram.refresh_gap_ns),
    }


def _exact(value: float) -> Fraction:
    """The decimal number somebody wrote, without its binary rounding."""
    return Fraction(repr(value))


def _to_fs(nanoseconds: float) -> int:
    """Whole femtoseconds that cover a time."""
    return -int(-_exact(nanoseconds) * FS_PER_NS // 1)


def _scatter(key: int) -> int:
    """A fixed 64-bit hash (the finaliser of SplitMix64): same key, same place, in every run."""
    mask = (1 << 64) - 1
    key = (key + 1) * 0x9E3779B97F4A7C15 & mask
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & mask
    key = (key ^ key >> 27) * 0x94D049BB133111EB & mask
    return key ^ key >> 31
