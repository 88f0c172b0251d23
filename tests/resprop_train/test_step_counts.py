"""Bytes and multiply-adds of recorded steps equal those counted from the layers' shapes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from math import prod

import pytest
import torch

from resprop_train.models import build_model
from resprop_train.step import trace_step
from workloads import Step
from workloads.networks import LayerKind, NetworkLayer, network_layers

Count = tuple[str, str, float, float, int]
"""Phase, kind, elements of 4 bytes read and written, multiply-adds."""


@cache
def recorded(name: str, batch: int) -> Step:
    with torch.device("meta"):
        model = build_model(name, channels=3, size=224, classes=1000)
    return trace_step(model, (batch, 3, 224, 224))


def layers_of(name: str) -> list[NetworkLayer]:
    """The layers, with the batch-norm after each convolution that the list of VGG-16 lacks."""
    layers = []
    for layer in network_layers(name.removesuffix("-bn")):
        layers.append(layer)
        if name.endswith("-bn") and layer.kind is LayerKind.CONV:
            size = layer.output_size
            norm = NetworkLayer(
                name=f"{layer.name}n", kind=LayerKind.BATCH_NORM, input_size=size, output_size=size
            )
            layers.append(norm)
    return layers


def counted(name: str, n: int) -> Iterator[Count]:
    """What each layer of a network does in a step, by hand."""
    with_bias = name.startswith("vgg")
    parameters = 0
    first = True
    for layer in layers_of(name):
        c, x, y = layer.input_size[0], n * prod(layer.input_size), n * prod(layer.output_size)
        k = layer.output_size[0]
        match layer.kind:
            case LayerKind.CONV | LayerKind.LINEAR:
                assert layer.shape is not None
                w, macs = prod(layer.shape.weight_shape), n * layer.shape.dense_macs
                linear = layer.kind is LayerKind.LINEAR
                bias = k if linear or with_bias else 0
                kind = "matmul" if linear else "convolution"
                yield "forward", kind, x + w + bias, y, macs
                if not first:
                    yield "backward", kind, y + w, x, macs
                yield "backward", kind, y + x, w, macs
                if bias:
                    yield "backward", "addition", y, bias, 0
                parameters += w + bias
                first = False
            case LayerKind.BATCH_NORM:
                yield "forward", "normalisation", x + 4 * c, y + 4 * c, 0
                yield "forward", "normalisation", 2, 2, 0  # counts its batches: one int64
                yield "backward", "normalisation", 2 * x + 3 * c, x + 2 * c, 0
                parameters += 2 * c
            case LayerKind.RELU:
                yield "forward", "activation", x, x, 0
                yield "backward", "activation", 2 * x, x, 0
            case LayerKind.ADD:
                yield "forward", "addition", 2 * x, x, 0
            case LayerKind.MAX_POOL:  # an index of 8 bytes beside each output
                yield "forward", "pooling", x, 3 * y, 0
                yield "backward", "pooling", 3 * y, x, 0
            case LayerKind.AVG_POOL:
                yield "forward", "pooling", x, y, 0
                yield "backward", "pooling", y, x, 0
            case LayerKind.DROPOUT:  # a mask of one byte beside each output
                yield "forward", "activation", x, 1.25 * x, 0
                yield "backward", "activation", 1.25 * x, x, 0
    if name.startswith("vgg"):  # 7x7 to 7x7
        size = n * 512 * 7 * 7
        yield "forward", "pooling", size, size, 0
        yield "backward", "pooling", size, size, 0
    for size in forks(name):  # where gradients of a block's two ways meet
        yield "backward", "addition", 2 * n * size, n * size, 0
    scores = n * 1000
    yield "forward", "loss", scores, scores, 0  # log-softmax
    yield "forward", "loss", n + 2 * n, 2, 0  # one score and one int64 label of each sample
    yield "backward", "other", 0, 1, 0  # the gradient of the loss by itself
    yield "backward", "loss", 1 + 2 * n + 1, scores, 0
    yield "backward", "loss", 2 * scores, scores, 0
    yield "optimizer", "optimizer", 7 * parameters, 4 * parameters, 0


def forks(name: str) -> list[int]:
    """Sizes of the tensors that residual blocks start from."""
    found, size = [], 0
    for layer in network_layers(name.removesuffix("-bn")):
        if layer.name.endswith(".conv1"):
            size = prod(layer.input_size)
        if layer.kind is LayerKind.ADD:
            found.append(size)
    return found


@pytest.mark.parametrize(
    ("name", "batch"),
    [("resnet34", 16), ("vgg16", 16), ("vgg16-bn", 128), ("resnet50", 16)],
)
def test_every_class_of_every_phase(name: str, batch: int) -> None:
    step = recorded(name, batch)
    expected: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0, 0])
    for phase, kind, read, written, macs in counted(name, batch):
        for i, value in enumerate((4 * read, 4 * written, macs)):
            expected[phase, kind][i] += value
    got: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0, 0])
    for o in step.operations:
        for i, value in enumerate((o.bytes_read, o.bytes_written, o.macs)):
            got[o.phase, o.kind][i] += value
    assert got == expected
    assert step.unpriced == {}
    assert step.left_out == {}


@pytest.mark.parametrize("name", ["resnet34", "vgg16"])
def test_every_layer_has_its_operations(name: str) -> None:
    step = recorded(name, 16)
    shapes = {layer.name: layer.shape for layer in network_layers(name) if layer.shape}
    first = next(iter(shapes))
    expected = Counter(
        (layer, shape, phase)
        for layer, shape in shapes.items()
        for phase in ("forward", "dgrad", "wgrad")
        if not (layer == first and phase == "dgrad")
    )
    assert expected == Counter(
        (o.module, o.layer, str(o.layer_phase)) for o in step.operations if o.layer is not None
    )
    assert {o.samples for o in step.operations if o.layer is not None} == {16}
