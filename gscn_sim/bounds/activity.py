"""How often each part of a machine works at least: the lower bound of its energy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from gscn_sim.bounds.cycles import dram_bytes, network_bytes, steps_of
from gscn_sim.bounds.machine import BoundedMachine, Number
from gscn_sim.bounds.work import Work
from gscn_sim.results.energy import UnitEnergies
from gscn_sim.results.record import Activity


@dataclass(frozen=True, kw_only=True, slots=True)
class LeastActivity:
    """Fields of :class:`gscn_sim.results.record.Activity` that are above 0 whatever the plan.

    ``dram_bytes`` are those read and written together.
    """

    multiplications: Number
    accumulations: Number
    stationary_write_bytes: Number
    streamed_read_bytes: Number
    streamed_write_bytes: Number
    buffer_read_bytes: Number
    network_bytes: Number
    drained_entries: Number
    dram_bytes: Number

    @classmethod
    def of(cls, activity: Activity) -> Self:
        """What parts of a machine did, of what is counted here."""
        moved = activity.dram_read_bytes + activity.dram_write_bytes
        names = (f.name for f in fields(cls) if f.name != "dram_bytes")
        return cls(**{name: getattr(activity, name) for name in names}, dram_bytes=moved)

    def times(self, factor: float) -> Self:
        """All of it so many times."""
        return type(self)(**{f.name: factor * getattr(self, f.name) for f in fields(self)})

    def plus(self, other: Self | None) -> Self:
        """The sum of both."""
        if other is None:
            return self
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return type(self)(**sums)

    def least(self, other: Self) -> Self:
        """The lesser of each."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return type(self)(**{name: np.minimum(*pair) for name, pair in pairs.items()})

    def energy_j(self, unit: UnitEnergies) -> Number:
        """Its dynamic energy; fields of ``unit`` may be arrays."""
        on_chip = (
            self.multiplications * unit.multiplication
            + self.accumulations * (unit.accumulation + unit.crossing)
            + self.stationary_write_bytes * unit.stationary_byte
            + (self.streamed_read_bytes + self.streamed_write_bytes) * unit.streamed_byte
            + self.buffer_read_bytes * unit.buffer_byte
            + self.network_bytes * unit.network_byte
            + self.drained_entries * unit.drained_entry
        )
        return on_chip + self.dram_bytes * unit.dram_byte


def least_activity(work: Work, machine: BoundedMachine) -> LeastActivity:
    """What a layer-phase makes the parts of a machine do at least.

    Each operand is sent once, and enters the memory of some PE; each step reads a whole streamed
    vector; each useful product is formed and added.
    """
    sent = network_bytes(work, machine)
    entry = machine.entry_bytes
    streamed = work.streamed_entries if machine.tile_rule == "exact" else 0
    return LeastActivity(
        multiplications=work.useful,
        accumulations=work.useful,
        stationary_write_bytes=work.stationary_entries * entry,
        streamed_read_bytes=steps_of(work, machine) * machine.streamed_vector * entry,
        streamed_write_bytes=streamed * entry,
        buffer_read_bytes=sent,
        network_bytes=sent,
        drained_entries=work.drained_sums,
        dram_bytes=dram_bytes(work, machine),
    )
