"""What one simulated layer-phase reports: cycles, slots, traffic and activity, all exact ints."""

from __future__ import annotations

from dataclasses import dataclass, fields

from gscn_sim.errors import IdentityError
from workloads import LayerShape, Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """Where every multiplier slot of a layer-phase went.

    One slot is one multiplier for one cycle; all slots are PEs * F * I * cycles.
    """

    useful: int = 0
    redundant: int = 0
    placeholder: int = 0
    fragmentation: int = 0
    bank_conflict: int = 0
    operand_wait: int = 0
    output_wait: int = 0
    imbalance: int = 0

    @property
    def total(self) -> int:
        """Sum over all causes."""
        return sum(getattr(self, f.name) for f in fields(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """How often each part of the machine worked, for the energy account.

    Bytes are whole bytes of compressed data; a placeholder is neither multiplied nor accumulated.
    """

    multiplications: int = 0
    accumulations: int = 0
    stationary_read_bytes: int = 0
    stationary_write_bytes: int = 0
    streamed_read_bytes: int = 0
    streamed_write_bytes: int = 0
    buffer_read_bytes: int = 0
    buffer_write_bytes: int = 0
    network_bytes: int = 0
    partial_sums_exchanged: int = 0
    drained_entries: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseRecord:
    """One layer-phase of one recorded iteration on one machine."""

    network: str
    iteration: int
    layer: str
    phase: Phase
    shape: LayerShape
    dataflow: str
    mapping: str
    mapping_reason: str
    batch_size: int
    samples_recorded: int
    num_pes: int
    multipliers: int
    cycles: int
    dense_macs: int
    useful_products: int
    steps: int
    slots: Slots
    activity: Activity
    compute_bound_cycles: int
    dram_bound_cycles: int
    pe_busy_cycles: tuple[int, ...]

    @property
    def dram_read_bytes(self) -> int:
        """Bytes read from DRAM, rounded to bursts."""
        return self.activity.dram_read_bytes

    @property
    def dram_write_bytes(self) -> int:
        """Bytes written to DRAM, rounded to bursts."""
        return self.activity.dram_write_bytes

    @property
    def utilization(self) -> float:
        """Useful slots / all slots."""
        return self.slots.useful / self.slots.total if self.slots.total else 0.0

    def check(self) -> None:
        """Check the identities that every record must meet.

        Raises:
            IdentityError: naming layer, phase and what does not add up.
        """
        where = f"{self.layer} {self.phase}"
        total = self.num_pes * self.multipliers * self.cycles
        if self.slots.total != total:
            raise IdentityError(f"{where}: slots add up to {self.slots.total}, not to {total}")
        for field in fields(self.slots):
            if getattr(self.slots, field.name) < 0:
                raise IdentityError(f"{where}: negative slots_{field.name}")
        if self.slots.useful != self.useful_products:
            raise IdentityError(
                f"{where}: {self.slots.useful} useful slots, {self.useful_products} useful products"
            )
        if self.cycles < max(self.compute_bound_cycles, self.dram_bound_cycles):
            raise IdentityError(
                f"{where}: {self.cycles} cycles is below a bound (compute "
                f"{self.compute_bound_cycles}, DRAM {self.dram_bound_cycles})"
            )
