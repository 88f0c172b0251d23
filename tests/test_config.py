"""Configurations: presets, files, overrides, checks and derived values."""

from __future__ import annotations

import dataclasses
import pickle
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from oracles.cases import machine_overrides

from gscn_sim import load_config
from gscn_sim.config import Config, DramConfig, PeConfig, dump_toml, preset_names
from gscn_sim.config.fields import SIZE_LIMIT
from gscn_sim.config.loader import flatten_config
from gscn_sim.config.overrides import dram_preset_names, parse_value
from gscn_sim.errors import ConfigError
from workloads.errors import GscnError

PRESETS = ("ant", "dense", "dnnsim-scnn", "gscn", "gscn-2026", "gscn-bf16", "gscn-ideal", "scnn")


def unnamed(config: Config) -> Config:
    return dataclasses.replace(config, name="")


# Presets --------------------------------------------------------------------------------------


def test_all_presets_load() -> None:
    assert set(preset_names()) >= set(PRESETS)
    for name in preset_names():
        assert load_config(name).name == name
    for name in dram_preset_names():
        assert load_config("gscn-ideal", {"dram.preset": name}).dram.burst_bytes > 0


def test_gscn_is_iso_peak_and_iso_bandwidth_with_its_gpu() -> None:
    """3,584 multipliers at 1.582 GHz and 484 GB/s, with no more memory than the chip it faces."""
    config = load_config()
    assert config.name == "gscn"
    assert config.num_pes == 224
    assert config.multipliers == 16
    assert config.num_pes * config.multipliers == 3584
    assert config.peak_macs_per_second == pytest.approx(5.67e12, rel=1e-3)
    assert config.dram.peak_gbps == pytest.approx(484)
    assert config.pe.value_bytes == 4
    assert config.on_chip_bytes <= 12_600_000


def test_on_chip_bytes_by_hand() -> None:
    pe = PeConfig(
        stationary_buffer_bytes=1000,
        streamed_fifo_entries=3,
        value_bytes=2,
        index_bits=4,
        accumulator_entries=10,
        partial_sum_bytes=3,
        list_resend=False,
    )
    # 1000 + 3 entries of 20 bits (8 bytes) + two sets of 10 sums of 3 bytes
    assert pe.on_chip_bytes == 1000 + 8 + 60
    config = load_config(
        "gscn-ideal", {"array.pe_rows": 2, "array.pe_cols": 3, "buffer.size_bytes": 7}
    )
    assert config.on_chip_bytes == 6 * config.pe.on_chip_bytes + 7


def test_scnn_is_as_published() -> None:
    config = load_config("scnn")
    pe = config.pe
    assert (config.array.pe_rows, config.array.pe_cols, config.array.clock_ghz) == (8, 8, 1.0)
    assert (pe.streamed_vector, pe.stationary_vector) == (4, 4)
    assert (pe.accumulator_banks, pe.accumulator_entries) == (32, 32 * 32)
    assert (pe.stationary_buffer_bytes, pe.streamed_fifo_entries) == (10 * 1024, 50)
    assert (pe.index_bits, pe.value_bytes, pe.partial_sum_bytes) == (4, 2, 3)
    assert config.dram.peak_gbps == pytest.approx(50, rel=0.03)
    assert config.mapping.kind == "planar"


def test_ant_is_scnn_with_another_dataflow() -> None:
    scnn, ant = flatten_config(load_config("scnn")), flatten_config(load_config("ant"))
    changed = {key: value for key, value in ant.items() if scnn[key] != value}
    assert changed == {f"dataflow.{p}": "anticipated" for p in ("forward", "dgrad", "wgrad")}


def test_seconds_and_cycles() -> None:
    config = load_config("gscn-ideal", {"array.clock_ghz": 2.0})
    assert config.seconds(3_000_000_000) == 1.5
    assert [config.cycles(ns) for ns in (0, 0.4, 0.5, 0.6, 10)] == [0, 1, 1, 2, 20]


# Files and overrides --------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_dumped_toml_loads_to_the_same_machine(name: str, tmp_path: Path) -> None:
    config = load_config(name, {"pe.accumulator_banks": 7, "drain.overlap": False})
    path = tmp_path / "machine.toml"
    path.write_text(dump_toml(config))
    loaded = load_config(path)
    assert loaded.name == "machine"
    assert unnamed(loaded) == unnamed(config)
    assert dump_toml(loaded) == dump_toml(config)


@settings(max_examples=50)
@given(overrides=machine_overrides())
def test_any_machine_survives_flattening(overrides: dict[str, Any]) -> None:
    config = load_config("gscn-ideal", overrides)
    flat = flatten_config(config)
    for key, value in overrides.items():
        if key != "dram.preset":
            assert flat[key] == value
    assert load_config("gscn-ideal", flat) == config
    texts = {
        key: str(value).lower() if value in (True, False) else str(value)
        for key, value in flat.items()
    }
    assert load_config("gscn-ideal", texts) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(load_config("gscn-ideal", overrides))


def test_a_file_may_change_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "wide.toml"
    path.write_text('preset = "ant"\n[pe]\naccumulator_banks = 64\n')
    config = load_config(path, {"pe.accumulator_entries": "2048"})
    expected = load_config("ant", {"pe.accumulator_banks": 64, "pe.accumulator_entries": 2048})
    assert unnamed(config) == unnamed(expected)
    assert config.name == "wide"


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    """Windows editors write one: into designs, spaces and devices."""
    from gscn_sim.gpu.device import find_device
    from gscn_sim.sweep import read_space

    for name, text in (
        ("design.toml", "[pe]\naccumulator_banks = 64\n"),
        ("space.toml", "[axes]\n'pe.accumulator_banks' = [16, 32]\n"),
        ("device.toml", resources.files("gscn_sim.gpu.data").joinpath("v100.toml").read_text()),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert load_config(tmp_path / "design.toml").pe.accumulator_banks == 64
    assert [axis.key for axis in read_space(tmp_path / "space.toml")[1]] == ["pe.accumulator_banks"]
    assert find_device(str(tmp_path / "device.toml")).sms == find_device("v100").sms


def test_a_named_memory_replaces_the_whole_memory(tmp_path: Path) -> None:
    hbm = load_config("gscn-ideal", {"dram.preset": "hbm2"}).dram
    assert (hbm.kind, hbm.channels, hbm.peak_gbps) == ("hbm2", 8, 256.0)
    two = load_config("gscn-ideal", {"dram.preset": "hbm2", "dram.channels": 16}).dram
    assert two == dataclasses.replace(hbm, channels=16)
    path = tmp_path / "slow.toml"
    path.write_text("[dram]\nchannels = 3\n")
    assert load_config(path).dram == dataclasses.replace(DramConfig(), channels=3)
    assert load_config(path, {"dram.preset": "hbm2"}).dram == hbm
    path.write_text('preset = "gscn"\n[dram]\npreset = "ddr4-2400"\n')
    assert load_config(path).dram == load_config("gscn-ideal", {"dram.preset": "ddr4-2400"}).dram


def test_a_folder_does_not_hide_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scnn").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config("scnn").array.pe_rows == 8


def test_values_are_toml_or_plain_text() -> None:
    values = {"3": 3, "2.5": 2.5, "true": True, "xor": "xor", '"xor"': "xor", "[1]": [1]}
    assert {text: parse_value(text) for text in values} == values
    assert parse_value("4\npe_cols = 3") == "4\npe_cols = 3"


# What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pe.accumulator_banks", 0, "must be a positive int, got 0"),
        ("pe.accumulator_banks", "0", "must be a positive int, got 0"),
        ("pe.accumulator_banks", "many", "must be a positive int, got 'many'"),
        ("pe.accumulator_banks", True, "must be a positive int, got True"),
        ("pe.accumulator_banks", 2.0, "must be a positive int, got 2.0"),
        ("pe.accumulator_banks", 1 << 40, f"must be at most 4096, got {1 << 40}"),
        ("buffer.size_bytes", 1 << 60, f"must be at most {SIZE_LIMIT}, got {1 << 60}"),
        ("pe.bank_queue_depth", -1, "must be a non-negative int, got -1"),
        ("pe.bank_queue_ports", -1, "must be a non-negative int, got -1"),
        ("pe.bank_queue_ports", "two", "must be a non-negative int, got 'two'"),
        ("pe.adder_stages", 0, "must be a positive int, got 0"),
        ("pe.adder_stages", 65, "must be at most 64, got 65"),
        ("pe.visits_per_cycle", -1, "must be a non-negative int, got -1"),
        ("pe.group_bubble", -2, "must be a non-negative int, got -2"),
        ("pe.gather_fragments", 5, "must be at most pe.stationary_vector (4), got 5"),
        ("pe.gather_fragments", -1, "must be a non-negative int, got -1"),
        ("pe.list_resend", 1, "must be true or false, got 1"),
        ("pe.round_latency", -1, "must be a non-negative int, got -1"),
        ("network.dispatch_latency", 1 << 20, f"must be at most 65536, got {1 << 20}"),
        ("array.clock_ghz", 0, "must be a number between 0.001 and 100.0, got 0"),
        ("array.clock_ghz", "nan", "must be a number between 0.001 and 100.0, got nan"),
        ("array.clock_ghz", True, "must be a number between 0.001 and 100.0, got True"),
        ("drain.overlap", 1, "must be true or false, got 1"),
        ("drain.overlap", "yes", "must be true or false, got 'yes'"),
        ("pe.bank_hash", "md5", "must be one of modulo, xor, channel, dnnsim; got 'md5'"),
        ("policy.barrier", 3, "must be one of input_channel, group, none; got 3"),
        ("dram.row_bytes", 100, "must be a multiple of dram.burst_bytes (64), got 100"),
        ("dram.preset", "ddr9", "must be one of "),
        ("pe.banks", 3, "unknown key 'pe.banks'; keys of pe are streamed_vector, "),
        ("cache.size", 3, "unknown key 'cache.size'; sections are array, pe, buffer, network, "),
        ("pe", 3, "unknown key 'pe'; keys of pe are "),
        ("name", "x", "unknown key 'name'; sections are "),
    ],
)
def test_bad_values(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("gscn-ideal", {key: value})
    wanted = f"{key} {message}" if message.startswith("must") else message
    assert str(caught.value).startswith(wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (
            {"bank_queue_ports": 4, "bank_queue_depth": 2},
            "pe.bank_queue_depth must be 0 or at least pe.bank_queue_ports - 1 (3), got 2",
        ),
        (
            {"adder_stages": 2, "bank_queue_depth": 1025},
            "pe.bank_queue_depth must be at most 1024 where pe.adder_stages is above 1, got 1025",
        ),
        (
            {"list_resend": True, "streamed_fifo_entries": 3},
            "pe.streamed_fifo_entries must be at least pe.streamed_vector (4) with pe.list_resend",
        ),
        (
            {"gather_fragments": 3, "stationary_vector": 2},
            "pe.gather_fragments must be at most pe.stationary_vector (2), got 3",
        ),
    ],
)
def test_values_that_do_not_go_together(machine: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("gscn-ideal", {f"pe.{key}": value for key, value in machine.items()})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    for key, value in (("bank_queue_depth", 3), ("streamed_fifo_entries", 4)):
        if key in machine:
            load_config("gscn-ideal", {f"pe.{k}": v for k, v in (machine | {key: value}).items()})


def test_the_ideal_machine_differs_in_its_rules_and_in_what_it_knows_only() -> None:
    ideal, buildable = (flatten_config(load_config(name)) for name in ("gscn-ideal", "gscn"))
    rules = {
        *("pe.bank_queue_ports", "pe.adder_stages", "pe.gather_fragments", "pe.visits_per_cycle"),
        *("pe.group_bubble", "pe.round_latency", "pe.list_resend", "network.dispatch_latency"),
    }
    assert {key for key in ideal if ideal[key] != buildable[key]} == {*rules, "policy.knowledge"}
    assert (ideal["policy.knowledge"], buildable["policy.knowledge"]) == ("oracle", "previous")
    default = flatten_config(Config())
    assert default == buildable


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pe = 3", "bad: pe must be a table; tables are array, pe, "),
        (b"[[pe]]\nx = 1", "bad: pe must be a table; tables are "),
        (b"[pe]\nx = 1", "unknown key 'pe.x'; keys of pe are "),
        (b"[pe.deeper]\nx = 1", "unknown key 'pe.deeper'; keys of pe are "),
        (b"[array]\npe_rows = -2", "array.pe_rows must be a positive int, got -2"),
        (b'preset = "nope"', "unknown preset 'nope'; presets are ant, "),
        (b"preset = [1]", "unknown preset [1]; presets are ant, "),
        (b"[pe", "{path}: not valid TOML: "),
        (b"\xff\xfe", "{path}: cannot be read as a TOML file: "),
        (None, "{path}: cannot be read as a TOML file: "),
    ],
)
def test_bad_files(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(message.format(path=path))
    assert "\n" not in str(caught.value)


def test_an_unknown_preset() -> None:
    for name in ("nope", ""):
        with pytest.raises(GscnError, match=f"unknown preset '{name}'; presets are ant, "):
            load_config(name)


def test_sections_are_frozen_and_checked_when_made() -> None:
    config = load_config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.pe.accumulator_banks = 3
    with pytest.raises(ConfigError, match=r"pe\.accumulator_banks must be a positive int, got 0"):
        dataclasses.replace(config.pe, accumulator_banks=0)


def test_replace_changes_keys_sections_or_the_name() -> None:
    config = load_config("scnn", {"dram.preset": "hbm2"})
    wide = config.replace({"pe.accumulator_banks": 64, "policy.halo": "serial"})
    assert (wide.pe.accumulator_banks, wide.policy.halo, wide.name) == (64, "serial", "scnn")
    assert wide.dram == config.dram
    assert flatten_config(wide).items() - flatten_config(config).items() == {
        ("pe.accumulator_banks", 64),
        ("policy.halo", "serial"),
    }
    keywords = config.replace(pe={"accumulator_banks": "64"}, policy={"halo": "serial"})
    assert keywords == wide
    assert config.replace(pe=wide.pe, policy=wide.policy) == wide
    assert config.replace(name="mine").name == "mine"
    assert config.replace() == config
    assert config.replace(dram={"preset": "ideal"}) == config.replace({"dram.preset": "ideal"})
    assert (
        config.replace({"dram.preset": "ideal"}).dram
        == load_config("gscn-ideal", {"dram.preset": "ideal"}).dram
    )


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ([{"pe.bank": 3}], {}, "unknown key 'pe.bank'; keys of pe are"),
        ([{"banks": 3}], {}, "unknown key 'banks'; sections are array, pe,"),
        ([], {"pe": {"banks": 3}}, "unknown key 'pe.banks'; keys of pe are"),
        ([], {"pe": 3}, "pe must be a PeConfig or map its keys to values, got int"),
        ([3], {}, "overrides must map section.key to a value"),
        ([{3: 3}], {}, "unknown key 3; sections are"),
        ([{"pe.accumulator_banks": 0}], {}, "pe.accumulator_banks must be a positive int, got 0"),
    ],
)
def test_replace_says_what_is_allowed(arguments, keywords, message) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config().replace(*arguments, **keywords)
