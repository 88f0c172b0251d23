"""Accuracy on the test part, and batch normalisation's running statistics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resprop_train.data.batches import evaluation_batches
from resprop_train.data.source import Source


@torch.no_grad()
def accuracy(
    model: nn.Module,
    source: Source,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    batch_statistics: bool = False,
) -> float:
    """Fraction of test pictures that are classified correctly.

    With ``batch_statistics`` batch normalisation uses those of each test batch: under ReSprop its
    running statistics lag behind the weights while the learning rate is high.
    """
    was_training = model.training
    model.eval()
    correct = total = 0
    try:
        with _batch_statistics(model, batch_statistics):
            for pictures, labels in evaluation_batches(source, batch_size):
                scores = model(pictures.to(device))
                correct += int((scores.argmax(1).cpu() == labels).sum())
                total += len(labels)
    finally:
        model.train(was_training)
    return correct / total


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace batch normalisation's running statistics by the plain average over ``batches``."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    try:
        for pictures in batches:
            model(pictures)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(was_training)


@contextmanager
def _batch_statistics(model: nn.Module, enabled: bool) -> Iterator[None]:
    norms = [
        m
        for m in model.modules()
        if enabled and isinstance(m, _BatchNorm) and m.track_running_stats
    ]
    for norm in norms:
        norm.train()
        norm.track_running_stats = False  # neither used nor updated
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
            norm.eval()
