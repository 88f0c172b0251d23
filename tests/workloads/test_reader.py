"""Members that contradict the metadata, and reading layers."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trace_cases import SMALL, assert_same, edited, make_layer, members_of, refused, small_trace

import workloads
from workloads import Trace


def test_a_file_written_by_plain_numpy_is_read(path: Path) -> None:
    copied = edited(path, lambda metadata, arrays: None)
    assert_same(workloads.validate(copied), small_trace())


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
