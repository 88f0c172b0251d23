"""Pictures of any depth, hidden files, IDX files and the validation part."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from resprop_train.cli import main
from resprop_train.data import load_dataset
from resprop_train.data.pixels import read_picture
from resprop_train.data.validation import hold_out
from resprop_train.errors import TrainError

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)
DEEP = {
    "eight.png": (RAMP * 255).astype(np.uint8),
    "sixteen.png": (RAMP * 65535).astype(np.uint16),
    "sixteen.tif": (RAMP * 65535).astype(np.uint16),
    "dark.tiff": (RAMP * 900).astype(np.uint16),
    "float.tif": RAMP.astype(np.float32),
    "faint.tif": (RAMP * 0.2).astype(np.float32),
}


@pytest.mark.parametrize("name", list(DEEP))
def test_grey_pictures_of_any_depth_keep_their_values(name: str, tmp_path: Path) -> None:
    values = DEEP[name]
    Image.fromarray(values).save(tmp_path / name)
    full = {"u1": 255, "u2": 65535, "f4": 1}[values.dtype.str[1:]]
    read = np.asarray(read_picture(tmp_path / name), dtype=np.float64)
    grey = read if read.ndim == 2 else read[..., 0]
    assert np.allclose(grey, values / full * 255, atol=0.51 if read.ndim == 3 else 1e-3)


def tree(folder: Path, name: str, picture: Image.Image) -> None:
    for part in ("train", "val"):
        for label in ("a", "b"):
            (folder / part / label).mkdir(parents=True, exist_ok=True)
            picture.save(folder / part / label / name)


@pytest.mark.parametrize("name", list(DEEP))
def test_a_folder_of_deep_pictures_is_that_of_their_bytes(name: str, tmp_path: Path) -> None:
    values = DEEP[name].astype(np.float64)
    values = (values / values.max() * 255).round().astype(np.uint8)
    scale = float(DEEP[name].max()) / {"u1": 255, "u2": 65535, "f4": 1}[DEEP[name].dtype.str[1:]]
    tree(tmp_path / "deep", name, Image.fromarray(DEEP[name]))
    tree(tmp_path / "bytes", "x.png", Image.fromarray(values))
    deep, plain = (load_dataset("folder", tmp_path / kind) for kind in ("deep", "bytes"))
    x, _ = deep.test.fetch(np.array([0, 1]), None)
    y, _ = plain.test.fetch(np.array([0, 1]), None)
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, None, :, None, None]
    assert x.shape == (2, 3, 224, 224)
    assert np.allclose(x * std + mean, (y * std + mean) * scale, atol=0.01)
    assert x.std() > 0.05  # and no flat value


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("x.tif", RAMP.astype(np.float32) * 255, "from 0 to 1, got 0 to 255"),
        ("x.tif", RAMP.astype(np.float32) - 0.5, "got -0.5 to 0.5"),
        ("x.tif", np.full((8, 8), np.nan, np.float32), "got nan to nan"),
        ("x.tif", (RAMP * 1e6).astype(np.int32), "from 0 to 65535, got 0 to 1e+06"),
    ],
)
def test_values_without_a_known_range_are_refused_at_the_start(
    name: str, values: np.ndarray, message: str, tmp_path: Path
) -> None:
    tree(tmp_path, name, Image.fromarray(values))
    with pytest.raises(TrainError) as error:
        load_dataset("folder", tmp_path)
    assert message in str(error.value)
    assert "x.tif: a grey picture of" in str(error.value)


def test_hidden_files_and_folders_are_no_pictures(tmp_path: Path) -> None:
    tree(tmp_path, "x.png", Image.fromarray(DEEP["eight.png"]))
    for part in ("train", "val"):
        (tmp_path / part / ".cache").mkdir()
        (tmp_path / part / ".cache" / "x.png").write_bytes(b"no picture")
        (tmp_path / part / "a" / ".git").mkdir()
        (tmp_path / part / "a" / ".git" / "x.png").write_bytes(b"no picture")
        (tmp_path / part / "a" / "._x.png").write_bytes(b"resource fork")
        (tmp_path / part / ".DS_Store").write_bytes(b"")
    data = load_dataset("folder", tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (2, 2, 2)
    (tmp_path / "train" / "b" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(TrainError, match=r"broken\.png: not a readable picture"):
        load_dataset("folder", tmp_path)


def write_idx(path: Path, values: np.ndarray, code: int = 8, packed: bool = False) -> None:
    shape = b"".join(size.to_bytes(4, "big") for size in values.shape)
    content = bytes([0, 0, code, values.ndim]) + shape + values.tobytes()
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def idx_folder(folder: Path, *, packed: bool = False, mark: str = "-", size: int = 8) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for prefix, count in (("train", 40), ("t10k", 10)):
        y = (np.arange(count) % 5).astype(np.uint8)
        x = (rng.integers(0, 99, (count, size, size)) + 30 * y[:, None, None]).astype(np.uint8)
        write_idx(folder / f"{prefix}-images{mark}idx3-ubyte", x, packed=packed)
        write_idx(folder / f"{prefix}-labels{mark}idx1-ubyte", y, packed=packed)
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", ["-", "."])
def test_idx_files(packed: bool, mark: str, tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "toy", packed=packed, mark=mark)
    data = load_dataset(f"idx:{folder}")
    assert (data.name, data.classes, data.shape) == ("toy", 5, (1, 8, 8))
    assert (len(data.train), len(data.test)) == (40, 10)
    x, y = data.train.fetch(np.arange(40), None)
    assert y.tolist() == [n % 5 for n in range(40)]
    assert abs(float(x.mean())) < 1e-4
    assert float(x[y == 4].mean()) > float(x[y == 0].mean()) + 1


def test_the_command_trains_on_idx_files(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "toy", packed=True)
    arguments = ["--dataset", f"idx:{folder}", "--batch-size", "8", "--epochs", "1"]
    result = CliRunner().invoke(main, [*arguments, "--method", "stochastic"])
    assert result.exit_code == 0, result.stderr
    assert "resnet8 on toy: 40 training and 10 test pictures" in result.stdout
    result = CliRunner().invoke(main, ["--dataset", "idx:/no/such"])
    assert result.exit_code == 2
    assert result.stderr == "error: data set idx: no such folder: /no/such\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "t10k-labels-idx1-ubyte").unlink(), "must hold t10k-labels-idx1-ubyte or"),
        (lambda f: (f / "train-images-idx3-ubyte").write_bytes(b""), "begins with nothing"),
        (lambda f: (f / "train-images-idx3-ubyte").write_bytes(b"\x7fELF123"), "7f454c46"),
        (
            lambda f: (f / "train-images-idx3-ubyte").write_bytes(
                (f / "train-images-idx3-ubyte").read_bytes()[:-3]
            ),
            "damaged: 2573 bytes instead of 2576",
        ),
        (lambda f: (f / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0"), "damaged"),
        (
            lambda f: write_idx(f / "train-labels-idx1-ubyte", np.zeros(39, np.uint8)),
            "one whole number for each of the 40 pictures",
        ),
        (
            lambda f: write_idx(f / "t10k-images-idx3-ubyte", np.zeros((10, 9, 9), np.uint8)),
            "one size",
        ),
        (
            lambda f: write_idx(f / "train-labels-idx1-ubyte", -np.ones(40, np.int8), 9),
            "labels from 0 on",
        ),
    ],
)
def test_damaged_idx_files(damage: object, message: str, tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "toy")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(TrainError) as error:
        load_dataset(f"idx:{folder}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_gzip(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "toy", packed=True)
    path = folder / "train-images-idx3-ubyte.gz"
    for content in (b"not packed", path.read_bytes()[:40]):
        path.write_bytes(content)
        with pytest.raises(TrainError, match=r"train-images-idx3-ubyte\.gz: cannot read"):
            load_dataset(f"idx:{folder}")


def test_the_validation_part_is_a_fifth_of_the_training_pictures() -> None:
    data = load_dataset("digits")
    held = hold_out(data)
    assert len(held.test) == len(data.train) // 5
    assert len(held.train) + len(held.test) == len(data.train)
    everything, _ = data.train.fetch(np.arange(len(data.train)), None)
    parts = [part.fetch(np.arange(len(part)), None)[0] for part in (held.train, held.test)]
    whole = sorted(x.tobytes() for x in everything)
    assert sorted(x.tobytes() for x in np.concatenate(parts)) == whole
    again = hold_out(data).test.fetch(np.arange(5), None)
    assert np.array_equal(again[0], held.test.fetch(np.arange(5), None)[0])
