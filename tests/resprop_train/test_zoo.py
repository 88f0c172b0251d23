"""Models that nobody here wrote: networks of the package pytorchcv.

Its version 0.0.67 is the last that needs nothing but numpy and requests; later ones ask for
torchvision, which is not built for every torch.
"""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor, nn

from resprop_train.conversion import convert, reuse_layers, revert

NETWORKS = {
    "shufflenet": "shufflenet_g1_wd4",  # grouped 1x1 convolutions
    "shufflenetv2": "shufflenetv2_wd2",  # split and shuffled channels
    "mobilenetv3": "mobilenetv3_small_w7d20",  # depthwise, squeeze and excitation
    "squeezenet": "squeezenet_v1_1",
    "resnet_cifar": "resnet20_cifar10",
    "nin_cifar": "nin_cifar10",  # 1x1 convolutions with bias, dropout
}


def build(module: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = getattr(importlib.import_module(f"pytorchcv.models.{module}"), name)()
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return model.double()


def gradient_after(model: nn.Module, size: int, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(2, 3, size, size, generator=generator, dtype=torch.float64)
        model.zero_grad()
        model(x).logsumexp(1).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("module", list(NETWORKS))
def test_threshold_zero_gives_the_ordinary_gradient(module: str) -> None:
    name, size = NETWORKS[module], 32 if "cifar" in module else 224
    plain = build(module, name)
    ours = convert(build(module, name), 0.0)
    convolutions = [n for n, m in plain.named_modules() if isinstance(m, nn.Conv2d)]
    assert list(reuse_layers(ours)) == convolutions
    expected, got = gradient_after(plain, size, 2), gradient_after(ours, size, 2)
    assert (expected - got).norm() < 1e-10 * expected.norm()
    assert all(r.dense_steps == {"first": 1} for r in reuse_layers(ours).values())
    assert list(revert(ours).state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("module", ["shufflenetv2", "resnet_cifar"])
def test_quantile_reaches_the_density_in_every_layer(module: str) -> None:
    model = convert(build(module, NETWORKS[module]), 0.9, rule="quantile")
    gradient_after(model, 32 if "cifar" in module else 224, 2)
    for reuse in reuse_layers(model).values():
        assert reuse.last is not None
        assert reuse.last.density <= 0.1 + 1 / reuse.last.elements
