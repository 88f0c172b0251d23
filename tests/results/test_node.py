"""Area and power in other processes: by hand, and in order."""

from __future__ import annotations

import pytest

from gscn_sim import load_config
from gscn_sim.errors import ConfigError
from gscn_sim.results.energy import AreaBreakdown, area_mm2
from gscn_sim.results.node import LOGIC, MEMORY, adders_mm2, area_at, nodes, power_at


def test_every_part_is_logic_or_memory() -> None:
    assert sorted(LOGIC + MEMORY) == sorted(AreaBreakdown.__dataclass_fields__)


def test_area_in_16_nm_is_the_area_and_the_adders() -> None:
    """7,168 adders of 4,184 um2 in 45 nm, 19 % of it in 16."""
    config = load_config("gscn")
    assert adders_mm2(config) == pytest.approx(7168 * 4184e-6 * 0.19)
    found = area_at(config, 16)
    assert found.low == found.high == pytest.approx(area_mm2(config).total + adders_mm2(config))


def test_smaller_processes_by_hand() -> None:
    """80 billion transistors on 814 mm2 against 12 billion on 471; cells of 0.021 and 0.07 um2."""
    config = load_config("gscn")
    area = area_mm2(config)
    memory = area.stationary_buffer + area.streamed_fifo + area.accumulators + area.global_buffer
    logic = area.total - memory + adders_mm2(config)
    high = logic * (12 / 471) / (80 / 814) + memory * 0.021 / 0.07
    low = logic * 0.31 / 1.84 + memory * 0.021 / 0.074
    assert area_at(config, 5).high == pytest.approx(high, rel=0.01)
    assert area_at(config, 5).low == pytest.approx(low, rel=0.01)


def test_power_by_hand() -> None:
    """1 J on the chip and 0.5 J of DRAM in 10 ms: 4 to 75 W and 50 W."""
    found = power_at(1.0, 0.5, 0.01, 5)
    assert (found.low, found.high) == pytest.approx((4 + 50, 75 + 50))


def test_a_smaller_process_is_never_worse() -> None:
    config = load_config("gscn-bf16")
    for ends in ("low", "high"):
        areas = [getattr(area_at(config, node), ends) for node in nodes()]
        powers = [getattr(power_at(1.0, 0.1, 1.0, node), ends) for node in nodes()]
        assert areas == sorted(areas, reverse=True)
        assert powers == sorted(powers, reverse=True)


def test_unknown_process() -> None:
    with pytest.raises(ConfigError, match="node must be one of 16, 7, 5 nm, got 3"):
        area_at(load_config("gscn"), 3)


def test_the_design_of_2026_is_within_the_limits_of_an_h100() -> None:
    config = load_config("gscn-2026")
    assert config.on_chip_bytes <= (50 << 20) + (33 << 20)
    assert config.dram.peak_gbps <= 3350
    assert area_at(config, 5).high <= 814
