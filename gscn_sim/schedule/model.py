"""What the fabric executes: for each gang of PEs, rounds of computing, loading and draining.

A *gang* is a set of PEs that share one stream of operands. A *round* is one accumulator group on
each of the gang's PEs. Rounds with the same *fill* work on the same stationary operand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gscn_sim.config.view import key
from gscn_sim.problem.geometry import Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """All of a machine's configuration that schedules depend on: what moves, and at what rate."""

    value_bytes: int = key("pe.value_bytes")
    index_bits: int = key("pe.index_bits")
    stationary_buffer_bytes: int = key("pe.stationary_buffer_bytes")
    buffer_bytes: int = key("buffer.size_bytes")
    rounds_ahead: int = key("buffer.rounds_ahead")
    partial_sums_per_cycle: int = key("network.partial_sums_per_cycle")
    drain_entries_per_cycle: int = key("drain.entries_per_cycle")
    tile_rule: str = key("mapping.tile_rule")
    barrier: str = key("policy.barrier")
    dispatch_latency: int = key("network.dispatch_latency")

    def entry_bytes(self, entries: Any) -> Any:
        """Bytes of compressed entries: a value and a zero-run length each."""
        bits = 8 * self.value_bytes + self.index_bits
        return -(-entries * bits // 8)

    def drain_cycles(self, entries: Ints) -> Ints:
        """Cycles in which a PE post-processes partial sums; 0 if that never limits."""
        rate = self.drain_entries_per_cycle
        return -(-entries // rate) if rate else np.zeros_like(entries)


@dataclass(frozen=True, kw_only=True)
class Lists:
    """The streamed lists of a gang's rounds, one for each stationary channel, in order.

    Rounds that cost the same share a *pattern*.

    Attributes:
        pattern: [rounds] index into the others.
        cycles: [patterns] -> [pes, lists] what each list costs each PE.
        entries: [patterns] -> [lists] length of each.
    """

    pattern: list[int]
    cycles: list[Ints]
    entries: list[Ints]


@dataclass(frozen=True, kw_only=True)
class Gang:
    """The rounds of one gang; all arrays are per round, ``cycles`` per (PE, round).

    Attributes:
        pes: PE numbers. busy_cycles: [pes, rounds] cycles of the multiplier arrays.
        lockstep_cycles: cycles of the whole gang where it meets after every channel, else -1.
        fill: index of the stationary fill a round needs.
        stream_bytes: streamed operand sent over the network for the round.
        stream_dram_bytes: part of it that must first come from DRAM.
        exchange_cycles, drain_cycles: halo exchange or reduction, and post-processing, of one PE.
        output_bytes: bytes written to DRAM at the end of the round.
        lists: what keeps the PEs near each other where their FIFOs do, else None.
    """

    pes: Ints
    busy_cycles: Ints
    lockstep_cycles: Ints
    fill: Ints
    stream_bytes: Ints
    stream_dram_bytes: Ints
    exchange_cycles: Ints
    drain_cycles: Ints
    output_bytes: Ints
    exchanged_sums: Ints
    drained_entries: Ints
    lists: Lists | None = None

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return len(self.fill)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """All gangs, and the stationary fills that they share.

    ``fill_bytes`` [fills] go over the network, in order for each ``fill_owner`` (a gang, or -1 if
    several use it: one broadcast reaches them all); ``fill_dram_bytes`` of them come from DRAM, the
    rest lies in the global buffer. The PEs' buffers hold ``fills_held`` of them at a time, so that
    the next ones can be loaded while the present one is used. ``rounds_ahead`` is how many rounds
    ahead the global buffer has room to read streams; it takes at most ``buffer_bytes`` of it for
    what stays and what is read ahead. ``counters`` are the kernels' totals over the
    whole layer-phase.
    """

    gangs: list[Gang]
    fill_bytes: Ints
    fill_dram_bytes: Ints
    fill_owner: Ints
    fills_held: int
    rounds_ahead: int
    counters: Ints
    stationary_reads: int
    streamed_reads: int
    buffer_bytes: int = 0

    @property
    def busiest_cycles(self) -> int:
        """Cycles that the busiest PE computes."""
        return max(int(gang.busy_cycles.sum(1).max()) for gang in self.gangs)

    def dram_bytes(self, burst_bytes: int) -> tuple[int, int]:
        """Bytes to be read and to be written, in whole bursts."""
        reads = int((-(-self.fill_dram_bytes // burst_bytes)).sum())
        writes = 0
        for gang in self.gangs:
            reads += int((-(-gang.stream_dram_bytes // burst_bytes)).sum())
            writes += int((-(-gang.output_bytes // burst_bytes)).sum())
        return reads * burst_bytes, writes * burst_bytes

    def without_dram(self, *, stationary: bool) -> Schedule:
        """The same with one operand in the global buffer from the beginning."""
        if stationary:
            return replace(self, fill_dram_bytes=np.zeros_like(self.fill_dram_bytes))
        gangs = [
            replace(gang, stream_dram_bytes=np.zeros_like(gang.stream_dram_bytes))
            for gang in self.gangs
        ]
        return replace(self, gangs=gangs)


def fill_owners(gangs: list[Gang], fills: int) -> Ints:
    """[fills] the gang that alone uses each fill, or -1 if several do."""
    owners = np.full(fills, -2, np.int64)  # -2: nobody yet
    for number, gang in enumerate(gangs):
        used = np.unique(gang.fill)
        owners[used] = np.where(owners[used] == -2, number, -1)
    return owners
