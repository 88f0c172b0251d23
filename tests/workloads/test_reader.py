"""Files that are not what they should be: one line for each, and nothing else."""

from __future__ import annotations

import copy
import io
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
    SMALL,
    assert_same,
    edited,
    make_layer,
    members_of,
    read_if_sound,
    refused,
    small_trace,
    write_npz,
)

import workloads
from workloads import Trace, TraceError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "trace.npz"
    workloads.save(small_trace(), path, values=True)
    return path


def test_a_file_written_by_plain_numpy_is_read(path: Path) -> None:
    copied = edited(path, lambda metadata, arrays: None)
    assert_same(workloads.validate(copied), small_trace())


# --- the file as a whole


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


# --- members


def test_missing_renamed_and_extra_members(path: Path) -> None:
    def rename(_: Any, arrays: dict[str, np.ndarray]) -> None:
        arrays["other"] = arrays.pop("00001.gradient")

    missing = refused(edited(path, lambda _, arrays: arrays.pop("00001.gradient")))
    assert missing == (
        "member '00001.gradient.npy': expected, because the metadata names it, but missing"
    )
    assert refused(edited(path, rename)) == missing
    extra = refused(edited(path, lambda _, arrays: arrays.update(extra=np.ones(3))))
    assert extra == "member 'extra.npy': not expected, the metadata does not name it"


def test_a_member_twice(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("00000.weight.npy", b"")
    assert refused(path) == "expected each member once, got one twice"


def test_one_member_for_two_operands(path: Path) -> None:
    def share(metadata: dict[str, Any], _: Any) -> None:
        metadata["layers"][0]["masks"]["gradient"] = "00000.activation"

    assert "member '00000.activation' must belong to one operand only" in refused(
        edited(path, share)
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(10, np.uint8), "expected uint8 of shape (12,), got uint8 of shape (10,)"),
        (
            np.zeros(9999, np.uint8),
            "expected an array of 12 bytes after its header, got 10127 in all",
        ),
        (np.zeros(14, np.uint8), "expected uint8 of shape (12,), got uint8 of shape (14,)"),
        (np.zeros(12, np.int8), "expected uint8 of shape (12,), got int8 of shape (12,)"),
        (np.zeros(3, np.float32), "expected uint8 of shape (12,), got float32 of shape (3,)"),
        (np.zeros((3, 4), np.uint8), "expected uint8 of shape (12,), got uint8 of shape (3, 4)"),
        (np.full(12, 255, np.uint8), "must end in zero padding bits"),
    ],
)
def test_masks_that_contradict_the_shape(path: Path, array: np.ndarray, message: str) -> None:
    def replace(_: Any, arrays: dict[str, np.ndarray]) -> None:
        arrays["00000.gradient"] = array

    assert arrays_size(path, "00000.gradient") == 12
    got = refused(edited(path, replace))
    assert "member '00000.gradient.npy'" in got
    assert message in got


def arrays_size(path: Path, member: str) -> int:
    return int(members_of(path)[1][member].size)


def test_values_that_contradict_their_mask(path: Path) -> None:
    where = "layer 'conv1' (iteration 7), member '00000.gradient.values.npy': expected "

    def change(index: int, value: float) -> Any:
        def edit(_: Any, arrays: dict[str, np.ndarray]) -> None:
            values = arrays["00000.gradient.values"].copy()
            chosen = np.flatnonzero(values)[0] if index else np.flatnonzero(values == 0)[0]
            values.flat[chosen] = value
            arrays["00000.gradient.values"] = values

        return edit

    contradicts = where + "values that are zero exactly where the mask is"
    assert refused(edited(path, change(0, 1.0))) == contradicts
    assert refused(edited(path, change(1, 0.0))) == contradicts
    assert refused(edited(path, change(1, np.nan))) == where + "finite values, got NaN or infinity"


def test_values_of_another_order_or_dtype(path: Path) -> None:
    def replaced(convert: Any) -> str:
        def edit(_: Any, arrays: dict[str, np.ndarray]) -> None:
            arrays["00000.activation.values"] = convert(arrays["00000.activation.values"])

        return refused(edited(path, edit))

    assert replaced(np.asfortranarray).endswith("(2, 2, 5, 4), Fortran order")
    assert "expected float32 of shape (2, 2, 5, 4), got >f4" in replaced(lambda a: a.astype(">f4"))
    assert "got int32 of shape (2, 2, 5, 4)" in replaced(lambda a: a.astype(np.int32))


def test_bools_are_0_or_1(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    layer = workloads.layer_from_arrays(
        "a", activation=np.array([[[[True, False]]]]), weight=np.ones((1, 1, 1, 1))
    )
    workloads.save(Trace(network="a", batch_size=1, layers=[layer]), path, values=True)

    def edit(_: Any, arrays: dict[str, np.ndarray]) -> None:
        arrays["00000.activation.values"] = np.array([[[[2, 0]]]], np.uint8).view(np.bool_)

    assert refused(edited(path, edit)).endswith("expected bools of 0 and 1, got 2")


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


# --- bombs


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
    got = refused(bomb(path, "metadata", 64 << 20))
    assert got.startswith("member 'metadata.npy': expected at most 8388608 bytes, got 67108864")


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


# --- metadata


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"\xff", "can't decode byte"),
        (b'{"format": NaN}', "NaN is not a number of JSON"),
        (b'{"format": -Infinity}', "-Infinity is not a number of JSON"),
        (b'{"format": 1, "format": 2}', "an object has a key twice"),
        (b'{"format": ' + b"9" * 5000 + b"}", "4300 digits"),
    ],
)
def test_metadata_that_is_no_json(tmp_path: Path, text: bytes, reason: str) -> None:
    write_npz(tmp_path / "file", text, {})
    got = refused(tmp_path / "file")
    assert got.startswith("member 'metadata.npy': expected JSON text in UTF-8: ")
    assert reason in got


def test_numbers_that_are_not_finite(path: Path) -> None:
    metadata, arrays = members_of(path)
    text = json.dumps(metadata).replace('"loss": 1.25', '"loss": 1e999')
    write_npz(path, text.encode(), arrays)
    assert refused(path) == "member 'metadata.npy': loss must be a finite number, got inf"


def test_newer_schema(path: Path) -> None:
    def edit(metadata: dict[str, Any], _: Any) -> None:
        metadata["schema_version"] = 2
        metadata["something"] = "new"

    assert refused(edited(path, edit)) == (
        "member 'metadata.npy': schema_version must be at most 1, got 2: written by a newer release"
    )


EDITS: list[tuple[str, Any, str]] = [
    ("schema_version", 0, "schema_version must be a positive int, got 0"),
    ("schema_version", 1.5, "schema_version must be a positive int, got 1.5"),
    ("schema_version", True, "schema_version must be a positive int, got True"),
    ("batch_size", 1, "layer 'conv1': samples must be at most batch_size 1, got 2"),
    ("batch_size", "16", "batch_size must be an int"),
    ("network", "a\nb", "network must be 1 to 200 printable characters, got 'a\\nb'"),
    ("layers", {}, "layers must be a list of at least one layer, got {}"),
    ("layers", [], "layers must be a list of at least one layer, got []"),
    ("layers.0", 3, "layers[0] must be an object, got 3"),
    ("layers.0.name", "", "layer '': name must be 1 to 200"),
    ("layers.0.name", 5, "layers[0]: name must be 1 to 200"),
    ("layers.0.iteration", -1, "layer 'conv1': iteration must be an int from 0, got -1"),
    ("layers.0.iteration", 8, "layer 'conv1' (iteration 8) must be there only once"),
    ("layers.0.samples", 0, "layer 'conv1': samples must be an int from 1, got 0"),
    ("layers.0.samples", True, "layer 'conv1': samples must be an int from 1, got True"),
    ("layers.0.input_gradient", 1, "input_gradient must be true or false, got 1"),
    ("layers.0.shape", [], "layer 'conv1': shape must be an object, got []"),
    ("layers.0.shape.C", 0, "layer 'conv1': C must be a positive int, got 0"),
    ("layers.0.shape.H", -3, "layer 'conv1': H must be a positive int, got -3"),
    ("layers.0.shape.W", 10**30, "layer 'conv1': W must be at most 16777216, got 1000"),
    (
        "layers.0.samples",
        10**12,
        "layer 'conv1': activation: mask must have at most 4294967296 elements",
    ),
    ("layers.0.shape.R", 2.0, "layer 'conv1': R must be a positive int, got 2.0"),
    ("layers.0.shape.R", 50, "layer 'conv1': output must be at least 1x1"),
    ("layers.0.shape.stride", 1, "layer 'conv1': shape: stride must be a list of two, got 1"),
    ("layers.0.shape.stride", [1], "layer 'conv1': stride must be a (height, width) pair"),
    ("layers.0.shape.padding", [1, "0"], "padding_w must be a non-negative int, got '0'"),
    ("layers.0.shape.groups", 2, "groups must divide C and K"),
    ("layers.0.masks", [], "layer 'conv1': masks must be an object of activation, gradient"),
    ("layers.0.masks", {}, "layer 'conv1': masks must have activation or gradient, got neither"),
    ("layers.0.masks", {"input": "x"}, "masks must be an object of activation, gradient, weight"),
    ("layers.0.masks.weight", 3, "layer 'conv1': masks.weight must be 1 to 200 printable"),
    ("layers.0.masks.weight", "metadata", "member 'metadata' must belong to one operand only"),
    ("layers.2.values.activation", {"member": "x", "dtype": "bool"}, "must have a mask too"),
    ("layers.0.values.weight", "x", "values.weight must be an object, got 'x'"),
    ("layers.0.values.weight.dtype", "object", "dtype must be one of bool, int8, "),
    ("layers.0.values.weight.dtype", ["bool"], "dtype must be one of bool, int8, "),
    ("layers.0.values.weight.member", None, "values.weight.member must be 1 to 200"),
]


def changed(metadata: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    result = copy.deepcopy(metadata)
    *folders, last = key.split(".")
    place: Any = result
    for folder in folders:
        place = place[int(folder)] if isinstance(place, list) else place[folder]
    place[int(last) if isinstance(place, list) else last] = value
    return result


@pytest.mark.parametrize(("key", "value", "message"), EDITS)
def test_wrong_metadata(path: Path, key: str, value: object, message: str) -> None:
    metadata, arrays = members_of(path)
    write_npz(path, changed(metadata, key, value), arrays)
    got = refused(path)
    assert got.startswith("member 'metadata.npy': ")
    assert message in got


def keys_of(obj: object, prefix: str = "") -> Iterator[str]:
    items: Any = ()
    if isinstance(obj, dict):
        items = obj.items()
    elif isinstance(obj, list):
        items = enumerate(obj)
    for key, value in items:
        yield f"{prefix}{key}"
        yield from keys_of(value, f"{prefix}{key}.")


def test_unknown_and_missing_keys(path: Path) -> None:
    metadata, arrays = members_of(path)
    for key in [k for k in keys_of(metadata) if not k.split(".")[-1].isdigit()]:
        place: Any = copy.deepcopy(metadata)
        whole, (*folders, last) = place, key.split(".")
        for folder in folders:
            place = place[int(folder)] if isinstance(place, list) else place[folder]
        value = place.pop(last)
        write_npz(path, whole, arrays)
        if "versions" in folders:
            workloads.validate(path)  # free keys
        elif folders[-1:] not in (["masks"], ["values"]):
            assert "missing key" in refused(path) or key in ("format", "schema_version")
        else:
            refused(path)
        place[f"{last}_"] = value
        write_npz(path, whole, arrays)
        if "versions" not in folders:
            refused(path)


NASTY: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 1.5, 1e308, 10**18, 10**40, "", "x", "\n", "\ud800"),
    *("metadata", "00000.gradient", [], [1], [1, 1], [0, 0], [[]], {}, {"x": {}}, "9" * 300),
]


def test_nasty_values_everywhere_are_refused_or_meant(path: Path) -> None:
    metadata, arrays = members_of(path)
    accepted = tried = 0
    for key in keys_of(metadata):
        for value in NASTY:
            text = json.dumps(changed(metadata, key, value)).encode()
            buffer = io.BytesIO()
            np.savez(buffer, metadata=np.frombuffer(text, np.uint8), **arrays)
            path.write_bytes(buffer.getvalue())
            tried += 1
            trace = read_if_sound(path)
            if trace is not None:
                accepted += 1
                assert len(trace.digest) == 64
    assert tried > 1000
    assert accepted < tried / 10  # other numbers and names that a trace may well have


def test_indexing(path: Path) -> None:
    layers = workloads.load(path).layers
    assert layers[-1] == list(layers)[2]
    assert list(layers[1:]) == list(layers)[1:]
    with pytest.raises(IndexError):
        layers[3]


def test_records_tell_the_shapes_without_reading(path: Path) -> None:
    layers = workloads.load(path).layers
    assert isinstance(layers, workloads.reader.StoredLayers)
    assert [(r.name, r.iteration, r.samples) for r in layers.records] == [
        ("conv1", 7, 2),
        ("conv2", 7, 2),
        ("conv1", 8, 2),
    ]
    assert layers.records[0].shape == SMALL


def test_a_link_to_a_trace_is_read(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path.name)
    assert_same(workloads.validate(link), small_trace())


def test_dense_weights_with_values_must_have_no_zero(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    layer = make_layer(SMALL, density=1.0)
    workloads.save(Trace(network="a", batch_size=2, layers=[layer]), path, values=True)
    assert "weight" not in members_of(path)[0]["layers"][0]["masks"]

    def edit(_: Any, arrays: dict[str, np.ndarray]) -> None:
        arrays["00000.weight.values"] = np.zeros_like(arrays["00000.weight.values"])

    assert refused(edited(path, edit)).endswith("values that are zero exactly where the mask is")
