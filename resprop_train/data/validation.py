"""A part of the training pictures, held back for choices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resprop_train.data.source import Dataset, Labels, Pictures, Source

EVERY = 5
"""Of each five training pictures one is held back."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the pictures of a source."""

    source: Source
    chosen: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chosen)

    def fetch(
        self, indices: NDArray[np.int64], rng: np.random.Generator | None
    ) -> tuple[Pictures, Labels]:
        """As the source does, numbered anew."""
        return self.source.fetch(self.chosen[indices], rng)


def hold_out(dataset: Dataset) -> Dataset:
    """The same data with a fifth of its training pictures, always the same, as the test part."""
    order = np.random.default_rng(0).permutation(len(dataset.train))
    cut = len(order) // EVERY
    kept, held = np.sort(order[cut:]), np.sort(order[:cut])
    return Dataset(
        name=dataset.name,
        classes=dataset.classes,
        shape=dataset.shape,
        train=Part(source=dataset.train, chosen=kept),
        test=Part(source=dataset.train, chosen=held),
    )
