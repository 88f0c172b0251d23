"""Folders of npy masks: what comes back, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads import GscnError, LayerShape
from workloads.interop.npy_folder import read_npy_folder

TABLE = "layer,C,H,W,K,R,S,pad_h,pad_w\na,2,5,5,3,3,3,1,1\nb,3,5,5,4,1,1,,\n"
RNG = np.random.default_rng(3)
MASKS = {
    "a.activation": RNG.random((2, 2, 5, 5)) < 0.5,
    "a.weight": RNG.integers(0, 2, (3, 2, 3, 3)).astype(np.int8),
    "a.gradient": RNG.random((2, 3, 5, 5)) * (RNG.random((2, 3, 5, 5)) < 0.3),
    "b.gradient": np.asfortranarray(RNG.random((2, 4, 5, 5)) < 0.3),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "layers.csv").write_text(TABLE)
    for name, mask in MASKS.items():
        np.save(tmp_path / f"{name}.npy", mask)
    return tmp_path


def test_masks_come_back(folder: Path) -> None:
    first, second = read_npy_folder(folder)
    assert first.shape == LayerShape(C=2, H=5, W=5, K=3, R=3, S=3, padding=(1, 1))
    assert (first.input_gradient, second.input_gradient) == (False, True)
    assert second.activation is None
    assert second.weight is None
    for layer in (first, second):
        for operand in ("activation", "weight", "gradient"):
            mask = layer.mask(operand)
            if mask is not None:
                assert np.array_equal(mask.dense(), MASKS[f"{layer.name}.{operand}"] != 0)
            assert layer.values(operand) is None


class Unwanted:
    """Pickled, it would end the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exit, (3,))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "a.gradient",
            np.ones((2, 3, 5, 4)),
            r"gradient must be \[2, 3, 5, 5\], got",
        ),
        ("a.gradient", np.full((2, 3, 5, 5), np.nan), "gradient must be finite, got 150 NaN"),
        ("a.gradient", np.zeros((2, 3, 5, 5), dtype=complex), "gradient must be one of bool"),
        ("a.weight", np.array([Unwanted()]), "a.weight.npy: cannot be read as npy without pickles"),
        ("a.weights", np.ones(3), "a.weights.npy: must be called LAYER.OPERAND.npy for a layer of"),
        ("c.weight", np.ones(3), "c.weight.npy: must be called LAYER.OPERAND.npy"),
    ],
)
def test_bad_arrays_name_the_file(folder: Path, name: str, array: Any, message: str) -> None:
    np.save(folder / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises(GscnError, match=message) as raised:
        read_npy_folder(folder)
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_header_that_promises_a_terabyte(folder: Path) -> None:
    path = folder / "a.weight.npy"
    size = "(3, 2, 3, 3)"
    data = path.read_bytes()
    huge = "(9, 9999999, 9, 9)"
    padding = " " * (len(huge) - len(size))
    path.write_bytes(data.replace((size + ", }" + padding).encode(), (huge + ", }").encode()))
    with pytest.raises(GscnError, match=r"a\.weight\.npy: cannot be read as npy"):
        read_npy_folder(folder)


def test_damaged_files_end_in_one_line(folder: Path) -> None:
    path = folder / "a.gradient.npy"
    whole = path.read_bytes()
    messages = []
    for position in range(128):
        for bit in (1, 16, 128):
            damaged = bytearray(whole)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            try:
                read_npy_folder(folder)
            except GscnError as error:
                messages.append(str(error))
    path.write_bytes(b"")
    with pytest.raises(GscnError, match=r"a\.gradient\.npy: cannot be read as npy"):
        read_npy_folder(folder)
    assert len(messages) > 100
    assert not [message for message in messages if "\n" in message]


def test_tables_that_do_not_fit(folder: Path) -> None:
    table = folder / "layers.csv"
    table.write_text("layer,C,H,W,K,R,S,gradient_density\nb,3,5,5,4,1,1,0.5\n")
    for mask in ("a.activation", "a.weight", "a.gradient"):
        (folder / f"{mask}.npy").unlink()
    with pytest.raises(GscnError, match="'b' must have no density beside its masks, got one of g"):
        read_npy_folder(folder)
    table.write_text("layer,C,H,W,K,R,S\nb,3,5,5,4,1,1\nd,3,5,5,4,1,1\n")
    with pytest.raises(GscnError, match="'d' must have an activation or a gradient, got neither"):
        read_npy_folder(folder)
    table.unlink()
    with pytest.raises(GscnError, match=r"layers\.csv: cannot be read as a table"):
        read_npy_folder(folder)
