"""What one simulated layer-phase reports: cycles, slots, traffic and activity, all exact ints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from gscn_sim.errors import IdentityError
from workloads import Layer, LayerShape, Phase

BOUND = "cycles not below bounds"


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
class Identity:
    """Something that must hold whatever the machine is: what was expected, what was found."""

    name: str
    expected: int | str
    got: int | str
    holds: bool

    @classmethod
    def equal(cls, name: str, expected: int, got: int) -> Identity:
        """That two counts are the same."""
        return cls(name=name, expected=expected, got=got, holds=expected == got)


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseRecord:
    """One layer-phase of one recorded iteration on one machine.

    ``batch_size`` is the iteration's; a pre-phase works on one sample for each such batch.
    Each PE computes for ``pe_busy_cycles``, waits for operands or output for ``pe_stalled_cycles``,
    and is idle while others work for ``pe_idle_cycles``. The scheduled bytes are those that the
    schedule says must move, in whole bursts. The densities are of the layer's recorded masks, None
    for an operand that was not recorded. ``products_by_sample`` are the useful products of each
    recorded sample.
    """

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
    scheduled_read_bytes: int
    scheduled_write_bytes: int
    pe_busy_cycles: tuple[int, ...]
    pe_stalled_cycles: tuple[int, ...]
    pe_idle_cycles: tuple[int, ...]
    activation_density: float | None = None
    gradient_density: float | None = None
    products_by_sample: tuple[int, ...] = ()

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

    def identities(self) -> tuple[Identity, ...]:
        """What must add up in every record, as rows."""
        cycles, slots = self.cycles, self.slots
        total = self.num_pes * self.multipliers * cycles
        least = min(fields(slots), key=lambda f: getattr(slots, f.name)).name
        smallest = getattr(slots, least)
        bound = max(self.compute_bound_cycles, self.dram_bound_cycles)
        parts = (self.pe_busy_cycles, self.pe_stalled_cycles, self.pe_idle_cycles)
        odd = next((sum(pe) for pe in zip(*parts, strict=True) if sum(pe) != cycles), cycles)
        return (
            Identity.equal("slots add up", total, slots.total),
            Identity(
                name="no negative slots",
                expected=">= 0",
                got=smallest if smallest >= 0 else f"{smallest} {least}",
                holds=smallest >= 0,
            ),
            Identity.equal("useful products as in masks", self.useful_products, slots.useful),
            Identity(
                name=BOUND,
                expected=f">= {bound}",
                got=cycles,
                holds=cycles >= bound,
            ),
            Identity.equal(
                "DRAM bytes read as scheduled", self.scheduled_read_bytes, self.dram_read_bytes
            ),
            Identity.equal(
                "DRAM bytes written as scheduled",
                self.scheduled_write_bytes,
                self.dram_write_bytes,
            ),
            Identity.equal("every PE busy, stalled or idle", cycles, odd),
        )

    def check(self, *, alone: bool = True) -> None:
        """Check the identities; beside others in a step a layer has no bound of its own.

        Raises:
            IdentityError: naming layer, phase and the first that does not hold.
        """
        for row in self.identities():
            if not row.holds and (alone or row.name != BOUND):
                raise IdentityError(
                    f"{self.layer} {self.phase}: {row.name}: expected {row.expected}, got {row.got}"
                )


def same_or_mean(values: Sequence[int]) -> float:
    """The one value that all of them have (an int), else their mean."""
    return values[0] if len(set(values)) == 1 else sum(values) / len(values)


def facts_of_layer(layer: Layer, batch_size: int) -> dict[str, Any]:
    """Fields of a record that are the layer's and its iteration's, whatever its phase costs."""
    return {
        "batch_size": batch_size,
        "layer": layer.name,
        "shape": layer.shape,
        "iteration": layer.iteration,
        "activation_density": layer.activation and layer.activation.density,
        "gradient_density": layer.gradient and layer.gradient.density,
    }
