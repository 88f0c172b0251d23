"""Layers of an ONNX graph: its shapes only, weights are not looked at.

Conv is a layer; Gemm and MatMul with weights are fully connected ones, 1x1 on 1 x 1 or on as many
positions as their input has axes in between. Other operators that multiply are refused; the rest
(pooling, normalization, activation functions) is no layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.errors import GscnError, LayerError, one_line, reason
from workloads.files import read_regular
from workloads.interop.onnx_bounds import check_expansion
from workloads.layer import check_label
from workloads.shape import LayerShape

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
REFUSED = (
    *("ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "MatMulInteger"),
    *("QLinearMatMul", "Einsum", "Attention", "RNN", "LSTM", "GRU"),
    *("If", "Loop", "Scan", "SequenceMap"),  # whose inner graphs stay unread
)
MAX_FILE_BYTES = 1 << 31  # protobuf's own limit
AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")

Sizes = list[int | None]


def read_onnx(path: str | Path) -> list[tuple[str, LayerShape]]:
    """Read the names and shapes of a graph's layers in the order of its nodes.

    The first axis of a layer's input is the batch, of any size. A layer is called as its node or,
    where that has no name, as its output. Padding that differs between two sides stays the smaller
    one, and the difference becomes part of the input: output and work are the same.

    Raises:
        LayerError, ShapeError: no ONNX file, a node that cannot be a layer, or sizes that the graph
            leaves open; the message names file and node.
    """
    model = _load(path)
    graph = _Graph.of(model.graph)
    layers: dict[str, LayerShape] = {}
    for node in model.graph.node:
        name = node.name or next(iter(node.output), "")
        try:
            shape = _layer_shape(graph, node)
            if shape is None:
                continue
            check_label("layer name", name)
            if name in layers:
                raise LayerError("must have a name of its own, got one twice")
        except GscnError as error:
            raise type(error)(f"{path}: node {one_line(name)!r:.80}: {error}") from None
        layers[name] = shape
    if not layers:
        raise LayerError(f"{path}: must hold at least one Conv, Gemm or MatMul, got none")
    return list(layers.items())


def _load(path: str | Path) -> ModelProto:
    """The model with inferred shapes and without local functions; files beside it stay unread."""
    try:
        import onnx
        from google.protobuf.message import Error as ProtobufError
        from onnx import inliner, shape_inference
        from onnx.shape_inference import InferenceError
    except ImportError:
        raise GscnError(f"{path}: ONNX needs onnx (pip install 'gscn-sim[onnx]')") from None
    try:
        model = onnx.load_model_from_string(read_regular(path, MAX_FILE_BYTES))
        check_expansion(model)
        if model.functions:
            model = inliner.inline_local_functions(model)
        return shape_inference.infer_shapes(model, data_prop=True)
    except LayerError as error:
        raise LayerError(f"{path}: {error}") from None
    except (OSError, ValueError, RuntimeError, ProtobufError, InferenceError) as error:
        raise LayerError(f"{path}: cannot be read as ONNX: {reason(error)[:200]}") from None


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """What is known of the tensors of a graph: sizes (None where open) and which hold weights."""

    sizes: dict[str, Sizes]
    weights: set[str]

    @classmethod
    def of(cls, graph: GraphProto) -> _Graph:
        sizes: dict[str, Sizes] = {}
        for info in (*graph.input, *graph.value_info, *graph.output):
            tensor = info.type.tensor_type
            if tensor.HasField("shape"):
                sizes[info.name] = [
                    d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim
                ]
        sizes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
        weights = {tensor.name for tensor in graph.initializer}
        for node in graph.node:  # what depends on weights alone, such as their transpose
            if weights.issuperset(node.input):
                weights.update(node.output)
        return cls(sizes=sizes, weights=weights)

    def operand(self, node: NodeProto, index: int, what: str) -> Sizes:
        """Sizes of one input.

        Raises:
            LayerError: there is none, or not even the number of its axes is known.
        """
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.sizes:
            raise LayerError(
                f"{node.op_type} must have {what} of known sizes, got none "
                "(fix the sizes of the graph's inputs)"
            )
        return self.sizes[name]


def _layer_shape(graph: _Graph, node: NodeProto) -> LayerShape | None:
    """The layer of a node, None if it is none."""
    kind = node.op_type
    if node.domain not in STANDARD_DOMAINS or kind in REFUSED:
        shown = one_line(f"{node.domain}.{kind}" if node.domain else kind)
        raise LayerError(
            f"must be Conv, Gemm, MatMul or a standard operator without weights, got {shown:.80}"
        )
    if kind == "Conv":
        return _convolution(graph, node)
    if kind in ("Gemm", "MatMul") and not graph.weights.issuperset(node.input):
        return _fully_connected(graph, node)
    return None


def _convolution(graph: _Graph, node: NodeProto) -> LayerShape:
    _, channels, height, width = _known(graph.operand(node, 0, "an input"), "N, C, H, W", free=1)
    k, _, r, s = _known(graph.operand(node, 1, "weights"), "K, C / groups, R, S")
    given = _attributes(node)
    groups = given["group"].i if "group" in given else 1
    if graph.operand(node, 1, "weights")[1] != channels // max(groups, 1):
        raise LayerError(f"weights must be for {channels} channels in {groups} groups")
    stride = _whole(given, "strides", (1, 1))
    dilation = _whole(given, "dilations", (1, 1))
    padding, sizes = [], []
    for axis, (size, kernel) in enumerate(((height, r), (width, s))):
        before, after = _pads(given, axis, size, dilation[axis] * (kernel - 1) + 1, stride[axis])
        padding.append(min(before, after))
        sizes.append(size + abs(before - after))
    return LayerShape(
        C=channels,
        H=sizes[0],
        W=sizes[1],
        K=k,
        R=r,
        S=s,
        stride=(stride[0], stride[1]),
        padding=(padding[0], padding[1]),
        dilation=(dilation[0], dilation[1]),
        groups=groups,
    )


def _pads(
    given: dict[str, AttributeProto], axis: int, size: int, extent: int, stride: int
) -> tuple[int, int]:
    """Padding before and after; ``extent`` is the kernel's, dilation included.

    ``SAME`` pads so that the output has ceil(size / stride) positions (ONNX, operator Conv).
    """
    auto = given["auto_pad"].s.decode("ascii", "replace") if "auto_pad" in given else AUTO_PADS[0]
    if auto not in AUTO_PADS:
        raise LayerError(f"auto_pad must be {', '.join(AUTO_PADS)}, got {one_line(auto)!r:.80}")
    if auto == AUTO_PADS[0]:
        pads = _whole(given, "pads", (0, 0, 0, 0))
        return pads[axis], pads[axis + 2]
    if auto == "VALID":
        return 0, 0
    total = max((-(-size // max(stride, 1)) - 1) * stride + extent - size, 0)
    smaller, larger = total // 2, total - total // 2
    return (smaller, larger) if auto == "SAME_UPPER" else (larger, smaller)


def _fully_connected(graph: _Graph, node: NodeProto) -> LayerShape:
    given = _attributes(node)
    if "transA" in given and given["transA"].i:
        raise LayerError("Gemm must have transA 0, got another")
    if len(node.input) < 2 or node.input[1] not in graph.weights:
        raise LayerError(f"{node.op_type} must have weights as its second input, got a product")
    weights = _known(graph.operand(node, 1, "weights"), "in, out")
    features, outputs = reversed(weights) if "transB" in given and given["transB"].i else weights
    sizes = graph.operand(node, 0, "an input")
    if len(sizes) < 2:
        raise LayerError(f"input must be [N, ..., {features}], got {len(sizes)} axes")
    wanted = ", ".join(["N", *("positions" for _ in sizes[2:]), "features"])
    _, *positions, got = _known(sizes, wanted, free=1)
    if got != features:
        raise LayerError(f"input must have {features} features as the weights do, got {got}")
    return LayerShape(C=features, H=math.prod(positions), W=1, K=outputs, R=1, S=1)


def _known(sizes: Sizes, wanted: str, free: int = 0) -> list[int]:
    """The sizes, which must be as many as ``wanted`` names, all but the first ``free`` known.

    Raises:
        LayerError: another number of axes, or an open size (such as a symbol).
    """
    known = [1 if i < free else size for i, size in enumerate(sizes)]
    if len(sizes) != wanted.count(",") + 1 or None in known:
        got = ", ".join("?" if size is None else str(size) for size in sizes)
        raise LayerError(f"sizes [{wanted}] must be known numbers, got [{got}]")
    return [size for size in known if size is not None]


def _attributes(node: NodeProto) -> dict[str, AttributeProto]:
    return {attribute.name: attribute for attribute in node.attribute}


def _whole(
    given: dict[str, AttributeProto], name: str, default: tuple[int, ...]
) -> tuple[int, ...]:
    """A list attribute of as many non-negative ints as its default has.

    Raises:
        LayerError: it is another.
    """
    values = tuple(given[name].ints) if name in given else default
    if len(values) != len(default) or min(values) < 0:
        raise LayerError(f"{name} must be {len(default)} whole numbers, got {list(values)}")
    return values
