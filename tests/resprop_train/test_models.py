"""The networks against the published layer tables and parameter counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resprop_train.errors import TrainError
from resprop_train.models import MODELS, build_model
from workloads.networks import conv_layers


def convolutions(model: nn.Module) -> list[tuple[object, ...]]:
    return [
        (m.out_channels, m.in_channels, *m.kernel_size, m.stride, m.padding)
        for m in model.modules()
        if isinstance(m, nn.Conv2d)
    ]


@pytest.mark.parametrize(
    ("name", "table", "size"),
    [
        ("resnet18", "resnet18", 224),
        ("resnet34", "resnet34", 224),
        ("resnet50", "resnet50", 224),
        ("vgg16", "vgg16", 224),
        ("vgg16-bn", "vgg16", 224),
        ("resnet20", "resnet20", 32),
    ],
)
def test_convolutions_are_those_of_the_layer_table(name: str, table: str, size: int) -> None:
    with torch.device("meta"):
        model = build_model(name, channels=3, size=size, classes=10)
    shapes = [shape for _, shape in conv_layers(table)]
    expected = [(s.K, s.C, s.R, s.S, s.stride, s.padding) for s in shapes]
    assert sorted(map(repr, convolutions(model))) == sorted(map(repr, expected))
    if name != "vgg16-bn":
        ours = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
        assert sorted(ours) == sorted(layer for layer, _ in conv_layers(table))


# Parameters in millions as published with the networks (He et al.; Zagoruyko and Komodakis;
# the model tables of torchvision for 1,000 classes).
@pytest.mark.parametrize(
    ("name", "size", "classes", "millions"),
    [
        ("resnet18", 224, 1000, 11.69),
        ("resnet34", 224, 1000, 21.80),
        ("resnet50", 224, 1000, 25.56),
        ("vgg16", 224, 1000, 138.36),
        ("vgg16-bn", 224, 1000, 138.37),
        ("resnet20", 32, 10, 0.27),
        ("resnet56", 32, 10, 0.85),
        ("wrn-28-10", 32, 10, 36.5),
        ("mobilenet", 224, 1000, 4.23),  # Howard et al. 2017: 4.2
        ("vit-tiny", 224, 1000, 5.72),  # DeiT-Ti, Touvron et al. 2021: 5.7
    ],
)
def test_parameter_counts(name: str, size: int, classes: int, millions: float) -> None:
    with torch.device("meta"):
        model = build_model(name, channels=3, size=size, classes=classes)
    count = sum(p.numel() for p in model.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.5 * 10 ** -len(str(millions).split(".")[1]))


@pytest.mark.parametrize("name", [n for n in MODELS if n != "wrn-28-10"])
@pytest.mark.parametrize("size", [8, 32])
def test_small_pictures_go_through(name: str, size: int) -> None:
    model = build_model(name, channels=1, size=size, classes=7).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_unknown_model() -> None:
    with pytest.raises(TrainError, match="model must be one of resnet8, .*, got 'lenet'"):  # noqa: RUF043
        build_model("lenet", channels=1, size=8, classes=2)
