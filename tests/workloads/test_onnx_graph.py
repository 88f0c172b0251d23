"""Layers of ONNX graphs: by hand, against the layer lists known here, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads import GscnError, LayerShape
from workloads.interop.onnx_graph import read_onnx
from workloads.networks import conv_layers

onnx = pytest.importorskip("onnx")
SAMPLES = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(
        kind, inputs.split(), [output], name=f"{kind}_{output}", **attributes
    )


def graph(folder: Path, nodes: list[Any], inputs: dict[str, Any], **weights: list[int]) -> Path:
    """A model file: float inputs by name and sizes, weights (of zeros) by name and sizes."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, sizes) for name, sizes in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], kind, None)],
        [
            onnx.numpy_helper.from_array(np.zeros(sizes, dtype=np.float32), name)
            for name, sizes in weights.items()
        ],
    )
    path = folder / "net.onnx"
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my.own", 1)]
    onnx.save(helper.make_model(made, opset_imports=opsets), path)
    return path


def shapes(path: Path) -> list[tuple[str, LayerShape]]:
    layers, skipped = read_onnx(path)
    assert skipped == []
    return [(layer.name, layer.shape) for layer in layers]


def test_a_network_by_hand(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "a", pads=[1, 2, 1, 2], strides=[2, 1]),
        node("Relu", "a", "b"),
        node("Conv", "b v", "c", group=8, dilations=[1, 2]),
        node("GlobalAveragePool", "c", "d"),
        node("Flatten", "d", "e"),
        node("Gemm", "e f bias", "g", transB=1),
        node("Transpose", "h", "ht", perm=[1, 0]),
        node("MatMul", "g ht", "y"),
    ]
    path = graph(
        tmp_path,
        nodes,
        {"x": ["batch", 3, 16, 20]},
        w=[8, 3, 3, 5],
        v=[16, 1, 3, 3],
        f=[10, 16],
        bias=[10],
        h=[4, 10],
    )
    assert shapes(path) == [
        ("Conv_a", LayerShape(C=3, H=16, W=20, K=8, R=3, S=5, padding=(1, 2), stride=(2, 1))),
        ("Conv_c", LayerShape(C=8, H=8, W=20, K=16, R=3, S=3, dilation=(1, 2), groups=8)),
        ("Gemm_g", LayerShape(C=16, H=1, W=1, K=10, R=1, S=1)),
        ("MatMul_y", LayerShape(C=10, H=1, W=1, K=4, R=1, S=1)),
    ]


def test_positions_between_batch_and_features(tmp_path: Path) -> None:
    path = graph(tmp_path, [node("MatMul", "x w", "y")], {"x": [None, 6, 7, 8]}, w=[8, 5])
    assert shapes(path) == [("MatMul_y", LayerShape(C=8, H=42, W=1, K=5, R=1, S=1))]


@pytest.mark.parametrize("auto_pad", ["VALID", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_automatic_padding_gives_the_output_that_onnx_infers(
    tmp_path: Path, auto_pad: str, stride: int, kernel: int
) -> None:
    nodes = [node("Conv", "x w", "y", auto_pad=auto_pad, strides=[stride, 1])]
    path = graph(tmp_path, nodes, {"x": [1, 2, 13, 10]}, w=[4, 2, kernel, 3])
    ((_, shape),) = shapes(path)
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path)).graph.output[0].type.tensor_type
    assert shape.gradient_shape == tuple(d.dim_value for d in inferred.shape.dim[1:])


def test_uneven_padding_becomes_input(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "y", pads=[0, 1, 1, 3], strides=[2, 2])]
    ((_, shape),) = shapes(graph(tmp_path, nodes, {"x": [1, 2, 8, 8]}, w=[4, 2, 3, 3]))
    assert shape == LayerShape(C=2, H=9, W=10, K=4, R=3, S=3, padding=(0, 1), stride=(2, 2))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="onnx was installed without its samples")
@pytest.mark.parametrize("network", ["resnet50", "vgg19", "densenet121"])
def test_samples_that_onnx_ships_are_the_networks_known_here(network: str) -> None:
    read = Counter(shape for _, shape in shapes(SAMPLES / f"light_{network}.onnx"))
    assert read == Counter(shape for _, shape in conv_layers(network, linear=True))


@pytest.mark.parametrize(
    ("nodes", "sizes", "message"),
    [
        ([node("ConvTranspose", "x w", "y")], [1, 4, 8, 8], "standard operator.*'?ConvTranspose"),
        ([node("LSTM", "x w w", "y")], [1, 4, 8], "got LSTM"),
        ([node("Conv", "x w", "y", domain="my.own")], [1, 4, 8, 8], "got my.own.Conv"),
        ([node("Conv", "x w", "y")], [1, 4, "h", 8], r"must be known numbers, got \[1, 4, \?, 8\]"),
        ([node("Conv", "x w", "y", strides=[0, 1])], [1, 4, 8, 8], "stride_h must be a positive"),
        ([node("Conv", "x w", "y", pads=[-1, 0, 0, 0])], [1, 4, 8, 8], "pads must be 4 whole"),
        ([node("Conv", "x w", "y", auto_pad="MOST")], [1, 4, 8, 8], "auto_pad must be NOTSET"),
        ([node("Conv", "x w", "y")], [1, 6, 8, 8], "weights must be for 6 channels in 1 groups"),
        ([node("MatMul", "x x", "y")], [4, 4], "must have weights as its second input"),
        ([node("Relu", "x", "y")], [4, 4], "must hold at least one Conv, Gemm or MatMul, got none"),
        ([node("MatMul", "x w", "y")], [3, 4, 8, 4], "sizes .in, out. must be known numbers"),
    ],
)
def test_what_is_refused_is_one_line_with_file(
    tmp_path: Path, nodes: list[Any], sizes: list[Any], message: str
) -> None:
    path = graph(tmp_path, nodes, {"x": sizes}, w=[4, 4, 3, 3])
    with pytest.raises(GscnError, match=message) as raised:
        read_onnx(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("batch", [1, 2, "n"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(1, 1, 0), (3, 1, 1), (3, 2, 1), (3, 1, 0), (5, 3, 2), (7, 2, 3)]
)
def test_frames_in_the_batch_are_work_of_each_sample(
    tmp_path: Path, batch: int | str, kernel: int, stride: int, pad: int
) -> None:
    """``conv(x.flatten(0, 1))`` on [N, 8, 3, 16, 18]: 8 times the work of one frame."""
    nodes = [
        node("Shape", "x", "all"),
        node("Slice", "all two five", "rest"),
        node("Concat", "minus rest", "folded", axis=0),
        node("Reshape", "x folded", "frames"),
        node("Conv", "frames w", "y", pads=[pad] * 4, strides=[stride] * 2),
    ]
    path = graph(tmp_path, nodes, {"x": [batch, 8, 3, 16, 18]}, w=[4, 3, kernel, kernel])
    model = onnx.load(path)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array([value]), name)
        for name, value in (("two", 2), ("five", 5), ("minus", -1))
    )
    onnx.save(model, path)
    ((_, shape),) = shapes(path)
    frame = LayerShape(
        C=3, H=16, W=18, K=4, R=kernel, S=kernel, stride=(stride,) * 2, padding=(pad,) * 2
    )
    assert shape.dense_macs == 8 * frame.dense_macs
    assert shape.gradient_shape == (4, 8 * frame.P, frame.Q)
    assert shape.weight_shape == frame.weight_shape
    assert abs(shape.H - 8 * 16) <= 8 * max(kernel, stride)


def test_patches_in_the_batch_of_a_product(tmp_path: Path) -> None:
    path = graph(tmp_path, [node("MatMul", "x w", "y")], {"x": [2, 14, 8]}, w=[8, 5])
    assert shapes(path)[0][1] == LayerShape(C=8, H=14, W=1, K=5, R=1, S=1)
    nodes = [node("Reshape", "x s", "flat"), node("Gemm", "flat w", "y")]
    path = graph(tmp_path, nodes, {"x": [2, 14, 8]}, w=[8, 5])
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([28, 8]), "s"))
    onnx.save(model, path)
    assert shapes(path)[0][1] == LayerShape(C=8, H=14, W=1, K=5, R=1, S=1)


def test_a_first_axis_that_is_no_multiple_of_the_batch_is_refused(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x s", "r"), node("Conv", "r w", "y")]
    path = graph(tmp_path, nodes, {"x": [4, 3, 6, 6]}, w=[4, 3, 1, 1])
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([6, 3, 4, 6]), "s"))
    onnx.save(model, path)
    with pytest.raises(GscnError, match="must be the graph's batch 4 or a multiple of it, got 6"):
        read_onnx(path)


def test_unsupported_nodes_can_be_left_out(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("Conv", "a w", "b", domain="my.own"),
        node("MatMul", "x x", "c"),
    ]
    path = graph(tmp_path, nodes, {"x": [1, 4, 8, 8]}, w=[4, 4, 3, 3])
    layers, skipped = read_onnx(path, skip_unsupported=True)
    assert [layer.name for layer in layers] == ["Conv_a"]
    assert [node.node for node in skipped] == ["Conv_b", "MatMul_c"]
    assert "got my.own.Conv" in skipped[0].why
    with pytest.raises(GscnError, match=r"got none beside 1 unsupported nodes"):
        read_onnx(
            graph(tmp_path, nodes[1:2], {"a": [1, 4, 8, 8]}, w=[4, 4, 3, 3]), skip_unsupported=True
        )


@pytest.mark.parametrize(
    ("name", "weight", "scopes", "called"),
    [
        ("/layer1/layer1.0/conv1/Conv", "onnx::Conv_12", None, "layer1.0.conv1"),
        ("/layer1/layer1.0/layer1.0.2/Conv_1", "w", None, "layer1.0.2"),
        ("node_conv2d_4", "stem.conv.weight", None, "stem.conv"),
        ("node_conv2d_4", "w", "['', 'stem', 'stem.conv', 'conv2d_4']", "stem.conv"),
        ("node_conv2d_4", "w", "['', 'conv2d_4']", "node_conv2d_4"),
        ("node_conv2d_4", "w", "__import__('os')", "node_conv2d_4"),
        ("/Conv", "w", None, "/Conv"),
        ("", "w", None, "y"),
        ("x" * 300, "w", None, "x" * 200),
        ("a\nb", "w", None, "a\\nb"),
    ],
)
def test_layers_are_called_as_their_modules(
    tmp_path: Path, name: str, weight: str, scopes: str | None, called: str
) -> None:
    conv = onnx.helper.make_node("Conv", ["x", weight], ["y"], name=name)
    if scopes is not None:
        conv.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    path = graph(tmp_path, [conv], {"x": [1, 4, 8, 8]}, **{weight: [4, 4, 3, 3]})
    assert shapes(path)[0][0] == called


def test_a_module_that_runs_twice_is_two_layers(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Conv", [a, "stem.weight"], [b], name=f"/stem/Conv_{b}")
        for a, b in (("x", "a"), ("a", "b"), ("b", "c"))
    ]
    path = graph(tmp_path, nodes, {"x": [1, 4, 8, 8]}, **{"stem.weight": [4, 4, 1, 1]})
    assert [name for name, _ in shapes(path)] == ["stem", "stem_2", "stem_3"]


def test_sparse_weights_have_sizes_and_state_their_density(tmp_path: Path) -> None:
    path = graph(
        tmp_path, [node("Conv", "x w", "a"), node("Conv", "a w", "y")], {"x": [1, 4, 8, 8]}
    )
    model = onnx.load(path)
    values = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [36], [1.0] * 36)
    places = onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [36], list(range(36)))
    model.graph.sparse_initializer.append(
        onnx.helper.make_sparse_tensor(values, places, [4, 4, 3, 3])
    )
    onnx.save(model, path)
    first, second = read_onnx(path)[0]
    assert first.shape == LayerShape(C=4, H=8, W=8, K=4, R=3, S=3)
    assert second.shape == LayerShape(C=4, H=6, W=6, K=4, R=3, S=3)
    assert first.densities == second.densities == {"weight": 0.25}
    model.graph.sparse_initializer[0].dims[:] = [1, 4, 3, 2]
    onnx.save(model, path)
    with pytest.raises(GscnError, match=r"net.onnx: sparse tensor 'w' must have at most its 24"):
        read_onnx(path)


def test_damaged_files_end_in_one_line(tmp_path: Path) -> None:
    whole = graph(
        tmp_path, [node("Conv", "x w", "y", strides=[1, 1])], {"x": [1, 4, 8, 8]}, w=[4, 4, 3, 3]
    ).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.onnx"
    messages = []
    for length in range(0, len(whole), 7):
        damaged = bytearray(whole[:length])
        if length:
            damaged[rng.integers(length)] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            read_onnx(path)
        except GscnError as error:
            messages.append(str(error))
    assert messages
    assert not [message for message in messages if "\n" in message]
    with pytest.raises(GscnError, match="cannot be read as ONNX"):
        read_onnx(tmp_path / "none.onnx")
