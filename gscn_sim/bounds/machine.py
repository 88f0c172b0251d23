"""What bounds read of a machine: one, or many that agree in their names, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gscn_sim.config.view import key

Number = Any
"""A number, or an array with an element for each machine."""
IDEAL = "ideal"


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundedMachine:
    """All of a machine's configuration that bounds depend on.

    Fields that are names are the same for all machines; any other may be an array.
    """

    pe_rows: Number = key("array.pe_rows")
    pe_cols: Number = key("array.pe_cols")
    clock_ghz: Number = key("array.clock_ghz")
    streamed_vector: Number = key("pe.streamed_vector")
    stationary_vector: Number = key("pe.stationary_vector")
    value_bytes: Number = key("pe.value_bytes")
    index_bits: Number = key("pe.index_bits")
    buffer_bytes: Number = key("buffer.size_bytes")
    operand_bytes_per_cycle: Number = key("network.operand_bytes_per_cycle")
    drain_entries_per_cycle: Number = key("drain.entries_per_cycle")
    drain_overlap: Number = key("drain.overlap")
    dram_peak_gbps: Number = key("dram.peak_gbps")
    dram_controller_ns: Number = key("dram.controller_ns")
    dram_row_activate_ns: Number = key("dram.row_activate_ns")
    dram_column_ns: Number = key("dram.column_ns")
    dram_refresh_interval_ns: Number = key("dram.refresh_interval_ns")
    dram_refresh_gap_ns: Number = key("dram.refresh_gap_ns")
    dram_kind: str = key("dram.kind")
    mapping_kind: str = key("mapping.kind")
    tile_rule: str = key("mapping.tile_rule")

    @property
    def num_pes(self) -> Number:
        """PEs of the array."""
        return self.pe_rows * self.pe_cols

    @property
    def multipliers(self) -> Number:
        """Multipliers of a PE."""
        return self.streamed_vector * self.stationary_vector

    @property
    def entry_bytes(self) -> Number:
        """Bytes of a compressed entry."""
        return self.value_bytes + self.index_bits / 8

    @property
    def latency_cycles(self) -> Number:
        """Cycles from a read to its first data, from a row that is not open."""
        if self.dram_kind == IDEAL:
            return 0
        ns = self.dram_controller_ns + self.dram_row_activate_ns + self.dram_column_ns
        return np.floor(ns * self.clock_ghz)

    def dram_cycles(self, size_bytes: Number) -> Number:
        """Cycles in which the memory can move so much: peak bandwidth but for refreshes."""
        if self.dram_kind == IDEAL:
            return 0
        ns = size_bytes / self.dram_peak_gbps
        whole = self.dram_refresh_interval_ns - self.dram_refresh_gap_ns
        # One part in 10^9 less, so that rounding here never counts a refresh too many.
        refreshes = np.floor(ns * (1 - 1e-9) / whole)
        return (ns + refreshes * self.dram_refresh_gap_ns) * self.clock_ghz

    def network_cycles(self, size_bytes: Number) -> Number:
        """Cycles in which the broadcast network moves so much; 0 if it never limits."""
        rate = self.operand_bytes_per_cycle
        return np.where(rate == 0, 0, size_bytes / np.maximum(rate, 1))

    def drain_cycles(self, sums: Number) -> Number:
        """Cycles in which a PE post-processes so many sums; 0 if that never limits."""
        rate = self.drain_entries_per_cycle
        return np.where(rate == 0, 0, sums / np.maximum(rate, 1))
