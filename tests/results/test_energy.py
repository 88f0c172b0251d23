"""Energy and area: cited points, figures worked out by hand, sums, and SCNN's published area."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gscn_sim.config import load_config
from gscn_sim.results.energy import EnergyBreakdown, area_mm2, energy_j, sram_pj_per_bit
from gscn_sim.results.record import Activity
from gscn_sim.results.synthesis import comparators_kge, crossbar_kge
from gscn_sim.results.unit_costs import power_law, unit_costs

COUNTS = [f.name for f in fields(Activity)]
# SCNN's output memory, 10 KB in each of 64 PEs, is the global buffer of this model.
MARKS = {"found", "derived", "assumed", "measured (Nangate45)"}
SCNN_BUFFER = {"buffer.size_bytes": 64 * 10240}


def picojoules(energy: EnergyBreakdown) -> dict[str, float]:
    return {f.name: 1e12 * getattr(energy, f.name) for f in fields(energy)}


def test_every_figure_has_a_mark_and_a_source() -> None:
    for name, entry in unit_costs().items():
        for row in entry if isinstance(entry, list) else [entry]:
            assert row["mark"] in MARKS, name
            assert len(row["source"]) > 10, name
            assert row["value"] >= 0, name


@pytest.mark.parametrize(
    ("table", "at", "expected"),
    [
        ("multiply_pj", 16, 1.1),
        ("multiply_pj", 32, 3.7),
        ("add_pj", 32, 0.9),
        ("sram_pj", 8192, 10.0),
        ("sram_pj", 32768, 20.0),
        ("sram_pj", 1 << 20, 100.0),
        ("sram_pj", 16384, 10 * 2**0.5),  # half way, on logarithmic axes, between 8 and 32 KB
        ("sram_pj", 2048, 5.0),  # the same square root below the first point
        ("sram_pj", 32 << 20, 500.0),  # 1 MB to 32 MB is another factor of 5
        ("multiply_pj", 64, 3.7 * 3.7 / 1.1),
    ],
)
def test_power_law_meets_the_cited_points_and_goes_on(
    table: str, at: float, expected: float
) -> None:
    assert power_law(table, at) == pytest.approx(expected, rel=1e-12)


def test_each_component_by_hand() -> None:
    config = load_config(
        "gscn-ideal",
        {
            "pe.value_bytes": 4,
            "pe.partial_sum_bytes": 4,
            "pe.accumulator_banks": 1,
            "pe.accumulator_entries": 2048,  # one bank of 8 KB: 10 pJ for 64 bits, 5 for a sum
            "pe.stationary_buffer_bytes": 8192,
            "pe.streamed_fifo_entries": 2048,
            "pe.index_bits": 32,  # 16 KB: 14.1 pJ for 64 bits
            "buffer.size_bytes": 1 << 20,
        },
    )
    activity = Activity(
        multiplications=10,
        accumulations=10,
        stationary_read_bytes=40,
        stationary_write_bytes=40,
        streamed_read_bytes=8,
        streamed_write_bytes=8,
        buffer_read_bytes=64,
        buffer_write_bytes=16,
        drained_entries=10,
        dram_read_bytes=64,
        dram_write_bytes=32,
    )
    energy = picojoules(energy_j(activity, config))
    assert energy["multipliers"] == pytest.approx(10 * 3.7)
    assert energy["accumulators"] == pytest.approx(10 * (0.9 + 5 + 5))
    assert energy["stationary_buffer"] == pytest.approx(10 * 10)
    assert energy["streamed_fifo"] == pytest.approx(2 * 10 * 2**0.5)
    assert energy["global_buffer"] == pytest.approx(10 * 100)
    assert energy["drain"] == pytest.approx(10 * (5 + 0.1))
    assert energy["dram"] == pytest.approx(96 * 8 * 14)
    assert energy["network"] == 0
    total = energy_j(activity, config)
    assert total.total == pytest.approx(sum(energy.values()) * 1e-12)
    assert total.on_chip == pytest.approx(total.total - energy["dram"] * 1e-12)


def test_wires_by_hand() -> None:
    # SCNN: a PE of 0.123 mm2 less its output memory, 64 of them; lengths at 45 nm, 0.11 pJ/bit/mm.
    config = load_config("scnn", SCNN_BUFFER)
    pe_mm2 = 0.123 - 0.123 * 0.57 * 10240 / 26749
    energy = picojoules(energy_j(Activity(network_bytes=1), config))
    assert energy["network"] == pytest.approx(8 * 0.11 * (64 * pe_mm2) ** 0.5 * 45 / 16)
    energy = picojoules(energy_j(Activity(partial_sums_exchanged=1), config))
    assert energy["network"] == pytest.approx(24 * 0.11 * pe_mm2**0.5 * 45 / 16)
    energy = picojoules(energy_j(Activity(accumulations=1), config))
    assert energy["crossbar"] == pytest.approx(24 * 0.11 * 0.026**0.5 * 45 / 16)


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 10**12), min_size=2 * len(COUNTS), max_size=2 * len(COUNTS)))
def test_energy_adds_up_over_activities(counts: list[int]) -> None:
    config = load_config("gscn-ideal")
    first = dict(zip(COUNTS, counts, strict=False))
    second = dict(zip(COUNTS, counts[len(COUNTS) :], strict=True))
    both = {name: first[name] + second[name] for name in COUNTS}
    parts = [energy_j(Activity(**activity), config) for activity in (first, second)]
    whole = energy_j(Activity(**both), config)
    for f in fields(whole):
        expected = sum(getattr(part, f.name) for part in parts)
        assert getattr(whole, f.name) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", COUNTS)
def test_every_activity_costs_energy(name: str) -> None:
    config = load_config("gscn-ideal")
    idle, busy = (energy_j(Activity(**{name: n}), config) for n in (0, 1000))
    assert idle.total == 0
    assert busy.total > 0


@pytest.mark.parametrize(
    ("preset", "pj_per_bit"),
    [("gddr5x-484", 14), ("hbm2", 3.9), ("lpddr4", 8), ("ddr4-2400", 70), ("ideal", 0)],
)
def test_dram_energy_by_kind(preset: str, pj_per_bit: float) -> None:
    config = load_config("gscn-ideal", {"dram.preset": preset})
    energy = energy_j(Activity(dram_read_bytes=100, dram_write_bytes=25), config)
    assert energy.dram == pytest.approx(1000 * pj_per_bit * 1e-12)
    assert energy.on_chip == 0


def test_larger_memories_cost_more_a_bit() -> None:
    costs = [sram_pj_per_bit(2.0**power) for power in range(6, 25)]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)


def test_area_of_scnn() -> None:
    area = area_mm2(load_config("scnn", SCNN_BUFFER))
    # Published: 7.9 mm2. 64 PEs of 0.123 are 7.872: the 0.4 % left are the rounding of 0.123.
    assert area.total == pytest.approx(7.9, rel=0.005)
    assert area.multipliers == pytest.approx(64 * 0.008)
    assert area.crossbar == pytest.approx(64 * 0.026)
    memories = area.stationary_buffer + area.streamed_fifo + area.accumulators + area.global_buffer
    assert memories / area.total == pytest.approx(0.57, abs=1e-6)


def test_area_scales_with_what_a_design_has() -> None:
    base = area_mm2(load_config("scnn"))
    wide = area_mm2(load_config("scnn", {"pe.value_bytes": 4}))
    assert wide.multipliers == pytest.approx(4 * base.multipliers)
    twice = area_mm2(load_config("scnn", {"array.pe_rows": 16}))
    assert twice.pes == pytest.approx(2 * base.pes)
    assert twice.global_buffer == base.global_buffer
    twice_banks = {"pe.accumulator_banks": 64, "pe.accumulator_entries": 2048}
    banks = area_mm2(load_config("scnn", twice_banks))
    assert banks.crossbar == pytest.approx(2 * base.crossbar)
    assert banks.accumulators == 2 * base.accumulators


@pytest.mark.parametrize(("ports", "kge"), [(2, 234), (3, 278), (9, 447), (0, 447)])
def test_the_measured_queues(ports: int, kge: float) -> None:
    """The default PE is the one that was synthesised; without a limit nine ports can be used."""
    assert crossbar_kge(load_config("gscn-ideal", {"pe.bank_queue_ports": ports})) == pytest.approx(
        kge
    )


def test_queues_by_hand() -> None:
    """Depth 16, two ports, 36 bits (64 banks of 16 sums), 8 products a step."""
    config = load_config(
        "gscn-ideal",
        {
            "pe.bank_queue_depth": 16,
            "pe.bank_queue_ports": 2,
            "pe.accumulator_banks": 64,
            "pe.accumulator_entries": 1024,
            "pe.streamed_vector": 2,
        },
    )
    flip_flops = 5.67 * 38 * 8 * 32 / 1000
    logic = 234 - flip_flops
    expected = 2 * 36 / 38 * (2 * flip_flops + logic * (0.5 + 2) / 2)
    assert crossbar_kge(config) == pytest.approx(expected)


def test_scnns_crossbar_is_as_large_as_its_gates_say() -> None:
    """Published crossbar over our gates, published multipliers over ours: 5 % apart."""
    scnn = load_config("scnn")
    crossbar = 0.026 / crossbar_kge(scnn)
    multipliers = 0.008 / 55
    assert crossbar / multipliers == pytest.approx(1, rel=0.06)


def test_deeper_queues_and_more_ports_take_more_area() -> None:
    def areas(key: str, values: tuple[int, ...]) -> list[float]:
        return [area_mm2(load_config("gscn", {key: v})).total for v in values]

    for key, values in (
        ("pe.bank_queue_depth", (0, 1, 4, 8, 16)),
        ("pe.bank_queue_ports", (1, 4, 9)),
    ):
        found = areas(key, values)
        assert found == sorted(found)
        assert len(set(found)) == len(values)
    most, more = areas("pe.bank_queue_ports", (9, 0))
    assert most == more


def test_comparators_by_hand() -> None:
    """16 comparators of 4 sums and 4 comparisons of 8 bits; ranges of 13 vectors."""
    kge = (16 * 8 * 8 * 5.33 + 13 * 4 * 8 * 5.67) / 1000
    ant = load_config("ant")
    assert comparators_kge(ant) == pytest.approx(kge)
    assert area_mm2(ant).comparators == pytest.approx(64 * kge * 0.008 / 55)
    assert area_mm2(load_config("scnn")).comparators == 0
