"""MobileNet (Howard et al., 2017): depthwise convolutions between 1x1 ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

STAGES = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))
"""Filters and stride of each pair of convolutions, before the last stages."""
LAST = (*((512, 1),) * 5, (1024, 2), (1024, 1))


class MobileNet(nn.Module):
    """A stem, pairs of a depthwise and a 1x1 convolution, pooling, a classifier.

    ``large`` halves the size in the stem, for 224x224 pictures; without it the stem keeps it.
    """

    def __init__(self, *, channels: int, classes: int, large: bool) -> None:
        super().__init__()
        layers = [*_convolution(channels, 32, 3, 2 if large else 1)]
        inputs = 32
        for filters, stride in (*STAGES, *LAST):
            layers += _convolution(inputs, inputs, 3, stride, groups=inputs)
            layers += _convolution(inputs, filters, 1)
            inputs = filters
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [N, C, H, W] to class scores [N, classes]."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def _convolution(
    inputs: int, filters: int, kernel: int, stride: int = 1, groups: int = 1
) -> Iterator[nn.Module]:
    yield nn.Conv2d(inputs, filters, kernel, stride, kernel // 2, groups=groups, bias=False)
    yield nn.BatchNorm2d(filters)
    yield nn.ReLU(inplace=True)
