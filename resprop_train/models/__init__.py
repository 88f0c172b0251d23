"""The networks that the command line offers, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from resprop_train.errors import TrainError
from resprop_train.models.mobilenet import MobileNet
from resprop_train.models.resnet import cifar_resnet, imagenet_resnet
from resprop_train.models.vgg import VGG
from resprop_train.models.vit import VisionTransformer
from resprop_train.models.wide_resnet import WideResNet

LARGE_SIZE = 96
"""From this picture size on, a network gets the stem and classifier of its ImageNet form."""

Builder = Callable[[int, int, int], nn.Module]
"""(channels, picture size, classes) to network."""


def _imagenet(depth: int) -> Builder:
    return lambda channels, size, classes: imagenet_resnet(
        depth, channels=channels, classes=classes, large=size >= LARGE_SIZE
    )


def _cifar(depth: int) -> Builder:
    return lambda channels, size, classes: cifar_resnet(depth, channels=channels, classes=classes)


def _vgg(norm: bool) -> Builder:
    return lambda channels, size, classes: VGG(
        channels=channels, classes=classes, size=size, large=size >= LARGE_SIZE, norm=norm
    )


def _tiny_vit(channels: int, size: int, classes: int) -> nn.Module:
    """The tiny size of DeiT (Touvron et al., 2021), a smaller one for small pictures."""
    large = size >= LARGE_SIZE
    return VisionTransformer(
        channels=channels,
        classes=classes,
        size=size,
        patch=max(1, size // (14 if large else 7)),
        width=192 if large else 64,
        depth=12 if large else 4,
        heads=3 if large else 4,
    )


MODELS: dict[str, Builder] = {
    "resnet8": _cifar(8),
    "resnet20": _cifar(20),
    "resnet56": _cifar(56),
    "resnet18": _imagenet(18),
    "resnet34": _imagenet(34),
    "resnet50": _imagenet(50),
    "vgg16": _vgg(norm=False),
    "vgg16-bn": _vgg(norm=True),
    "wrn-28-10": lambda channels, size, classes: WideResNet(
        depth=28, widen=10, channels=channels, classes=classes
    ),
    "mobilenet": lambda channels, size, classes: MobileNet(
        channels=channels, classes=classes, large=size >= LARGE_SIZE
    ),
    "vit-tiny": _tiny_vit,
}


def build_model(name: str, *, channels: int, size: int, classes: int) -> nn.Module:
    """Return a network for pictures of that size, initialised from torch's global generator.

    Raises:
        TrainError: the name is unknown.
    """
    if name not in MODELS:
        raise TrainError(f"model must be one of {', '.join(MODELS)}, got {name!r}")
    return MODELS[name](channels, size, classes)
