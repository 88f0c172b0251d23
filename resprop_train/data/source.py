"""What a data set is to the training loop, and the kind that fits in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resprop_train.errors import TrainError

Pictures = NDArray[np.float32]
Labels = NDArray[np.int64]


class Source(Protocol):
    """Pictures that can be fetched by index."""

    def __len__(self) -> int:
        """Number of pictures in an epoch."""
        ...

    def fetch(
        self, indices: NDArray[np.int64], rng: np.random.Generator | None
    ) -> tuple[Pictures, Labels]:
        """Pictures [n, C, H, W] and labels [n]; augmented only if a generator is given."""
        ...


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A training and a test part with the same classes and picture shape (C, H, W)."""

    name: str
    classes: int
    shape: tuple[int, int, int]
    train: Source
    test: Source

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            if len(getattr(self, part)) == 0:
                raise TrainError(f"data set {self.name}: the {part} part is empty")


@dataclass(frozen=True, kw_only=True)
class ArraySource:
    """Pictures held in memory as [n, C, H, W] of any real dtype.

    Fetched ones are (x - mean) / std. Augmented ones are shifted by up to ``shift`` pixels (zeros
    come in) and, with ``flip``, mirrored half of the time.
    """

    pictures: NDArray[Any]
    labels: Labels
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    shift: int = 0
    flip: bool = False

    def __len__(self) -> int:
        return len(self.pictures)

    def fetch(
        self, indices: NDArray[np.int64], rng: np.random.Generator | None
    ) -> tuple[Pictures, Labels]:
        """Normalised float32 pictures and their labels."""
        x = self.pictures[indices].astype(np.float32)
        x = (x - self.mean[:, None, None]) / self.std[:, None, None]
        if rng is not None:
            x = self._augment(x, rng)
        return x, self.labels[indices]

    def _augment(self, x: Pictures, rng: np.random.Generator) -> Pictures:
        n, _, height, width = x.shape
        if self.shift:
            s = self.shift
            padded = np.pad(x, ((0, 0), (0, 0), (s, s), (s, s)))
            offsets = rng.integers(0, 2 * s + 1, size=(n, 2))
            for i, (dy, dx) in enumerate(offsets):
                x[i] = padded[i, :, dy : dy + height, dx : dx + width]
        if self.flip:
            mirrored = rng.random(n) < 0.5
            x[mirrored] = x[mirrored, :, :, ::-1]
        return x


def in_memory(
    name: str,
    train: tuple[NDArray[Any], NDArray[Any]],
    test: tuple[NDArray[Any], NDArray[Any]],
    *,
    shift: int = 0,
    flip: bool = False,
) -> Dataset:
    """A data set of arrays, normalised by the mean and deviation of its training pictures."""
    pictures = train[0].astype(np.float32)
    mean, std = pictures.mean((0, 2, 3)), pictures.std((0, 2, 3)) + 1e-7
    parts = [
        ArraySource(
            pictures=x, labels=y.astype(np.int64), mean=mean, std=std, shift=shift, flip=flip
        )
        for x, y in (train, test)
    ]
    return Dataset(
        name=name,
        classes=int(max(train[1].max(), test[1].max())) + 1,
        shape=(train[0].shape[1], train[0].shape[2], train[0].shape[3]),
        train=parts[0],
        test=parts[1],
    )
