"""Area and power of a design in another process, as ranges: published factors differ."""

from __future__ import annotations

from dataclasses import dataclass

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.results.energy import area_mm2
from gscn_sim.results.unit_costs import unit_costs, value

LOGIC = ("multipliers", "crossbar", "comparators", "control")
MEMORY = ("stationary_buffer", "streamed_fifo", "accumulators", "global_buffer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Between what the most and the least favourable source says."""

    low: float
    high: float


def nodes() -> tuple[int, ...]:
    """The processes there are factors for, in nm."""
    return tuple(int(row["node_nm"]) for row in unit_costs()["node_energy"])


def area_at(config: Config, node_nm: int) -> Range:
    """Square millimetres of a design in a process, with floating-point adders in its banks.

    Logic and memories have factors of their own (``data/unit_costs.toml``). Not in it: memory
    interfaces, the vector unit, pads and clocks.

    Raises:
        ConfigError: there are no factors for the process.
    """
    area = area_mm2(config)
    logic = sum(getattr(area, name) for name in LOGIC) + adders_mm2(config)
    memory = sum(getattr(area, name) for name in MEMORY)
    of_logic, of_memory = (_factors(f"node_{part}_area", node_nm) for part in ("logic", "memory"))
    return Range(
        low=logic * of_logic.low + memory * of_memory.low,
        high=logic * of_logic.high + memory * of_memory.high,
    )


def adders_mm2(config: Config) -> float:
    """Floating-point adders of all banks in 16 nm, in proportion to their width."""
    each_um2 = value("fp32_adder_um2") * config.pe.partial_sum_bytes / 4
    count = config.num_pes * config.pe.accumulator_banks
    return count * each_um2 * value("logic_area_45_to_16") * 1e-6


def power_at(on_chip_j: float, dram_j: float, seconds: float, node_nm: int) -> Range:
    """Mean dynamic power in W: on the chip by the process, DRAM as it is; no static power.

    Args:
        on_chip_j, dram_j: as :func:`gscn_sim.results.energy.energy_j` has them, in 45 nm.

    Raises:
        ConfigError: there are no factors for the process.
    """
    of_energy = _factors("node_energy", node_nm)
    return Range(
        low=(on_chip_j * of_energy.low + dram_j) / seconds,
        high=(on_chip_j * of_energy.high + dram_j) / seconds,
    )


def _factors(table: str, node_nm: int) -> Range:
    for row in unit_costs()[table]:
        if row["node_nm"] == node_nm:
            return Range(low=float(row["low"]), high=float(row["value"]))
    raise ConfigError(f"node must be one of {', '.join(map(str, nodes()))} nm, got {node_nm}")
