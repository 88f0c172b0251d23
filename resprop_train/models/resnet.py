"""Residual networks: ResNet-18/34/50 and the small ones for 32x32 pictures (He et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PadShortcut(nn.Module):
    """The parameter-free shortcut: subsample, fill up with zero channels (He et al., option A)."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, channels, H/stride, W/stride]."""
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """One residual step."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += shortcut
        return self.relu(y)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 convolutions around a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """One residual step."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += shortcut
        return self.relu(y)


class ResNet(nn.Module):
    """A stem, stages of blocks with doubling width and halving size, pooling, a classifier.

    ``large`` chooses the stem for 224x224 pictures (7x7 stride 2 and max pooling) over the one for
    32x32 (3x3). Layer names are those of torchvision.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: Sequence[int],
        *,
        width: int,
        channels: int,
        classes: int,
        large: bool,
        projection: bool = True,
    ) -> None:
        super().__init__()
        self.large = large
        if large:
            self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        inputs = width
        self.stages = len(blocks)
        for stage, count in enumerate(blocks):
            layers = []
            for index in range(count):
                stride = 2 if stage and not index else 1
                outputs = (width << stage) * block.expansion
                shortcut: nn.Module | None = None
                if stride != 1 or inputs != outputs:
                    shortcut = (
                        nn.Sequential(
                            nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                            nn.BatchNorm2d(outputs),
                        )
                        if projection
                        else PadShortcut(outputs, stride)
                    )
                layers.append(block(inputs, width << stage, stride, shortcut))
                inputs = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [N, C, H, W] to class scores [N, classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


IMAGENET_BLOCKS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


def imagenet_resnet(depth: int, *, channels: int, classes: int, large: bool) -> ResNet:
    """ResNet-18, 34 or 50; with ``large`` False the stem keeps the size of small pictures."""
    block, blocks = IMAGENET_BLOCKS[depth]
    return ResNet(block, blocks, width=64, channels=channels, classes=classes, large=large)


def cifar_resnet(depth: int, *, channels: int, classes: int) -> ResNet:
    """ResNet-(6n+2): three stages of n blocks, 16 to 64 channels, parameter-free shortcuts."""
    return ResNet(
        BasicBlock,
        [(depth - 2) // 6] * 3,
        width=16,
        channels=channels,
        classes=classes,
        large=False,
        projection=False,
    )
