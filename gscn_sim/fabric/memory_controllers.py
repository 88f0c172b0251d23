"""Who decides when a request to the memory is served: in order, or the first that is ready.

Times are whole femtoseconds. A controller knows where the streams lie; the kernels know the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import numpy as np

from gscn_sim.config import DramConfig
from gscn_sim.kernels import dram as in_order
from gscn_sim.kernels import dram_queue
from gscn_sim.problem.geometry import Ints
from gscn_sim.units import ceil_div, exact

_BANK_STRIDE = 5  # in order: between the first banks of two streams
_PLACES = 1 << 40  # first ready: bytes over which requests without a place are scattered


class Controller(Protocol):
    """Places requests. ``burst``: time of one on the pins. ``free``: [channels] pins busy until."""

    burst: int

    @property
    def free(self) -> Ints: ...

    def lay_out(self, bursts: Mapping[str, int]) -> None:
        """Give the streams of an operand, of so many bursts each, their places in memory."""
        ...

    def serve(
        self, arrival: int, stream: str | None, bursts: int, write: bool
    ) -> tuple[int, int, int, int]:
        """Place a request: when its data begins and ends, rows opened, turns of the pins."""
        ...

    def flush(self, arrival: int) -> tuple[int, int, int]:
        """Write all that waits: when all has moved, rows opened, turns of the pins."""
        ...


def make_controller(dram: DramConfig) -> Controller:
    """The controller that ``dram.scheduler`` names."""
    return FirstReady(dram) if dram.scheduler == "fr-fcfs" else InOrder(dram)


class InOrder:
    """First come, first served: data moves in the order of the requests.

    A stream has rows of its own, in a channel drawn by a fixed hash; streams start in different
    banks. A request without a stream starts in a channel and a bank drawn by that hash.
    """

    def __init__(self, dram: DramConfig) -> None:
        self._channels, self._banks = dram.channels, dram.banks
        self._timing = _constants(dram, in_order.TIMING)
        self.burst = int(self._timing[0])
        self._pins = np.zeros((dram.channels, 4), dtype=np.int64)
        self._pins[:, in_order.OPENED] = -(1 << 60)
        self._open_row = np.full((dram.channels, dram.banks), -1, dtype=np.int64)
        self._ready = np.zeros((dram.channels, dram.banks), dtype=np.int64)
        self._streams: dict[str, tuple[int, int, int, int]] = {}  # key, channel, bank, next burst
        self._next_key = 0

    @property
    def free(self) -> Ints:
        return self._pins[:, in_order.FREE].copy()

    def lay_out(self, bursts: Mapping[str, int]) -> None:
        pass

    def serve(
        self, arrival: int, stream: str | None, bursts: int, write: bool
    ) -> tuple[int, int, int, int]:
        key, channel, bank, position = self.locate(stream, bursts)
        answer: tuple[int, int, int, int] = in_order.serve(
            self._timing, self._pins, self._open_row, self._ready,
            arrival, key, channel, bank, position, bursts, write,
        )  # fmt: skip
        return answer

    def flush(self, arrival: int) -> tuple[int, int, int]:
        return 0, 0, 0

    def locate(self, stream: str | None, bursts: int) -> tuple[int, int, int, int]:
        """Key, first channel and first bank of the rows of a request, and its first burst there."""
        found = None if stream is None else self._streams.get(stream)
        if found is None:
            place = scatter(self._next_key)
            bank = (place >> 32) % self._banks
            if stream is not None:  # streams run side by side: they start in different banks
                bank = len(self._streams) * _BANK_STRIDE % self._banks
            found = (self._next_key, place % self._channels, bank, 0)
            self._next_key += 1
        if stream is not None:
            self._streams[stream] = (*found[:3], found[3] + bursts)
        return found


class FirstReady:
    """First ready, first come, first served: a queue reorders, writes are gathered in a buffer.

    Every request has an address: operands lie one behind the other, each from a row of its own on,
    and so do the streams of an operand. What nobody laid out lies in a place drawn by a fixed hash.
    """

    def __init__(self, dram: DramConfig) -> None:
        self._timing = _constants(dram, dram_queue.TIMING)
        self.burst = int(self._timing[0])
        self._state = dram_queue.idle_channels(
            dram.channels,
            dram.banks,
            dram.queue_bursts,
            dram.bank_queue_bursts,
            dram.write_batch_bursts,
        )
        rows = dram.channels * dram.bank_groups  # that consecutive bursts share
        self._row_bursts = rows * dram.row_bytes // dram.burst_bytes
        self._scattered_rows = _PLACES // (rows * dram.row_bytes)
        self._next: dict[str, int] = {}  # first burst of each stream's next request
        self._used = self._unknown = 0

    @property
    def free(self) -> Ints:
        found: Ints = dram_queue.pins_free(self._timing, self._state)
        return found

    def lay_out(self, bursts: Mapping[str, int]) -> None:
        for stream, size in bursts.items():
            self._next[stream] = self._used
            self._used += size
        self._used = ceil_div(self._used, self._row_bursts) * self._row_bursts

    def serve(
        self, arrival: int, stream: str | None, bursts: int, write: bool
    ) -> tuple[int, int, int, int]:
        first = self.locate(stream, bursts)
        answer: tuple[int, int, int, int] = dram_queue.serve(
            self._timing, self._state, arrival, first, bursts, write
        )
        return answer

    def serve_all(self, first: Ints, bursts: int, write: np.ndarray) -> int:
        """When the last of many requests ends that all arrive at time 0, at bursts ``first``."""
        return int(dram_queue.serve_all(self._timing, self._state, first, bursts, write))

    def flush(self, arrival: int) -> tuple[int, int, int]:
        answer: tuple[int, int, int] = dram_queue.flush(self._timing, self._state, arrival)
        return answer

    def locate(self, stream: str | None, bursts: int) -> int:
        """The first burst of a request, and the place of its stream's next one moves on."""
        first = None if stream is None else self._next.get(stream)
        if first is None:
            row = scatter(self._unknown) % self._scattered_rows
            first = row * self._row_bursts + scatter(~self._unknown) % self._row_bursts
            self._unknown += 1
        if stream is not None:
            self._next[stream] = first + bursts
        return first


@lru_cache(maxsize=32)
def _constants(dram: DramConfig, names: tuple[str, ...]) -> Ints:
    """The constants of a kernel in the order in which it reads them."""
    known = timing(dram)
    return np.array([known[name] for name in names], dtype=np.int64)


def timing(dram: DramConfig) -> dict[str, int]:
    """The constants of the kernels, times in fs; a burst is rounded up, never faster than peak."""
    pins_gbps = dram.channel_bits * exact(dram.transfers_gtps)
    column, activate = _to_fs(dram.column_ns), _to_fs(dram.row_activate_ns)
    return {
        "burst": -int(-8 * dram.burst_bytes * 1_000_000 / pins_gbps // 1),
        "row_bursts": dram.row_bytes // dram.burst_bytes,
        "granule_bursts": dram.interleave_bytes // dram.burst_bytes,
        "groups": dram.bank_groups,
        "column": column,
        "activate": activate,
        "read_column": column,
        "write_column": _to_fs(dram.write_column_ns),
        "read_activate": activate,
        "write_activate": _to_fs(dram.write_activate_ns),
        "precharge": _to_fs(dram.row_precharge_ns),
        "active": _to_fs(dram.row_active_ns),
        "activate_interval": _to_fs(dram.activate_interval_ns),
        "read_to_precharge": _to_fs(dram.read_to_precharge_ns),
        "write_recovery": _to_fs(dram.write_recovery_ns),
        "write_to_read": _to_fs(dram.write_to_read_ns),
        "read_to_write": _to_fs(dram.read_to_write_ns),
        "write_batch": dram.write_batch_bursts,
        "refresh_interval": _to_fs(dram.refresh_interval_ns),
        "refresh_gap": _to_fs(dram.refresh_gap_ns),
    }


def _to_fs(nanoseconds: float) -> int:
    """Whole femtoseconds that cover a time."""
    return -int(-exact(nanoseconds) * 1_000_000 // 1)


def scatter(key: int) -> int:
    """A fixed 64-bit hash (the finaliser of SplitMix64): same key, same place, in every run."""
    mask = (1 << 64) - 1
    key = (key + 1) * 0x9E3779B97F4A7C15 & mask
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & mask
    key = (key ^ key >> 27) * 0x94D049BB133111EB & mask
    return key ^ key >> 31
