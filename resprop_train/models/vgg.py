"""VGG-16, with and without batch normalisation (Simonyan and Zisserman, 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""(channels, 3x3 convolutions) of each stage; a 2x2 max pooling ends it."""


class VGG(nn.Module):
    """Thirteen 3x3 convolutions and a classifier; layer names are those of torchvision.

    ``large`` chooses the classifier of the 224x224 network (two hidden layers of 4,096) over the
    single layer that is usual for 32x32 pictures. Pooling stops at 1x1, so that smaller pictures
    work too.
    """

    def __init__(self, *, channels: int, classes: int, size: int, large: bool, norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, count in STAGES:
            for _ in range(count):
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                if norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                channels = width
            if size > 1:
                layers.append(nn.MaxPool2d(2))
                size //= 2
        self.features = nn.Sequential(*layers)
        if large:
            self.avgpool: nn.Module = nn.AdaptiveAvgPool2d(7)
            self.classifier: nn.Module = nn.Sequential(
                nn.Linear(512 * 7 * 7, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(4096, classes),
            )
        else:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Linear(512, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [N, C, H, W] to class scores [N, classes]."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
