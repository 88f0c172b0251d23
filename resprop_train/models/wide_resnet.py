"""Wide residual networks (Zagoruyko and Komodakis, 2016): WRN-28-10 for 32x32 pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WideBlock(nn.Module):
    """Pre-activation block: norm, ReLU, 3x3 convolution, twice."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != width or stride != 1:
            self.shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """One residual step; where the width changes, the shortcut starts after the activation."""
        y = torch.relu(self.bn1(x))
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(y)
        y = self.conv2(torch.relu(self.bn2(self.conv1(y))))
        y += shortcut
        return y


class WideResNet(nn.Module):
    """WRN-depth-widen: three stages of (depth - 4) / 6 blocks, 16 to 64 * widen channels."""

    def __init__(self, *, depth: int, widen: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        blocks: list[nn.Module] = []
        inputs = 16
        for stage in range(3):
            width = (16 << stage) * widen
            for index in range((depth - 4) // 6):
                blocks.append(WideBlock(inputs, width, 2 if stage and not index else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [N, C, H, W] to class scores [N, classes]."""
        x = torch.relu(self.bn(self.blocks(self.conv1(x))))
        return self.fc(x.mean((2, 3)))
