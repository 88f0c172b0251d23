"""Archives that are damaged, foreign or hostile: one line for each, and nothing else."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trace_cases import (
    assert_same,
    edited,
    members_of,
    read_if_sound,
    refused,
    small_trace,
    write_npz,
)

import workloads
from workloads import TraceError


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "missing") == "no such file"
    assert refused(tmp_path) == "expected a trace file, got a folder"
    assert "not a regular file" in refused(tmp_path / "pipe")
    assert "File name too long" in refused(tmp_path / ("x" * 300))
    with pytest.raises(TraceError, match=r"cannot be read: .*null"):
        workloads.load("a\0b")


def test_odd_paths_stay_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"a\\nb: no such file") as caught:
        workloads.load(tmp_path / "a\nb")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x93NUMPY\x01\x00", bytes(10_000)])
def test_what_is_no_zip(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert refused(tmp_path / "file").startswith("expected a trace file (npz), whole: ")


def test_a_foreign_npz(tmp_path: Path) -> None:
    path = tmp_path / "foreign.npz"
    np.savez(path, a=np.ones(3))
    assert refused(path) == "member 'metadata.npy': expected in a trace file, but missing"
    np.savez(path, metadata=np.ones(3))
    assert "member 'metadata.npy': expected uint8" in refused(path)
    write_npz(path, {"model": "mine"}, {})
    assert "expected an object with format 'gscn-trace', got {'model': 'mine'}" in refused(path)


def test_every_truncation_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        refused(path)


def test_flipped_bits_are_refused_or_harmless(path: Path) -> None:
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    harmless = 0
    positions = [*range(0, directory, 7), *range(directory, len(content), 2)]
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position // 2 % 8)
        path.write_bytes(damaged)
        trace = read_if_sound(path)
        if trace is not None:
            assert_same(trace, small_trace())
            harmless += 1
    # Dates, attributes and the like: fields of the zip format that carry nothing of a trace.
    assert harmless < len(positions) / 2


def test_random_damage_is_refused_or_harmless(path: Path) -> None:
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        start = int(generator.integers(len(content)))
        length = int(generator.integers(1, 40))
        match generator.integers(4):
            case 0:
                damaged[start : start + length] = generator.bytes(length)
            case 1:
                del damaged[start : start + length]
            case 2:
                damaged[start:start] = generator.bytes(length)
            case 3:
                other = int(generator.integers(len(content)))
                damaged[start : start + length] = content[other : other + length]
        path.write_bytes(damaged)
        trace = read_if_sound(path)
        if trace is not None:
            assert_same(trace, small_trace())


class Exploit:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("member", ["metadata", "00000.gradient", "00000.gradient.values"])
def test_pickles_are_not_opened(path: Path, tmp_path: Path, member: str) -> None:
    array = np.array([Exploit(tmp_path / "exploited")], dtype=object)
    metadata, arrays = members_of(path)
    arrays["metadata"] = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **{**arrays, member: array})
    got = refused(path)
    assert f"member '{member}.npy'" in got
    with path.open("wb") as file:
        np.savez(file, **{**arrays, member: array.repeat(100)})
    refused(path)
    assert not (tmp_path / "exploited").exists()


def with_raw_member(path: Path, member: str, content: bytes, method: int = 0) -> Path:
    """Return a copy in which a member has these bytes, header and all."""
    copied = path.with_name("raw.npz")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copied, "w") as new:
        for info in old.infolist():
            own = info.filename == f"{member}.npy"
            new.writestr(info.filename, content if own else old.read(info), method if own else 0)
    return copied


def npy_header(text: bytes, version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


GOOD_HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (12,), }"


def test_other_ways_of_writing_an_npy_header(path: Path) -> None:
    payload = bytes(11) + b"\x40"  # 90 bits
    for version in (1, 2):
        raw = with_raw_member(path, "00000.gradient", npy_header(GOOD_HEADER, version) + payload)
        layer = workloads.load(raw).layers[0]
        assert layer.gradient is not None
        assert layer.gradient.nonzeros == 1


@pytest.mark.parametrize(
    "header",
    [
        b"",
        npy_header(GOOD_HEADER, 1)[:-20],
        npy_header(GOOD_HEADER, 3),
        npy_header(GOOD_HEADER, 9),
        npy_header(GOOD_HEADER.replace(b"12", b"12L")),
        npy_header(GOOD_HEADER.replace(b"12", b"-12")),
        npy_header(GOOD_HEADER.replace(b"(12,)", b"12")),
        npy_header(GOOD_HEADER.replace(b"|u1", b"|u0")),
        npy_header(GOOD_HEADER.replace(b"|u1", b"\\d")),
        npy_header(GOOD_HEADER.replace(b"'|u1'", b"[('a', '|u1')]")),
        npy_header(GOOD_HEADER.replace(b"'|u1'", b"1 if 1 else 2")),
        npy_header(GOOD_HEADER.replace(b"descr", b"other")),
        npy_header(b"(" * 3000),
        npy_header(b"-" * 3000 + b"1"),
        npy_header(b"1 is 1"),
        npy_header(b"'\n  x"),
        npy_header(b"\xff\xfe\x00"),
        npy_header(b"9" * 4000),
        npy_header(b" " * 65000),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("member", ["00000.gradient", "metadata"])
def test_headers_that_are_none(path: Path, header: bytes, member: str) -> None:
    got = refused(with_raw_member(path, member, header + bytes(12)))
    assert f"member '{member}.npy'" in got


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(path: Path, method: int) -> None:
    raw = with_raw_member(path, "00000.gradient", npy_header(GOOD_HEADER) + bytes(12), method)
    assert f"expected to be stored or deflated, got method {method}" in refused(raw)


def test_encryption_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1
    path.write_bytes(content)
    assert "expected without password, got it encrypted" in refused(path)


@pytest.fixture
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20


def bomb(path: Path, member: str, size_bytes: int, header: bytes = b"") -> Path:
    """Return a copy in which a member unpacks to ``size_bytes`` zeros."""
    copied = path.with_name("bomb.npz")
    chunk = bytes(1 << 16)
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(copied, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for name in old.namelist():
            if name != f"{member}.npy":
                new.writestr(name, old.read(name))
        with new.open(f"{member}.npy", "w") as file:
            file.write(header)
            for _ in range(size_bytes // len(chunk)):
                file.write(chunk)
    return copied


@pytest.mark.parametrize("member", ["00000.gradient", "00000.gradient.values"])
@pytest.mark.usefixtures("little_memory")
def test_members_larger_than_their_shape_needs(path: Path, member: str) -> None:
    got = refused(bomb(path, member, 64 << 20, npy_header(GOOD_HEADER)))
    assert f"member '{member}.npy': expected an array of" in got


@pytest.mark.usefixtures("little_memory")
def test_metadata_without_end(path: Path) -> None:
    got = refused(bomb(path, "metadata", 128 << 20))
    assert got.startswith("member 'metadata.npy': expected at most 67108864 bytes, got 134217728")


@pytest.mark.usefixtures("little_memory")
def test_members_larger_than_they_declare(path: Path) -> None:
    exploding = bomb(path, "00000.gradient", 32 << 20, npy_header(GOOD_HEADER))
    content = bytearray(exploding.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    assert content[directory + 46 :].startswith(b"00000.gradient.npy")
    content[directory + 24 : directory + 28] = struct.pack("<I", len(npy_header(GOOD_HEADER)) + 12)
    exploding.write_bytes(content)
    assert "member '00000.gradient.npy': expected an undamaged array" in refused(exploding)


@pytest.mark.usefixtures("little_memory")
def test_shapes_larger_than_the_file_can_hold(path: Path) -> None:
    def edit(metadata: dict[str, Any], _: Any) -> None:
        shape = metadata["layers"][0]["shape"]
        shape.update(C=1 << 15, H=1 << 8, W=1 << 8)

    huge = edited(path, edit)
    assert "member '00000.activation.npy': expected an array of 536870912 bytes" in refused(huge)
    content = bytearray(huge.read_bytes())
    at = content.index(b"00000.activation.npy", content.index(b"PK\x01\x02")) - 46
    content[at + 24 : at + 28] = struct.pack("<I", 536870912 + 128)
    huge.write_bytes(content)
    assert "expected at most 1032 times its" in refused(huge)
    content[at + 20 : at + 24] = struct.pack("<I", 536870912 + 128)
    huge.write_bytes(content)
    assert "expected to fit into the file's" in refused(huge)


@pytest.mark.usefixtures("little_memory")
def test_json_that_nests_without_end(path: Path) -> None:
    write_npz(path, b'{"format":' + b"[" * 100_000, {})
    assert "member 'metadata.npy': expected JSON text in UTF-8: maximum recursion" in refused(path)


@pytest.mark.parametrize(("data_bytes", "message"), [(11, "got 11"), (13, "got more")])
def test_data_shorter_or_longer_than_its_header_says(
    path: Path, data_bytes: int, message: str
) -> None:
    raw = with_raw_member(path, "00000.gradient", npy_header(GOOD_HEADER) + bytes(data_bytes))
    assert refused(raw).endswith(f"expected 12 bytes of data, {message}")
