"""Shares of the peak bandwidth: against another simulator, by hand, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import gscn_sim
from gscn_sim.config import load_config
from gscn_sim.errors import ConfigError
from gscn_sim.fabric.characterise import PatternError

DATA = Path(__file__).parents[1] / "data" / "dram" / "dramsim3.csv"
SINGLE = 1.67  # the factor by which requests of a few bursts may be off
LONG = 0.15  # the share by which those of 1 KB and more may be

# The file of the other simulator that is set up like a preset, and what differs.
SAME: dict[str, tuple[str, dict[str, Any]]] = {
    "GDDR5X_8Gb_x32.ini[bus_width=32;channel_size=1024]": ("gddr5x-484", {}),
    "GDDR5_8Gb_x32.ini[bus_width=32;channel_size=1024]": ("gddr5", {}),
    "HBM2_8Gb_x128.ini": ("hbm2", {}),
    "HBM2_8Gb_x128.ini[address_mapping=rorabacobgch]": (
        "hbm2",
        {"dram.interleave_bytes": 64, "dram.bank_groups": 4},
    ),
    "DDR4_8Gb_x8_2400.ini[channel_size=8192;address_mapping=rochrabacobg]": ("ddr4-2400", {}),
    # That file is one channel at 2.4 GT/s; its tRC is 39 ns, where JESD209-4 has 60.
    "LPDDR4_8Gb_x16_2400.ini[bus_width=16;channel_size=1024]": (
        "lpddr4",
        {"dram.channels": 1, "dram.transfers_gtps": 2.4},
    ),
}
for _transactions, _commands in ((1, 1), (4, 4), (128, 8)):
    for _file in list(SAME)[:5]:
        _keys = f"trans_queue_size={_transactions};cmd_queue_size={_commands}"
        _base, _changes = SAME[_file]
        SAME[f"{_file[:-1]};{_keys}]" if "[" in _file else f"{_file}[{_keys}]"] = (
            _base,
            {
                **_changes,
                "dram.queue_bursts": _transactions,
                "dram.bank_queue_bursts": _commands,
            },
        )
with DATA.open(encoding="utf-8") as _opened:
    ROWS = [row for row in csv.DictReader(_opened) if row["config_file"] in SAME]


def test_there_are_rows_of_every_kind() -> None:
    assert len(ROWS) > 90
    assert {row["preset"] for row in ROWS} == {"gddr5x-484", "gddr5", "hbm2", "ddr4-2400", "lpddr4"}


@pytest.mark.parametrize(
    "row",
    ROWS,
    ids=lambda r: f"{r['config_file']}-{r['pattern']}-{r['request_bytes']}-{r['read_fraction']}",
)
def test_agrees_with_dramsim3(row: dict[str, str]) -> None:
    preset, changes = SAME[row["config_file"]]
    share = gscn_sim.characterise_memory(
        preset,
        pattern=row["pattern"],
        request_bytes=int(row["request_bytes"]),
        read_fraction=float(row["read_fraction"]),
        overrides=changes,
    )
    ratio = share / float(row["achieved_fraction_of_peak"])
    if int(row["request_bytes"]) >= 1024:
        assert abs(ratio - 1) <= LONG
    else:
        assert 1 / SINGLE <= ratio <= SINGLE


def test_streams_that_meet_in_a_bank_are_slower_than_one() -> None:
    shares = [
        gscn_sim.characterise_memory("gddr5x-484", f"{n} streams in turn", 4096) for n in (1, 2, 8)
    ]
    assert shares[0] > 0.95
    assert shares[1] < 0.9 * shares[0]
    assert shares[2] < 0.85 * shares[0]


def test_a_stride_through_the_rows_of_one_bank() -> None:
    """A row opened every tRC: 27.97 + 11.99 ns for a burst of 1.4545 ns; refresh takes 1 %."""
    share = gscn_sim.characterise_memory("gddr5x-484", "stride 65536", 64)
    assert share == pytest.approx(1.4545 / 39.96, rel=0.02)


def queue(bursts: int) -> dict[str, int]:
    return {"dram.queue_bursts": bursts, "dram.bank_queue_bursts": 1}


def test_a_queue_makes_up_for_banks_that_are_busy() -> None:
    shares = [
        gscn_sim.characterise_memory(
            "ddr4-2400",
            "random",
            64,
            overrides={"dram.queue_bursts": n, "dram.bank_queue_bursts": 1},
        )
        for n in (1, 4, 16)
    ]
    assert shares == sorted(shares)
    assert shares[2] > 1.3 * shares[0]


def test_sequential_is_what_refresh_leaves() -> None:
    dram = load_config("gscn-ideal", {"dram.preset": "hbm2"}).dram
    share = gscn_sim.characterise_memory("hbm2", "sequential", 65536)
    assert share == pytest.approx(1 - dram.refresh_gap_ns / dram.refresh_interval_ns, rel=0.01)


def test_a_configuration_and_a_preset_are_the_same() -> None:
    config = load_config("gscn-ideal", {"dram.preset": "ddr4-2400"})
    by_name = gscn_sim.characterise_memory("ddr4-2400", "random", 256, 0.5)
    assert gscn_sim.characterise_memory(config, "random", 256, 0.5) == by_name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zigzag", 64), "pattern must be sequential, random, 'N streams in turn'.*got 'zigzag'"),
        (("stride 0", 64), "pattern must be .*got 'stride 0'"),
        (("0 streams in turn", 64), "pattern must be "),
        (("random", 0), "request_bytes must be a positive int, got 0"),
        (("random", True), "request_bytes must be a positive int, got True"),
        (("random", 64, 1.5), "read_fraction must be between 0 and 1, got 1.5"),
        (("random", 64, float("nan")), "read_fraction must be between 0 and 1, got nan"),
    ],
)
def test_what_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(PatternError, match=message):
        gscn_sim.characterise_memory("ddr4-2400", *arguments)


def test_memories_that_cannot_be_characterised() -> None:
    with pytest.raises(PatternError, match="ideal has no peak"):
        gscn_sim.characterise_memory("ideal", "random", 64)
    with pytest.raises(ConfigError, match=r"dram\.preset must be one of"):
        gscn_sim.characterise_memory("ddr9", "random", 64)
    with pytest.raises(PatternError, match=r"dram\.scheduler must be fr-fcfs"):
        gscn_sim.characterise_memory("hbm2", "random", 64, overrides={"dram.scheduler": "fcfs"})
