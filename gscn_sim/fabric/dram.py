"""Off-chip memory as a reservation server: no event per burst, microseconds per request."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.component import Component, Probe
from gscn_sim.fabric.memory_controllers import Controller, make_controller
from gscn_sim.units import ceil_div, exact

FS_PER_NS = 1_000_000  # a burst is no whole cycle, nor whole ps: inside, time is whole fs


class Transfer(NamedTuple):
    """When one request moves its data, in absolute cycles.

    ``start_cycle``: the first data pin is busy; ``first_cycle``: the first burst has arrived;
    ``done_cycle``: the last one has. A write is done when the memory's controller has taken it.
    """

    start_cycle: int
    first_cycle: int
    done_cycle: int


class Dram(Component):
    """The memory: what it is asked for is placed at once, and the answer says when it is there.

    A request is a run of consecutive bytes, interleaved over the channels. It goes on where the
    previous request of its ``stream`` ended; streams lie where :meth:`lay_out` put them, else, as
    requests without one do, in a place drawn by a fixed hash. ``dram.scheduler`` says which
    controller places them. Counters: ``read_bytes`` and ``write_bytes`` (whole bursts),
    ``requests``, ``row_misses`` (rows opened), ``row_hits`` (bursts that found their row open),
    ``turnarounds`` (of one channel's pins). With a ``timeline``, each channel is a track.
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
        self._config = dram = config.dram
        self._ideal = dram.kind == "ideal"
        self.burst_bytes, self._channels = dram.burst_bytes, dram.channels
        self._origin = 0
        self._asked_until = self._asked = 0
        self._drawn_until = 0.0
        self._controller: Controller = make_controller(dram)
        self._burst = self._controller.burst
        self._wait = -int(-exact(dram.controller_ns) * FS_PER_NS // 1)
        fs_per_cycle = Fraction(FS_PER_NS) / exact(config.array.clock_ghz)
        self._fs, self._cycles = fs_per_cycle.numerator, fs_per_cycle.denominator

    def lay_out(self, sizes_bytes: Mapping[str, int]) -> None:
        """Put the streams of an operand one behind the other, from a row of their own on."""
        self._controller.lay_out(
            {name: ceil_div(size, self.burst_bytes) for name, size in sizes_bytes.items()}
        )

    def read(self, size_bytes: int, stream: str | None = None) -> int:
        """Reserve a read now; the absolute cycle at which its last byte has arrived."""
        return self.transfer(size_bytes, write=False, stream=stream).done_cycle

    def write(self, size_bytes: int, stream: str | None = None) -> int:
        """Reserve a write now; the absolute cycle at which the memory has taken its last byte."""
        return self.transfer(size_bytes, write=True, stream=stream).done_cycle

    def transfer(self, size_bytes: int, *, write: bool, stream: str | None = None) -> Transfer:
        """Reserve a run of ``size_bytes``, rounded up to whole bursts, at the current cycle.

        Raises:
            ValueError: if ``size_bytes`` is negative.
        """
        if size_bytes < 0:
            raise ValueError(f"{self.path}: size_bytes must not be negative, got {size_bytes}")
        now = int(self.env.now)
        bursts = -(-size_bytes // self.burst_bytes)
        counters = self.counters
        counters["write_bytes" if write else "read_bytes"] += bursts * self.burst_bytes
        if not bursts:
            return Transfer(start_cycle=now, first_cycle=now, done_cycle=now)
        counters["requests"] += 1
        if self._ideal:
            return Transfer(start_cycle=now, first_cycle=now, done_cycle=now)
        free_before = self._controller.free if self._timeline else None
        begin, end, misses, turns = self._controller.serve(
            self._arrival(now), stream, bursts, write
        )
        counters["row_misses"] += misses
        counters["row_hits"] += bursts - misses
        counters["turnarounds"] += turns
        if free_before is not None:
            self._draw("write" if write else "read", begin, free_before)
        origin, cycles, fs = self._origin, self._cycles, self._fs
        # A write buffer with room takes data at once; by rounding never before it is there.
        done = max(now, origin - (-end * cycles // fs))
        self._is_asked(now, done)
        first = origin - (-(begin + self._burst) * cycles // fs)
        moved = Transfer(origin + begin * cycles // fs, first, done)
        if self._timeline is not None:
            # One request after the other at the peak: writes that wait in buffers move some time.
            start = max(self._drawn_until, float(moved.start_cycle))
            least = bursts * self._burst * self._cycles / (self._fs * self._channels)
            self._drawn_until = start + least
            self._timeline.moved(start, self._drawn_until, bursts * self.burst_bytes)
        return moved

    def restart(self) -> None:
        """From now on be a memory at rest that has just been switched on: nothing has a place."""
        self._controller = make_controller(self._config)
        self._origin = int(self.env.now)

    def finish(self) -> int:
        """Write what still waits in write buffers; the absolute cycle at which all has moved."""
        now = int(self.env.now)
        if self._ideal:
            return now
        free_before = self._controller.free if self._timeline else None
        end, misses, turns = self._controller.flush(self._arrival(now))
        self.counters["row_misses"] += misses
        self.counters["row_hits"] -= misses
        self.counters["turnarounds"] += turns
        if free_before is not None:
            self._draw("write", 0, free_before)
        done = self._origin + ceil_div(end * self._cycles, self._fs)
        self._is_asked(now, done)
        return done

    @property
    def booked_cycle(self) -> int:
        """The cycle from which on no pin is booked; it may be past."""
        if self._ideal:
            return 0
        return self._origin + ceil_div(int(self._controller.free.max()) * self._cycles, self._fs)

    @property
    def asked_cycles(self) -> int:
        """Cycles in which something was asked for that had not all moved, from first to last."""
        return self._asked

    def _is_asked(self, now: int, until: int) -> None:
        if until > self._asked_until:
            self._asked += max(0, until - max(now, self._asked_until))
            self._asked_until = until

    @property
    def busy_cycles(self) -> int:
        """Cycles in which data moved so far, as a mean over the channels, rounded down."""
        if self._ideal:
            return 0
        bursts = (self.counters["read_bytes"] + self.counters["write_bytes"]) // self.burst_bytes
        return bursts * self._burst * self._cycles // (self._fs * self._channels)

    def _arrival(self, now: int) -> int:
        """When a request of this cycle reaches the channels, in fs."""
        return ceil_div((now - self._origin) * self._fs, self._cycles) + self._wait

    def _draw(self, name: str, begin: int, free_before: np.ndarray) -> None:
        """Put the channels a request used on the timeline, from its first data on any of them.

        What fits in a gap before data that is placed already has no mark of its own.
        """
        assert self._timeline is not None
        free = self._controller.free
        for channel in np.flatnonzero(free > free_before).tolist():
            end = int(free[channel]) * self._cycles // self._fs
            start = max(begin, int(free_before[channel])) * self._cycles // self._fs
            start = min(start, end)  # what a write buffer gave up to make room came before
            track, origin = f"{self.path}/channel {channel}", self._origin
            self._timeline.span(track, name, origin + start, origin + end)
