"""The metadata member: what is wrong is named, and nothing else is taken."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trace_cases import edited, members_of, read_if_sound, refused, write_npz

import workloads


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
        metadata["schema_version"] = 3
        metadata["something"] = "new"

    assert refused(edited(path, edit)) == (
        "member 'metadata.npy': schema_version must be at most 2, got 3: written by a newer release"
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
    ("layers.0.weight_gradient", None, "weight_gradient must be true or false, got None"),
    ("layers.0.kind", "product", "conv1': kind must be 'convolution' or 'matmul', got 'product'"),
    ("layers.0.batch_size", 1, "layer 'conv1': samples must be at most batch_size 1, got 2"),
    ("layers.0.batch_size", 2.0, "conv1': batch_size must be an int from 1 or null, got 2.0"),
    ("layers.0.extra_phases", None, "'conv1': extra_phases must be of pre_dgrad, pre_wgrad, each"),
    ("layers.0.extra_phases", ["dgrad"], "each once, got ['dgrad']"),
    ("layers.0.extra_phases", ["pre_wgrad", "post_dgrad"], "each once, got ['pre_wgrad', 'post_"),
    ("layers.0.extra_phases", ["pre_wgrad"] * 2, "each once, got pre_wgrad, pre_wgrad"),
    ("method", "", "method must be 1 to 200 printable characters"),
    ("step", [], "step must be an object, got []"),
    ("step.network", 3, "step: network must be 1 to 200 printable"),
    ("step.batch_size", 0, "step: batch_size must be an int from 1, got 0"),
    ("step.input_shapes", [3], "step: input_shapes must be a list of lists, got [3]"),
    ("step.input_shapes", [[-1]], "step: input_shapes must be an int from 0, got -1"),
    ("step.left_out", [], "step: left_out must be an object, got []"),
    ("step.left_out", {"a": -1}, "step: left_out of a must be an int from 0, got -1"),
    ("step.versions", {"a": 1}, "step: version of a must be 1 to 200 printable"),
    ("step.member", "00000.activation", "step: member '00000.activation' must be the step's only"),
    ("step.size_bytes", 1 << 40, "step: size_bytes must be an int from 1 to 33554432, got 1099"),
    ("step.operations", 0, "step: operations must be an int from 1 to 33554432, got 0"),
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
        if "versions" in folders or "left_out" in folders:
            workloads.validate(path)  # free keys
        elif folders[-1:] not in (["masks"], ["values"]):
            assert "missing key" in refused(path) or key in ("format", "schema_version")
        else:
            refused(path)
        place[f"{last}_"] = value
        write_npz(path, whole, arrays)
        if "versions" not in folders and "left_out" not in folders:
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
