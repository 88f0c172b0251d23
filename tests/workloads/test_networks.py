"""Layer lists against the published sizes of the networks."""

from __future__ import annotations

import itertools

import pytest

from workloads.errors import GscnError
from workloads.networks import LayerKind, conv_layers, network_layers, network_names
from workloads.shape import LayerShape


def macs(name: str, *, linear: bool) -> float:
    return sum(shape.dense_macs for _, shape in conv_layers(name, linear=linear))


# torchvision's model table: "GFLOPS" (multiply-adds) of the weights documented for each model.
@pytest.mark.parametrize(
    ("name", "gmacs"),
    [
        ("alexnet", 0.71),
        ("densenet121", 2.83),
        ("resnet18", 1.81),
        ("resnet34", 3.66),
        ("resnet50", 4.09),
        ("resnet101", 7.80),
        ("vgg16", 15.47),
        ("vgg19", 19.63),
    ],
)
def test_multiply_adds_match_torchvisions_table(name: str, gmacs: float) -> None:
    assert macs(name, linear=True) / 1e9 == pytest.approx(gmacs, abs=0.011)


# torchvision's model table: number of parameters.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("alexnet", 61_100_840),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("vgg16", 138_357_544),
        ("vgg19", 143_667_240),
    ],
)
def test_parameters_match_torchvisions_table(name: str, parameters: int) -> None:
    count = 0
    for layer in network_layers(name):
        if layer.shape is not None:
            s = layer.shape
            has_bias = layer.kind is LayerKind.LINEAR or not name.startswith("resnet")
            count += s.K * s.C * s.R * s.S + (s.K if has_bias else 0)
        if layer.kind is LayerKind.BATCH_NORM:
            count += 2 * layer.output_size[0]
    assert count == parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("googlenet", 6_998_552),  # its Caffe model, without the auxiliary classifiers
        ("densenet121", 7_978_856),  # torchvision's model table
        ("wrn16_8_cifar", 10_961_370),  # 11.0 M in Zagoruyko and Komodakis 2016, table 4
    ],
)
def test_parameters_match_published_counts(name: str, parameters: int) -> None:
    count = 0
    for layer in network_layers(name):
        if layer.shape is not None:
            s = layer.shape
            has_bias = layer.kind is LayerKind.LINEAR or name == "googlenet"
            count += s.K * s.C * s.R * s.S + (s.K if has_bias else 0)
        if layer.kind is LayerKind.BATCH_NORM:
            count += 2 * layer.output_size[0]
    assert count == parameters


def test_resnet20_has_the_weights_and_depth_of_its_paper() -> None:
    """He et al. 2016, table 6: 20 weighted layers, 0.27 M parameters; 40.6 M multiply-adds."""
    layers = conv_layers("resnet20", linear=True)
    assert len(layers) == 20
    widths = [16] * 7 + [32] * 6 + [64] * 6
    by_hand = 9 * sum(c * k for c, k in itertools.pairwise([3, *widths])) + 64 * 10
    assert sum(s.K * s.C * s.R * s.S for _, s in layers) == by_hand == 268_336
    assert macs("resnet20", linear=True) == pytest.approx(40.55e6, rel=1e-3)


def test_layers_are_named_as_in_torchvision() -> None:
    resnet = dict(conv_layers("resnet34"))
    assert list(resnet)[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert resnet["layer2.0.downsample.0"] == LayerShape(
        C=64, H=56, W=56, K=128, R=1, S=1, stride=(2, 2)
    )
    assert len(resnet) == 36
    vgg = dict(conv_layers("vgg16"))
    assert list(vgg)[-1] == "features.28"
    assert vgg["features.28"] == LayerShape(C=512, H=14, W=14, K=512, R=3, S=3, padding=(1, 1))


def test_bottleneck_has_its_stride_on_the_3x3() -> None:
    shapes = dict(conv_layers("resnet50"))
    assert shapes["layer2.0.conv1"].stride == (1, 1)
    assert shapes["layer2.0.conv2"].stride == (2, 2)


def test_linear_layers_are_1x1_on_1x1() -> None:
    with_linear = dict(conv_layers("vgg16", linear=True))
    assert with_linear["classifier.0"] == LayerShape(C=25088, H=1, W=1, K=4096, R=1, S=1)
    assert "classifier.0" not in dict(conv_layers("vgg16"))


@pytest.mark.parametrize("name", network_names())
def test_names_are_unique_and_sizes_flow(name: str) -> None:
    layers = network_layers(name)
    assert len({layer.name for layer in layers}) == len(layers)
    for layer in layers:
        if layer.shape is not None:
            assert layer.shape.activation_shape == layer.input_size or layer.kind is (
                LayerKind.LINEAR
            )
            assert layer.shape.gradient_shape == layer.output_size
    if name in ("googlenet", "densenet121"):  # the branches of these meet in a concatenation
        return
    side = (".downsample.", ".shortcut")
    main_path = [layer for layer in layers if not any(part in layer.name for part in side)]
    for before, after in itertools.pairwise(main_path):
        volume = before.output_size[0] * before.output_size[1] * before.output_size[2]
        assert volume == after.input_size[0] * after.input_size[1] * after.input_size[2]


def test_every_kind_of_memory_bound_layer_is_there() -> None:
    kinds = [layer.kind for layer in network_layers("resnet18")]
    assert kinds.count(LayerKind.BATCH_NORM) == 20
    assert kinds.count(LayerKind.RELU) == 17
    assert kinds.count(LayerKind.ADD) == 8
    assert kinds.count(LayerKind.MAX_POOL) == kinds.count(LayerKind.AVG_POOL) == 1


def test_an_unknown_network_lists_the_known_ones() -> None:
    with pytest.raises(GscnError, match=r"network must be one of alexnet, .*, got 'resnet35'"):
        network_layers("resnet35")
