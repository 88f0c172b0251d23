"""Energy of a layer-phase from how often each part of the machine worked; area of a machine."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields

from gscn_sim.config import Config, load_config
from gscn_sim.results.record import Activity
from gscn_sim.results.synthesis import comparators_kge, crossbar_kge
from gscn_sim.results.unit_costs import dram_pj_per_bit, power_law, value

_JOULES = 1e-12  # of a picojoule


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyBreakdown:
    """Dynamic energy of each component in joules (45 nm; static power is not in it)."""

    multipliers: float
    accumulators: float
    crossbar: float
    stationary_buffer: float
    streamed_fifo: float
    global_buffer: float
    network: float
    drain: float
    dram: float

    @property
    def on_chip(self) -> float:
        """All but the DRAM."""
        return self.total - self.dram

    @property
    def total(self) -> float:
        """Sum over all components."""
        return float(sum(getattr(self, f.name) for f in fields(self)))


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitEnergies:
    """Joules of one multiplication, one byte moved, and so on."""

    multiplication: float
    accumulation: float
    crossing: float
    stationary_byte: float
    streamed_byte: float
    buffer_byte: float
    network_byte: float
    exchanged_sum: float
    drained_entry: float
    dram_byte: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaBreakdown:
    """Square millimetres of each component, over all PEs, in 16 nm."""

    multipliers: float
    crossbar: float
    comparators: float
    stationary_buffer: float
    streamed_fifo: float
    accumulators: float
    control: float
    global_buffer: float

    @property
    def pes(self) -> float:
        """All PEs."""
        return self.total - self.global_buffer

    @property
    def total(self) -> float:
        """The whole chip but for its memory interface."""
        return float(sum(getattr(self, f.name) for f in fields(self)))


def energy_j(activity: Activity, config: Config) -> EnergyBreakdown:
    """Dynamic energy of an activity on a machine, by component, in joules."""
    unit, a = unit_energies(config), activity
    stationary = a.stationary_read_bytes + a.stationary_write_bytes
    streamed = a.streamed_read_bytes + a.streamed_write_bytes
    buffer = a.buffer_read_bytes + a.buffer_write_bytes
    exchanged = a.partial_sums_exchanged * unit.exchanged_sum
    return EnergyBreakdown(
        multipliers=a.multiplications * unit.multiplication,
        accumulators=a.accumulations * unit.accumulation,
        crossbar=a.accumulations * unit.crossing,
        stationary_buffer=stationary * unit.stationary_byte,
        streamed_fifo=streamed * unit.streamed_byte,
        global_buffer=buffer * unit.buffer_byte,
        network=a.network_bytes * unit.network_byte + exchanged,
        drain=a.drained_entries * unit.drained_entry,
        dram=(a.dram_read_bytes + a.dram_write_bytes) * unit.dram_byte,
    )


def unit_energies(config: Config) -> UnitEnergies:
    """What each thing that a machine does takes, in joules.

    Unit costs, their sources and the rules between the cited points: ``data/unit_costs.toml`` and
    the page on energy and area. Arithmetic is floating point of the configured widths.
    """
    pe = config.pe
    sum_bits = 8 * pe.partial_sum_bytes
    fifo_bytes = pe.streamed_fifo_entries * (8 * pe.value_bytes + pe.index_bits) / 8
    bank_bytes = pe.accumulator_entries * pe.partial_sum_bytes / pe.accumulator_banks
    bank_access = sum_bits * sram_pj_per_bit(bank_bytes)
    wire = value("wire_pj_per_bit_mm")
    chip_mm, pe_mm = _side_mm(config, config.num_pes), _side_mm(config, 1)
    crossbar_mm = _at_energy_node(math.sqrt(_crossbar_mm2(config)))
    picojoules = {
        "multiplication": power_law("multiply_pj", 8 * pe.value_bytes),
        "accumulation": power_law("add_pj", sum_bits) + 2 * bank_access,
        "crossing": sum_bits * wire * crossbar_mm,
        "stationary_byte": 8 * sram_pj_per_bit(pe.stationary_buffer_bytes),
        "streamed_byte": 8 * sram_pj_per_bit(fifo_bytes),
        "buffer_byte": 8 * sram_pj_per_bit(config.buffer.size_bytes),
        "network_byte": 8 * wire * chip_mm,
        "exchanged_sum": sum_bits * wire * pe_mm,
        "drained_entry": bank_access + value("postprocess_pj"),
        "dram_byte": 8 * dram_pj_per_bit(config.dram.kind),
    }
    return UnitEnergies(**{name: pj * _JOULES for name, pj in picojoules.items()})


def area_mm2(config: Config) -> AreaBreakdown:
    """Area of a design in mm2, in 16 nm.

    Scaled from SCNN's PE: a multiplier with the square of its width, the crossbar with its bank
    queues as synthesis says (:func:`crossbar_kge`), memory with its bytes, all else (control,
    coordinates) with the multipliers. Range comparators come from their gates.
    """
    pe, n = config.pe, config.num_pes
    per_byte = _memory_mm2_per_byte()
    multipliers = value("pe_multipliers_mm2")
    control = value("pe_mm2") * (1 - value("pe_memory_share"))
    control -= multipliers + value("pe_crossbar_mm2")
    count = pe.multipliers / value("pe_multiplier_count")
    width = 8 * pe.value_bytes / value("pe_operand_bits")
    fifo_bits = pe.streamed_fifo_entries * (8 * pe.value_bytes + pe.index_bits)
    return AreaBreakdown(
        multipliers=n * multipliers * count * width**2,
        crossbar=n * _crossbar_mm2(config),
        comparators=n * comparators_kge(config) * multipliers / value("multipliers_kge"),
        stationary_buffer=n * pe.stationary_buffer_bytes * per_byte,
        streamed_fifo=n * -(-fifo_bits // 8) * per_byte,
        accumulators=n * 2 * pe.accumulator_entries * pe.partial_sum_bytes * per_byte,
        control=n * control * count,
        global_buffer=config.buffer.size_bytes * per_byte,
    )


def _memory_mm2_per_byte() -> float:
    """Area of a byte of memory, as a mean over the memories of SCNN's PE."""
    return value("pe_mm2") * value("pe_memory_share") / value("pe_memory_bytes")


def _crossbar_mm2(config: Config) -> float:
    """Area of one PE's crossbar from its multipliers to its accumulator banks, and their queues."""
    return value("pe_crossbar_mm2") * crossbar_kge(config) / crossbar_kge(_scnn())


@functools.cache
def _scnn() -> Config:
    """The PE that the published crossbar is of; its queues are taken as in its preset."""
    return load_config("scnn")


def sram_pj_per_bit(capacity_bytes: float) -> float:
    """Energy of one bit read from or written to an SRAM of a capacity."""
    return power_law("sram_pj", capacity_bytes) / 64


def _side_mm(config: Config, pes: int) -> float:
    """Side of a square of so many PEs, in the process the energy figures are of."""
    return _at_energy_node(math.sqrt(area_mm2(config).pes * pes / config.num_pes))


def _at_energy_node(length_mm: float) -> float:
    return length_mm * value("energy_node_nm") / value("area_node_nm")
