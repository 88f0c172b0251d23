"""Accuracy and batch-norm recalibration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resprop_train.data.source import ArraySource
from resprop_train.evaluate import accuracy, recalibrate


def source() -> ArraySource:
    y = np.arange(30) % 3
    x = np.zeros((30, 3, 1, 1), dtype=np.float32)
    x[np.arange(30), y] = 1
    one = np.ones(3, dtype=np.float32)
    return ArraySource(pictures=x, labels=y, mean=0 * one, std=one)


class Scores(nn.Module):
    """Scores are the pixels, but class 0 and 1 are exchanged."""

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        return x.flatten(1)[:, [1, 0, 2]]


@pytest.mark.parametrize("batch_size", [7, 30, 100])
def test_accuracy_counts_every_picture_once(batch_size: int) -> None:
    model = Scores()
    assert accuracy(model, source(), batch_size=batch_size) == pytest.approx(1 / 3)
    assert model.training


def test_batch_statistics_are_used_and_running_ones_left_alone() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten())
    model[0].running_mean[:] = torch.tensor([100.0, 0.0, 0.0])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert accuracy(model, source()) == pytest.approx(2 / 3)  # class 0 never wins
    assert accuracy(model, source(), batch_statistics=True) == 1.0
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model[0].track_running_stats
    assert accuracy(model, source()) == pytest.approx(2 / 3)


def test_recalibration_is_the_average_over_the_batches() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5))
    model[0].running_mean[:] = 7
    batches = [torch.randn(4, 2, 3, 3) + i for i in range(3)]
    recalibrate(model, batches)
    expected = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    assert torch.allclose(model[0].running_mean, expected, atol=1e-6)
    assert model[0].momentum == 0.1
    assert model.training
