"""Layer lists of well-known networks, with the memory-bound layers between the convolutions.

Layers are named as in torchvision's modules; what a module runs twice (one ``relu`` object in a
residual block) or does without a module (the addition) gets a name of its own. The ResNets with
bottlenecks put the stride on the 3x3 convolution, as torchvision and fb.resnet.torch do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from workloads.errors import GscnError
from workloads.shape import LayerShape

Size = tuple[int, int, int]
"""Channels, height, width of one sample."""


class LayerKind(StrEnum):
    """What a layer of a network does."""

    CONV = "conv"
    LINEAR = "linear"
    BATCH_NORM = "batch_norm"
    RELU = "relu"
    MAX_POOL = "max_pool"
    AVG_POOL = "avg_pool"
    ADD = "add"
    DROPOUT = "dropout"


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkLayer:
    """One layer of a network: tensor sizes of one sample, without the batch.

    ``shape`` is given for convolutions and fully connected layers (as 1x1 on 1x1), else None.
    """

    name: str
    kind: LayerKind
    input_size: Size
    output_size: Size
    shape: LayerShape | None = None


class _Builder:
    """Appends layers while following the size of the tensor that flows through them."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.layers: list[NetworkLayer] = []

    def _add(self, name: str, kind: LayerKind, output: Size, shape: LayerShape | None) -> None:
        layer = NetworkLayer(
            name=name, kind=kind, input_size=self.size, output_size=output, shape=shape
        )
        self.layers.append(layer)
        self.size = output

    def conv(self, name: str, filters: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        c, h, w = self.size
        shape = LayerShape(
            C=c,
            H=h,
            W=w,
            K=filters,
            R=kernel,
            S=kernel,
            stride=(stride, stride),
            padding=(padding, padding),
        )
        self._add(name, LayerKind.CONV, shape.gradient_shape, shape)

    def linear(self, name: str, features: int) -> None:
        c, h, w = self.size
        self.size = (c * h * w, 1, 1)
        shape = LayerShape(C=c * h * w, H=1, W=1, K=features, R=1, S=1)
        self._add(name, LayerKind.LINEAR, shape.gradient_shape, shape)

    def pool(
        self, name: str, kind: LayerKind, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        c, h, w = self.size
        height, width = ((size + 2 * padding - kernel) // stride + 1 for size in (h, w))
        self._add(name, kind, (c, height, width), None)

    def elementwise(self, name: str, kind: LayerKind) -> None:
        self._add(name, kind, self.size, None)

    def conv_bn(self, prefix: str, index: str, *args: int) -> None:
        self.conv(f"{prefix}conv{index}", *args)
        self.elementwise(f"{prefix}bn{index}", LayerKind.BATCH_NORM)

    def end_of_block(self, prefix: str, last_relu: str) -> None:
        self.elementwise(f"{prefix}add", LayerKind.ADD)
        self.elementwise(f"{prefix}{last_relu}", LayerKind.RELU)


def _basic_block(net: _Builder, prefix: str, filters: int, stride: int) -> None:
    net.conv_bn(prefix, "1", filters, 3, stride, 1)
    net.elementwise(f"{prefix}relu1", LayerKind.RELU)
    net.conv_bn(prefix, "2", filters, 3, 1, 1)


def _bottleneck(net: _Builder, prefix: str, filters: int, stride: int) -> None:
    net.conv_bn(prefix, "1", filters, 1)
    net.elementwise(f"{prefix}relu1", LayerKind.RELU)
    net.conv_bn(prefix, "2", filters, 3, stride, 1)
    net.elementwise(f"{prefix}relu2", LayerKind.RELU)
    net.conv_bn(prefix, "3", 4 * filters, 1)


def _downsample(net: _Builder, prefix: str, size: Size, filters: int, stride: int) -> None:
    """The 1x1 shortcut from the block's input ``size``; ends where the main path ended."""
    net.size = size
    net.conv(f"{prefix}downsample.0", filters, 1, stride)
    net.elementwise(f"{prefix}downsample.1", LayerKind.BATCH_NORM)


def _resnet(blocks: tuple[int, int, int, int], bottleneck: bool) -> list[NetworkLayer]:
    net = _Builder((3, 224, 224))
    net.conv_bn("", "1", 64, 7, 2, 3)
    net.elementwise("relu", LayerKind.RELU)
    net.pool("maxpool", LayerKind.MAX_POOL, 3, 2, 1)
    block = _bottleneck if bottleneck else _basic_block
    for stage, count in enumerate(blocks):
        for index in range(count):
            prefix = f"layer{stage + 1}.{index}."
            stride = 2 if stage > 0 and index == 0 else 1
            size = net.size
            block(net, prefix, 64 << stage, stride)
            if net.size != size:
                _downsample(net, prefix, size, net.size[0], stride)
            net.end_of_block(prefix, "relu3" if bottleneck else "relu2")
    net.pool("avgpool", LayerKind.AVG_POOL, 7)
    net.linear("fc", 1000)
    return net.layers


def _vgg(convolutions: tuple[int, int, int, int, int]) -> list[NetworkLayer]:
    net = _Builder((3, 224, 224))
    index = 0
    for stage, count in enumerate(convolutions):
        for _ in range(count):
            net.conv(f"features.{index}", min(64 << stage, 512), 3, 1, 1)
            net.elementwise(f"features.{index + 1}", LayerKind.RELU)
            index += 2
        net.pool(f"features.{index}", LayerKind.MAX_POOL, 2, 2)
        index += 1
    for index in (0, 3):
        net.linear(f"classifier.{index}", 4096)
        net.elementwise(f"classifier.{index + 1}", LayerKind.RELU)
        net.elementwise(f"classifier.{index + 2}", LayerKind.DROPOUT)
    net.linear("classifier.6", 1000)
    return net.layers


def _alexnet() -> list[NetworkLayer]:
    net = _Builder((3, 224, 224))
    convolutions = ((0, 64, 11, 4, 2), (3, 192, 5, 1, 2), (6, 384, 3, 1, 1))
    for index, *sizes in (*convolutions, (8, 256, 3, 1, 1), (10, 256, 3, 1, 1)):
        net.conv(f"features.{index}", *sizes)
        net.elementwise(f"features.{index + 1}", LayerKind.RELU)
        if index in (0, 3, 10):
            net.pool(f"features.{index + 2}", LayerKind.MAX_POOL, 3, 2)
    for index in (1, 4):
        net.elementwise(f"classifier.{index - 1}", LayerKind.DROPOUT)
        net.linear(f"classifier.{index}", 4096)
        net.elementwise(f"classifier.{index + 1}", LayerKind.RELU)
    net.linear("classifier.6", 1000)
    return net.layers


def _resnet20_cifar() -> list[NetworkLayer]:
    """He et al. 2016, section 4.2: parameter-free shortcuts (subsample, pad with zero channels)."""
    net = _Builder((3, 32, 32))
    net.conv_bn("", "1", 16, 3, 1, 1)
    net.elementwise("relu", LayerKind.RELU)
    for stage in range(3):
        for index in range(3):
            prefix = f"layer{stage + 1}.{index}."
            _basic_block(net, prefix, 16 << stage, 2 if stage > 0 and index == 0 else 1)
            net.end_of_block(prefix, "relu2")
    net.pool("avgpool", LayerKind.AVG_POOL, 8)
    net.linear("fc", 10)
    return net.layers


_NETWORKS: dict[str, Callable[[], list[NetworkLayer]]] = {
    "alexnet": _alexnet,
    "resnet18": lambda: _resnet((2, 2, 2, 2), bottleneck=False),
    "resnet34": lambda: _resnet((3, 4, 6, 3), bottleneck=False),
    "resnet50": lambda: _resnet((3, 4, 6, 3), bottleneck=True),
    "resnet101": lambda: _resnet((3, 4, 23, 3), bottleneck=True),
    "resnet20_cifar": _resnet20_cifar,
    "vgg16": lambda: _vgg((2, 2, 3, 3, 3)),
    "vgg19": lambda: _vgg((2, 2, 4, 4, 4)),
}


def network_names() -> list[str]:
    """Names that ``network_layers`` knows."""
    return sorted(_NETWORKS)


def network_layers(name: str) -> list[NetworkLayer]:
    """Every layer of a network in the order of its forward pass.

    Raises:
        GscnError: the name is unknown; the message lists those that are.
    """
    if name not in _NETWORKS:
        raise GscnError(f"network must be one of {', '.join(network_names())}, got {name!r}")
    return _NETWORKS[name]()


def conv_layers(name: str, *, linear: bool = False) -> list[tuple[str, LayerShape]]:
    """Names and shapes of a network's convolutions, with ``linear`` of its fully connected too."""
    return list(_weighted(network_layers(name), linear))


def _weighted(layers: list[NetworkLayer], linear: bool) -> Iterator[tuple[str, LayerShape]]:
    for layer in layers:
        if layer.shape is not None and (linear or layer.kind is LayerKind.CONV):
            yield layer.name, layer.shape
