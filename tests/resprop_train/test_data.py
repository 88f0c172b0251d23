"""Data sets: bundled ones as they are, local ones from hand-made copies, and damaged ones."""

from __future__ import annotations

import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resprop_train.data import DATASETS, load_dataset
from resprop_train.data.batches import epoch_order, evaluation_batches, training_batches
from resprop_train.data.bundled import pictures
from resprop_train.data.source import Dataset
from resprop_train.errors import TrainError
from resprop_train.study import carry_out


def test_digits_are_split_by_class_without_overlap() -> None:
    data = load_dataset("digits")
    assert (data.classes, data.shape) == (10, (1, 8, 8))
    assert len(data.train) + len(data.test) == 1797
    x, y = data.train.fetch(np.arange(len(data.train)), None)
    assert x.mean() == pytest.approx(0, abs=1e-4)
    assert x.std() == pytest.approx(1, abs=1e-3)
    assert (np.bincount(y) > 130).all()


def test_mnist_digits() -> None:
    data = load_dataset("mnist5k")
    assert (data.classes, data.shape) == (10, (1, 28, 28))
    assert (len(data.train), len(data.test)) == (4000, 1000)
    _, y = data.test.fetch(np.arange(1000), None)
    assert np.bincount(y).tolist() == [100] * 10


def test_pictures_are_crops_of_photographs() -> None:
    data = pictures(size=64)
    assert data.classes == 18
    index = np.array([0, 1, 18])
    x, y = data.train.fetch(index, np.random.default_rng(0))
    assert x.shape == (3, 3, 64, 64)
    assert x.dtype == np.float32
    assert y.tolist() == [0, 1, 0]
    assert not np.array_equal(x[0], x[2])
    again, _ = data.test.fetch(index, None)
    assert np.array_equal(again, data.test.fetch(index, None)[0])


def test_augmentation_is_a_shift_that_depends_on_the_generator_alone() -> None:
    data = load_dataset("digits")
    index = np.arange(20)
    plain, _ = data.train.fetch(index, None)
    a, _ = data.train.fetch(index, np.random.default_rng(3))
    b, _ = data.train.fetch(index, np.random.default_rng(3))
    assert np.array_equal(a, b)
    padded = np.pad(plain, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for i in range(20):
        shifts = [padded[i, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
        assert any(np.array_equal(a[i], shifted) for shifted in shifts)


def test_an_epoch_has_every_picture_once_and_can_begin_in_the_middle() -> None:
    data = load_dataset("digits")
    order = epoch_order(len(data.train), seed=1, epoch=2)
    assert sorted(order) == list(range(len(data.train)))
    settings = {"batch_size": 100, "seed": 1, "epoch": 2}
    whole = list(training_batches(data.train, **settings))
    assert len(whole) == 14
    late = list(training_batches(data.train, first=12, **settings))
    assert all(map(lambda a, b: a[0].equal(b[0]), whole[12:], late))


def test_processes_share_a_batch_without_overlap() -> None:
    data = load_dataset("digits")
    settings = {"seed": 0, "epoch": 0}
    whole = list(training_batches(data.train, batch_size=64, **settings))
    parts = [
        list(training_batches(data.train, batch_size=32, rank=rank, ranks=2, **settings))
        for rank in range(2)
    ]
    assert len(parts[0]) == len(parts[1]) == len(whole)
    for both, first, second in zip(whole, *parts, strict=True):
        assert both[1].tolist() == first[1].tolist() + second[1].tolist()


def test_evaluation_sees_every_picture_once() -> None:
    data = load_dataset("digits")
    labels = [int(y) for _, batch in evaluation_batches(data.test, 100) for y in batch]
    _, expected = data.test.fetch(np.arange(len(data.test)), None)
    assert sorted(labels) == sorted(expected.tolist())


def cifar_parts(classes: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    if classes == 100:
        names = ["train", "test"]
    return {
        name: (rng.integers(0, 256, (6, 3072), np.uint8), rng.integers(0, classes, 6))
        for name in names
    }


def write_cifar(folder: Path, classes: int, form: str) -> dict[str, Any]:
    parts = cifar_parts(classes)
    inner = {
        (10, "python"): "cifar-10-batches-py",
        (10, "binary"): "cifar-10-batches-bin",
        (100, "python"): "cifar-100-python",
        (100, "binary"): "cifar-100-binary",
    }[classes, form]
    (folder / inner).mkdir()
    for name, (pixels, labels) in parts.items():
        if form == "python":
            key = "labels" if classes == 10 else "fine_labels"
            content = {"data": pixels, key: labels.tolist(), "filenames": ["x"] * 6}
            (folder / inner / name).write_bytes(pickle.dumps(content, protocol=2))
        else:
            coarse = [np.zeros(6)] if classes == 100 else []
            columns = [*coarse, labels, *pixels.T]
            (folder / inner / f"{name}.bin").write_bytes(
                np.stack(columns, axis=1).astype(np.uint8).tobytes()
            )
    return parts


def check_cifar(data: Dataset, parts: dict[str, Any]) -> None:
    assert data.shape == (3, 32, 32)
    train = [p for name, p in parts.items() if "test" not in name]
    labels = np.concatenate([y for _, y in train])
    x, y = data.train.fetch(np.arange(len(labels)), None)
    assert y.tolist() == labels.tolist()
    expected = np.concatenate([p for p, _ in train]).reshape(-1, 3, 32, 32).astype(np.float32)
    mean, std = expected.mean((0, 2, 3)), expected.std((0, 2, 3))
    expected = (expected - mean[:, None, None]) / std[:, None, None]
    assert np.allclose(x, expected, atol=1e-5)


@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar_from_a_local_copy(tmp_path: Path, form: str, classes: int, packed: bool) -> None:
    parts = write_cifar(tmp_path, classes, form)
    (inner,) = tmp_path.iterdir()
    folder = tmp_path
    if packed:
        folder = tmp_path / "packed"
        folder.mkdir()
        with tarfile.open(folder / f"cifar-{classes}-{form}.tar.gz", "w:gz") as tar:
            tar.add(inner, inner.name)
    check_cifar(load_dataset(f"cifar{classes}", folder), parts)
    if not packed:
        check_cifar(load_dataset(f"cifar{classes}", inner), parts)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def test_damaged_cifar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainError, match=r"must hold cifar-10-batches-py/ or cifar-10-python"):
        load_dataset("cifar10", tmp_path)
    write_cifar(tmp_path, 10, "python")
    file = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    whole = file.read_bytes()
    for content in (b"", whole[:100], b"not a pickle", pickle.dumps(Trap())):
        file.write_bytes(content)
        with pytest.raises(TrainError, match="cifar-10-batches-py/data_batch_3: damaged"):
            load_dataset("cifar10", tmp_path)
    assert "executed" not in capsys.readouterr().out
    file.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}))
    with pytest.raises(TrainError, match="data_batch_3: missing or without its labels"):
        load_dataset("cifar10", tmp_path)
    file.unlink()
    with pytest.raises(TrainError, match="data_batch_3: missing"):
        load_dataset("cifar10", tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_an_archive_that_was_cut_is_named(tmp_path: Path, share: float) -> None:
    write_cifar(tmp_path, 10, "python")
    (inner,) = tmp_path.iterdir()
    archive = tmp_path / "packed" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(inner, inner.name)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(TrainError, match=r"cifar-10-python\.tar\.gz: data_batch_\d: damaged"):
        load_dataset("cifar10", archive.parent)


def write_tree(folder: Path) -> None:
    for part in ("train", "val"):
        for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
            (folder / part / name).mkdir(parents=True)
            for index, size in enumerate([(40, 30), (9, 60)]):
                Image.new("RGB", size, colour).save(folder / part / name / f"{index}.png")
    Image.new("L", (20, 20), 128).save(folder / "train" / "red" / "grey.jpg")


def test_image_folder(tmp_path: Path) -> None:
    write_tree(tmp_path)
    data = load_dataset("folder", tmp_path)
    assert (data.name, data.classes, data.shape) == (tmp_path.name, 2, (3, 224, 224))
    assert len(data.train) == 5
    for rng in (None, np.random.default_rng(0)):
        x, y = data.train.fetch(np.arange(4), rng)
        assert x.shape == (4, 3, 224, 224)
        assert y.tolist() == [0, 0, 1, 1]
        assert (x[:2, 2] > x[:2, 0]).all()  # blue
        assert (x[2:, 0] > x[2:, 2]).all()  # red


def test_damaged_image_folders(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="must hold a folder train"):
        load_dataset("folder", tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(TrainError, match="must hold one folder of pictures for each class"):
        load_dataset("folder", tmp_path)
    (tmp_path / "train" / "cat").mkdir()
    with pytest.raises(TrainError, match=r"cat: must hold pictures \(\.bmp"):
        load_dataset("folder", tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "train" / "cat" / "1.png")
    with pytest.raises(TrainError, match="must hold a folder val or test"):
        load_dataset("folder", tmp_path)
    (tmp_path / "val" / "dog").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "val" / "dog" / "1.png")
    with pytest.raises(TrainError, match="class 'cat' must be in both parts"):
        load_dataset("folder", tmp_path)
    (tmp_path / "val" / "dog").rename(tmp_path / "val" / "cat")
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(TrainError, match=r"1\.png: not a readable picture"):
        load_dataset("folder", tmp_path).train.fetch(np.array([0]), None)
    (tmp_path / "train" / "cat" / "1.png").unlink()
    photograph = tmp_path / "train" / "cat" / "1.jpg"
    Image.effect_noise((64, 64), 80).save(photograph)
    photograph.write_bytes(photograph.read_bytes()[:-400])
    with pytest.raises(TrainError, match=r"1\.jpg: not a readable picture: .*truncated"):
        load_dataset("folder", tmp_path).train.fetch(np.array([0]), None)


def test_bad_names_and_folders(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="dataset must be one of digits, mnist5k, .* got 'svhn'"):  # noqa: RUF043
        load_dataset("svhn")
    assert "svhn" not in DATASETS
    with pytest.raises(TrainError, match="cifar10 needs the folder that holds it"):
        load_dataset("cifar10")
    with pytest.raises(TrainError, match="data set folder: no such folder"):
        load_dataset("folder", tmp_path / "missing")


def test_pipes_in_a_data_set_and_as_the_folder_of_a_study(tmp_path: Path) -> None:
    pipe = tmp_path / "train-images-idx3-ubyte"
    os.mkfifo(pipe)
    (tmp_path / "train-labels-idx1-ubyte").touch()
    with pytest.raises(TrainError, match="must hold train-images-idx3-ubyte"):
        load_dataset(f"idx:{tmp_path}")
    with pytest.raises(TrainError, match="no such folder"):
        load_dataset(f"idx:{pipe}")
    with pytest.raises(TrainError, match="cannot be the folder of a study: File exists"):
        carry_out([], pipe)
