"""The memory's section of a machine's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from gscn_sim.config.fields import check_fields, choice, count, real
from gscn_sim.errors import ConfigError
from gscn_sim.units import exact


@dataclass(frozen=True, kw_only=True, slots=True)
class DramConfig:
    """Off-chip memory: organisation and timing of its channels (default: ``gddr5x-484``)."""

    kind: str = choice(
        "gddr5x", "what it is; ideal never limits",
        "gddr5", "gddr5x", "hbm2", "hbm3", "hbm3e", "ddr4", "lpddr4", "ideal",
    )  # fmt: skip
    scheduler: str = choice(
        "fr-fcfs",
        "which waiting request is served: the first, or the first that is ready",
        "fcfs",
        "fr-fcfs",
    )
    channels: int = count(11, "independent channels", maximum=1024)
    channel_bits: int = count(32, "data pins of a channel", maximum=4096)
    transfers_gtps: float = real(
        11.0, "transfers a second and pin, in 10^9", minimum=0.01, maximum=1000.0
    )
    burst_bytes: int = count(64, "bytes of one burst: the least that moves", maximum=4096)
    interleave_bytes: int = count(
        4096, "consecutive bytes in one channel before the next", maximum=1 << 20
    )
    banks: int = count(16, "banks of a channel", maximum=1024)
    bank_groups: int = count(
        1, "groups of banks between which consecutive bursts of a channel alternate", maximum=64
    )
    row_bytes: int = count(4096, "bytes of an open row", maximum=1 << 20)
    queue_bursts: int = count(
        32, "fr-fcfs: bursts that wait in a channel before they reach a bank's queue", maximum=1024
    )
    bank_queue_bursts: int = count(
        8, "fr-fcfs: bursts that wait at a bank and are served as they are ready", maximum=256
    )
    row_activate_ns: float = real(11.99, "tRCD: open a row to read", minimum=0.0, maximum=1000.0)
    write_activate_ns: float = real(
        9.99, "fr-fcfs: tRCD of a row opened to write", minimum=0.0, maximum=1000.0
    )
    row_precharge_ns: float = real(11.99, "tRP: close a row", minimum=0.0, maximum=1000.0)
    row_active_ns: float = real(
        27.97, "tRAS: least time a row stays open", minimum=0.0, maximum=1000.0
    )
    activate_interval_ns: float = real(
        5.99, "between rows opened in a channel: tRRD or tFAW / 4", minimum=0.0, maximum=1000.0
    )
    column_ns: float = real(15.98, "CAS latency", minimum=0.0, maximum=1000.0)
    write_column_ns: float = real(
        4.66, "fr-fcfs: CAS latency of a write", minimum=0.0, maximum=1000.0
    )
    read_to_precharge_ns: float = real(
        2.0, "fr-fcfs: tRTP, from a read to closing its row", minimum=0.0, maximum=1000.0
    )
    write_recovery_ns: float = real(
        11.99, "tWR: from a write to closing its row", minimum=0.0, maximum=1000.0
    )
    write_to_read_ns: float = real(5.33, "tWTR: written data to read", minimum=0.0, maximum=1000.0)
    read_to_write_ns: float = real(
        1.34, "data pins turn from reading to writing", minimum=0.0, maximum=1000.0
    )
    write_batch_bursts: int = count(
        32, "bursts the write queue of a channel gathers before it turns", maximum=1 << 20
    )
    refresh_ns: float = real(65.27, "tRFC: one refresh", minimum=0.0, maximum=10000.0)
    refresh_interval_ns: float = real(
        7791.53, "tREFI: from refresh to refresh", minimum=1.0, maximum=1e6
    )
    controller_ns: float = real(
        20.0, "from a request to its first command, and back", minimum=0.0, maximum=10000.0
    )

    def __post_init__(self) -> None:
        check_fields(self, "dram")
        for name in ("row_bytes", "interleave_bytes"):
            value = getattr(self, name)
            if value % self.burst_bytes:
                raise ConfigError(
                    f"dram.{name} must be a multiple of dram.burst_bytes ({self.burst_bytes}), "
                    f"got {value}"
                )
        if self.banks % self.bank_groups:
            raise ConfigError(
                f"dram.banks must be a multiple of dram.bank_groups ({self.bank_groups}), "
                f"got {self.banks}"
            )
        if self.refresh_gap_ns >= self.refresh_interval_ns:
            raise ConfigError(
                f"dram.refresh_interval_ns must be above {self.refresh_gap_ns:g}, the time a "
                f"refresh takes from the data pins, got {self.refresh_interval_ns}"
            )

    @property
    def peak_gbps(self) -> float:
        """Peak bandwidth in 10^9 bytes a second."""
        return self.channels * self.channel_bits / 8 * self.transfers_gtps

    @property
    def exact_peak_gbps(self) -> Fraction:
        """Peak bandwidth in bytes a nanosecond, of the decimal numbers given."""
        return self.channels * self.channel_bits * exact(self.transfers_gtps) / 8

    @property
    def refresh_gap_ns(self) -> float:
        """Time without data around one refresh: close the rows, refresh, open one, first data."""
        return self.row_precharge_ns + self.refresh_ns + self.row_activate_ns + self.column_ns
