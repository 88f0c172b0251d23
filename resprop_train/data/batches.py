"""The order of pictures in an epoch, and batches fetched ahead of the step that needs them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from resprop_train.data.source import Labels, Pictures, Source


def epoch_order(length: int, *, seed: int, epoch: int) -> np.ndarray:
    """A permutation that depends on nothing but seed and epoch, so a resumed run repeats it."""
    return np.random.default_rng([seed, epoch]).permutation(length)


def training_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    first: int = 0,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented full batches of one epoch from batch ``first`` on; the rest that is left is unused.

    Each batch has a generator of its own. Of ``ranks`` processes each gets its share of the batch.
    """
    order = epoch_order(len(source), seed=seed, epoch=epoch)

    def fetch(index: int) -> tuple[Pictures, Labels]:
        start = (index * ranks + rank) * batch_size
        rng = np.random.default_rng([seed, epoch, index, rank, 1])
        return source.fetch(order[start : start + batch_size], rng)

    count = batches_per_epoch(len(source), batch_size * ranks)
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead: Future[tuple[Pictures, Labels]] | None = None
        for index in range(first, count):
            pictures, labels = (ahead or pool.submit(fetch, index)).result()
            ahead = pool.submit(fetch, index + 1) if index + 1 < count else None
            yield torch.from_numpy(np.ascontiguousarray(pictures)), torch.from_numpy(labels)


def evaluation_batches(source: Source, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All pictures as they are, in a fixed order in which every batch has all classes."""
    order = np.random.default_rng(0).permutation(len(source))
    for start in range(0, len(source), batch_size):
        pictures, labels = source.fetch(order[start : start + batch_size], None)
        yield torch.from_numpy(np.ascontiguousarray(pictures)), torch.from_numpy(labels)


def batches_per_epoch(length: int, batch_size: int) -> int:
    """Full batches in an epoch."""
    return length // batch_size
