"""Layer lists of well-known networks, with the memory-bound layers between the convolutions.

Layers are named as in torchvision's modules; what a module runs twice (one ``relu`` object in a
residual block) or does without a module (the addition) gets a name of its own. The ResNets with
bottlenecks put the stride on the 3x3 convolution, as torchvision and fb.resnet.torch do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from workloads.errors import GscnError, did_you_mean
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

    ``shape`` is given for convolutions and fully connected layers (as 1x1 on 1x1), else None;
    ``window`` is the side of a pooling window, 1 for other layers.
    """

    name: str
    kind: LayerKind
    input_size: Size
    output_size: Size
    shape: LayerShape | None = None
    window: int = 1


class _Builder:
    """Appends layers while following the size of the tensor that flows through them."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.layers: list[NetworkLayer] = []

    def _add(
        self,
        name: str,
        kind: LayerKind,
        output: Size,
        shape: LayerShape | None = None,
        window: int = 1,
    ) -> None:
        layer = NetworkLayer(
            name=name,
            kind=kind,
            input_size=self.size,
            output_size=output,
            shape=shape,
            window=window,
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
        self._add(name, kind, (c, height, width), window=kernel)

    def elementwise(self, name: str, kind: LayerKind) -> None:
        self._add(name, kind, self.size)

    def conv_bn(self, prefix: str, index: str, *args: int) -> None:
        self.conv(f"{prefix}conv{index}", *args)
        self.elementwise(f"{prefix}bn{index}", LayerKind.BATCH_NORM)

    def norm_relu_conv(self, prefix: str, norm: str, number: str, *args: int) -> None:
        self.elementwise(f"{prefix}{norm}{number}", LayerKind.BATCH_NORM)
        self.elementwise(f"{prefix}relu{number}", LayerKind.RELU)
        self.conv(f"{prefix}conv{number}", *args)

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


# Filters of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and the projection after pooling.
_INCEPTION: Mapping[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def _googlenet() -> list[NetworkLayer]:
    """Szegedy et al. 2015, table 1, named as in its Caffe form.

    Left out: local response normalisation, the auxiliary classifiers, and concatenation.
    """
    net = _Builder((3, 224, 224))

    def conv(name: str, filters: int, kernel: int, stride: int = 1) -> None:
        net.conv(name, filters, kernel, stride, kernel // 2)
        net.elementwise(f"relu_{name}", LayerKind.RELU)

    conv("conv1/7x7_s2", 64, 7, 2)
    net.pool("pool1/3x3_s2", LayerKind.MAX_POOL, 3, 2, 1)
    conv("conv2/3x3_reduce", 64, 1)
    conv("conv2/3x3", 192, 3)
    net.pool("pool2/3x3_s2", LayerKind.MAX_POOL, 3, 2, 1)
    for module, (one, reduce3, three, reduce5, five, project) in _INCEPTION.items():
        if module in ("4a", "5a"):
            net.pool(f"pool{int(module[0]) - 1}/3x3_s2", LayerKind.MAX_POOL, 3, 2, 1)
        prefix, size = f"inception_{module}/", net.size
        conv(f"{prefix}1x1", one, 1)
        net.size = size
        conv(f"{prefix}3x3_reduce", reduce3, 1)
        conv(f"{prefix}3x3", three, 3)
        net.size = size
        conv(f"{prefix}5x5_reduce", reduce5, 1)
        conv(f"{prefix}5x5", five, 5)
        net.size = size
        net.pool(f"{prefix}pool", LayerKind.MAX_POOL, 3, 1, 1)
        conv(f"{prefix}pool_proj", project, 1)
        net.size = (one + three + five + project, *size[1:])
    net.pool("pool5/7x7_s1", LayerKind.AVG_POOL, 7)
    net.elementwise("pool5/drop", LayerKind.DROPOUT)
    net.linear("loss3/classifier", 1000)
    return net.layers


def _wide_resnet_cifar(blocks: int, width: int) -> list[NetworkLayer]:
    """Zagoruyko and Komodakis 2016: pre-activation blocks, 1x1 shortcuts where the size changes."""
    net = _Builder((3, 32, 32))
    net.conv("conv1", 16, 3, 1, 1)
    for stage in range(3):
        filters = (16 << stage) * width
        for index in range(blocks):
            prefix = f"layer{stage + 1}.{index}."
            stride = 2 if stage > 0 and index == 0 else 1
            size = net.size
            for number, step in (("1", stride), ("2", 1)):
                net.norm_relu_conv(prefix, "bn", number, filters, 3, step, 1)
            if net.size != size:
                net.size = size
                net.conv(f"{prefix}shortcut", filters, 1, stride)
            net.elementwise(f"{prefix}add", LayerKind.ADD)
    net.elementwise("bn", LayerKind.BATCH_NORM)
    net.elementwise("relu", LayerKind.RELU)
    net.pool("avgpool", LayerKind.AVG_POOL, 8)
    net.linear("fc", 10)
    return net.layers


def _densenet121() -> list[NetworkLayer]:
    """Huang et al. 2017, table 1: bottleneck layers of growth 32, transitions that halve."""
    net = _Builder((3, 224, 224))
    net.conv_bn("features.", "0", 64, 7, 2, 3)
    net.elementwise("features.relu0", LayerKind.RELU)
    net.pool("features.pool0", LayerKind.MAX_POOL, 3, 2, 1)
    for block, count in enumerate((6, 12, 24, 16)):
        for index in range(count):
            prefix = f"features.denseblock{block + 1}.denselayer{index + 1}."
            size = net.size
            for number, filters, kernel in (("1", 128, 1), ("2", 32, 3)):
                net.norm_relu_conv(prefix, "norm", number, filters, kernel, 1, kernel // 2)
            net.size = (size[0] + 32, *size[1:])
        if block < 3:
            prefix = f"features.transition{block + 1}."
            net.norm_relu_conv(prefix, "norm", "", net.size[0] // 2, 1)
            net.pool(f"{prefix}pool", LayerKind.AVG_POOL, 2, 2)
    net.elementwise("features.norm5", LayerKind.BATCH_NORM)
    net.elementwise("features.relu5", LayerKind.RELU)
    net.pool("avgpool", LayerKind.AVG_POOL, 7)
    net.linear("classifier", 1000)
    return net.layers


def _resnet20() -> list[NetworkLayer]:
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
    "densenet121": _densenet121,
    "googlenet": _googlenet,
    "resnet18": lambda: _resnet((2, 2, 2, 2), bottleneck=False),
    "resnet34": lambda: _resnet((3, 4, 6, 3), bottleneck=False),
    "resnet50": lambda: _resnet((3, 4, 6, 3), bottleneck=True),
    "resnet101": lambda: _resnet((3, 4, 23, 3), bottleneck=True),
    "resnet20": _resnet20,
    "wrn16_8_cifar": lambda: _wide_resnet_cifar(2, 8),
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
        raise GscnError(
            f"network must be one of {', '.join(network_names())}, got {name!r}"
            f"{did_you_mean(name, network_names())}"
        )
    return _NETWORKS[name]()


def conv_layers(name: str, *, linear: bool = False) -> list[tuple[str, LayerShape]]:
    """Names and shapes of a network's convolutions, with ``linear`` of its fully connected too."""
    return list(_weighted(network_layers(name), linear))


def _weighted(layers: list[NetworkLayer], linear: bool) -> Iterator[tuple[str, LayerShape]]:
    for layer in layers:
        if layer.shape is not None and (linear or layer.kind is LayerKind.CONV):
            yield layer.name, layer.shape
