"""TOML that is hostile, broken or no file at all ends in one line, soon."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from gscn_sim.cli import main
from gscn_sim.toml import TomlError, parse_toml, read_toml

HOSTILE = {
    "deep lists": "x = " + "[" * 100_000,
    "closed deep lists": "x = " + "[" * 300 + "]" * 300,
    "deep tables": "x = " + "{a = " * 5_000,
    "digits": "[pe]\nindex_bits = " + "9" * 5_000,
    "a large number": "[pe]\nindex_bits = " + "9" * 300,
    "a large float": "[array]\nclock_ghz = 1e999",
    "nan": "[array]\nclock_ghz = nan",
    "key of many parts": ".".join("a" * 100_000) + " = 1",
    "table of many parts": "[" + ".".join("a" * 100_000) + "]",
    "quoted parts": ".".join(["'a b'"] * 50_000) + " = 1",
    "spaced parts": " . ".join("a" * 50_000) + " = 1",
    "a long word": "a" * 900_000,
    "quotes": "\"'" * 400_000,
    "too large": "x = 1\n" + "#" * (1 << 20),
    "escape sequences": '"\\u001b[31mpe" = 1',
    "escaped section": '["pe\\u001b[2J"]\nx = 1',
    "a date": "[pe]\nindex_bits = 2026-01-01",
    "a list": "[pe]\nindex_bits = [1]",
    "a table": "[dataflow]\ndgrad = {a = 1}",
    "preset is a list": "preset = ['gscn']",
    "preset is a number": "preset = 3",
    "dram preset is a table": "[dram]\npreset = {}",
    "not text": b"\xff\xfe\x00",
    "a null": "\0",
    "axes of tables": "[axes]\n'pe.index_bits' = [{a = 1}]",
    "axes of lists": "[axes]\n'pe.index_bits' = [[1], [2]]",
    "axes of nan": "[axes]\n'array.clock_ghz' = [nan, 1.0]",
    "range of texts": "[axes]\n'pe.index_bits' = {min = 'a', max = 'b'}",
    "range of large": "[axes]\n'pe.index_bits' = {min = 1, max = 9e300}",
    "step of text": "[axes]\n'pe.index_bits' = {min = 1, max = 4, step = 'a'}",
    "step of nothing": "[axes]\n'pe.index_bits' = {min = 1, max = 4, step = 0}",
    "count of bool": "[axes]\n'pe.index_bits' = {min = 1, max = 4, count = true}",
    "log of number": "[axes]\n'pe.index_bits' = {min = 1, max = 4, log = 1}",
    "traces of numbers": "traces = [1]\n[axes]\n'pe.index_bits' = [4]",
    "traces of nulls": "traces = ['a\\u0000b']\n[axes]\n'pe.index_bits' = [4]",
    "batch of texts": "batch = ['a']\n[axes]\n'pe.index_bits' = [4]",
    "derived of numbers": "[derived]\n'pe.index_bits' = 3",
    "constraints of lists": "constraints = [['a']]",
    "config that is a path": "config = '/dev/zero'",
    "axis of a date": "[axes]\n'pe.index_bits' = 2026-01-01",
}


@pytest.fixture
def refused():
    """The command ends with exit code 2, within reasonable time, in one printable line."""

    def check(*words: object) -> None:
        began = time.process_time()
        ran = CliRunner().invoke(main, [str(word) for word in words])
        assert ran.exit_code == 2, (ran.output, ran.exception)
        last = ran.stderr.rstrip("\n").splitlines()[-1]
        assert last.startswith("error: "), last
        assert last.isprintable()
        assert len(last) < 2000
        assert time.process_time() - began < 10

    return check


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts(tmp_path: Path, refused, name: str, survived) -> None:
    content = HOSTILE[name]
    path = tmp_path / "x.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused("config", "show", path)
    refused("sweep", "workloads/data/resnet8_digits.npz", "--space", path, "-o", tmp_path / "o")
    if "[axes]" not in str(content):
        refused("gpu", tmp_path / "none.csv", "--device", path)
    survived("hostile", "TOML as configuration, space or device", refused=1)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket", "missing"])
def test_what_is_no_file(tmp_path: Path, refused, kind: str, survived) -> None:
    path = tmp_path / "x.toml"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "socket":
            path.symlink_to("/dev/stdin")
    refused("config", "show", path)
    refused("sweep", "workloads/data/resnet8_digits.npz", "--space", path, "-o", tmp_path / "o")
    refused("gpu", tmp_path / "none.csv", "--device", path)
    survived("hostile", "pipes, devices, folders as files", refused=1)


def test_what_is_allowed(tmp_path: Path) -> None:
    text = "\ufeff[a.b.c]\n'x.y' = [1.5, 2.5, -3]\nz = '1.2.3.4'  # a.b.c.d\n"
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    assert read_toml(tmp_path / "x.toml") == {
        "a": {"b": {"c": {"x.y": [1.5, 2.5, -3], "z": "1.2.3.4"}}}
    }
    numbers = ", ".join(f"{i}.5" for i in range(1000))
    assert len(parse_toml(f"x = [{numbers}]")["x"]) == 1000
    with pytest.raises(TomlError, match="at most 16 deep"):
        parse_toml("x = " + "[" * 20 + "]" * 20)


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 9_000, "1e999", "a." * 5_000, "x" * 20_000])
def test_hostile_overrides(refused, value: str, survived) -> None:
    survived("hostile", "values of --set", refused=2)
    refused("config", "show", "gscn", "--set", f"pe.index_bits={value}")
    refused("config", "show", "gscn", "--set", f"array.clock_ghz={value}")
