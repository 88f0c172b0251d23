"""Trees of pictures: one folder a class, as in ``train/cat/1.jpg``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resprop_train.data.pixels import check_picture, read_picture
from resprop_train.data.source import Dataset, Labels, Pictures
from resprop_train.errors import TrainError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""Channel statistics of ImageNet, customary for natural pictures."""


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """Pictures read from disk when fetched.

    Augmented ones are a random crop of 8 % to 100 % of the area, mirrored half of the time; others
    are the centre of the picture scaled to 8/7 of the size.
    """

    files: tuple[Path, ...]
    labels: Labels
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def fetch(
        self, indices: NDArray[np.int64], rng: np.random.Generator | None
    ) -> tuple[Pictures, Labels]:
        """Normalised [n, 3, size, size] and labels."""
        pictures = [self._read(self.files[index], rng) for index in indices]
        return np.stack(pictures), self.labels[indices]

    def _read(self, path: Path, rng: np.random.Generator | None) -> Pictures:
        from PIL import Image

        picture = read_picture(path)
        width, height = picture.size
        if rng is None:
            side = round(min(width, height) * 7 / 8) or 1
            left, top = (width - side) // 2, (height - side) // 2
            box = (left, top, left + side, top + side)
        else:
            area, aspect = rng.uniform(0.08, 1.0), np.exp(rng.uniform(-0.288, 0.288))
            w = max(1, min(width, round(np.sqrt(width * height * area * aspect))))
            h = max(1, min(height, round(np.sqrt(width * height * area / aspect))))
            left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            box = (left, top, left + w, top + h)
        scaled = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        colours = np.asarray(scaled, dtype=np.float32) / 255.0
        if colours.ndim == 2:
            colours = np.repeat(colours[:, :, None], 3, axis=2)
        x = (colours - MEAN) / STD
        if rng is not None and rng.random() < 0.5:
            x = x[:, ::-1]
        return np.ascontiguousarray(x.transpose(2, 0, 1))


def image_folder(folder: Path, size: int = 224) -> Dataset:
    """A folder with ``train`` and ``val`` (or ``test``), each with one folder a class.

    Hidden files and folders (``.DS_Store``, ``._1.jpg``) are passed over.

    Raises:
        TrainError: a part is missing or empty, the parts have different classes, or a picture
            cannot be read.
    """
    train_classes, train = _scan(folder, ("train",), size)
    test_classes, test = _scan(folder, ("val", "test"), size)
    if train_classes != test_classes:
        odd = sorted(set(train_classes) ^ set(test_classes))[0]
        raise TrainError(f"{folder}: class {odd!r} must be in both parts")
    return Dataset(
        name=folder.resolve().name,
        classes=len(train_classes),
        shape=(3, size, size),
        train=train,
        test=test,
    )


def _scan(folder: Path, names: tuple[str, ...], size: int) -> tuple[list[str], FolderSource]:
    part = next((folder / name for name in names if (folder / name).is_dir()), None)
    if part is None:
        raise TrainError(f"{folder}: must hold a folder {' or '.join(names)}")
    classes = sorted(
        entry.name for entry in part.iterdir() if entry.is_dir() and not _is_hidden(entry)
    )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(_pictures(part / name))
        if not found:
            raise TrainError(f"{part / name}: must hold pictures ({', '.join(sorted(SUFFIXES))})")
        for path in found:
            check_picture(path)
        files += found
        labels += [label] * len(found)
    if not files:
        raise TrainError(f"{part}: must hold one folder of pictures for each class")
    source = FolderSource(files=tuple(files), labels=np.array(labels, dtype=np.int64), size=size)
    return classes, source


def _pictures(folder: Path) -> Iterator[Path]:
    """The picture files in a folder and its folders, hidden ones left out."""
    for entry in folder.iterdir():
        if _is_hidden(entry):
            continue
        if entry.is_dir():
            yield from _pictures(entry)
        elif entry.suffix.lower() in SUFFIXES:
            yield entry


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")
