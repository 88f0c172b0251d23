"""Layers of an ONNX graph: its shapes only, the values of weights are not looked at.

Conv is a layer; Gemm and MatMul with weights are fully connected ones, 1x1 on 1 x 1 or on as many
positions as their input has axes in between. Other operators that multiply are refused; the rest
(pooling, normalization, activation functions) is no layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.errors import GscnError, LayerError, one_line, reason
from workloads.files import read_regular
from workloads.interop.imported import ImportedLayer, with_own_names
from workloads.interop.onnx_bounds import check_expansion
from workloads.interop.onnx_names import layer_name
from workloads.layer import MAX_NAME_LENGTH, Operand, check_label
from workloads.shape import LayerShape

if TYPE_CHECKING:
    from onnx import (
        AttributeProto,
        GraphProto,
        ModelProto,
        NodeProto,
        SparseTensorProto,
        TensorShapeProto,
    )

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
REFUSED = (
    *("ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "MatMulInteger"),
    *("QLinearMatMul", "Einsum", "Attention", "RNN", "LSTM", "GRU"),
    *("If", "Loop", "Scan", "SequenceMap"),  # whose inner graphs stay unread
)
REARRANGE = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""What keeps the density of its first input."""
MAX_FILE_BYTES = 1 << 31  # protobuf's own limit
AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")

Sizes = list[int | None]


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A node that was left out, and why."""

    node: str
    why: str


def read_onnx(
    path: str | Path, *, skip_unsupported: bool = False
) -> tuple[list[ImportedLayer], list[Skipped]]:
    """Read a graph's layers in the order of its nodes, and what was left out if that is allowed.

    The batch is the first axis of the graph's first input. A layer whose own first axis is a
    multiple of it (frames, patches or regions folded into the batch) does all of them in each
    sample, stacked along its height. A layer is called as its module (see
    :mod:`workloads.interop.onnx_names`). Padding that differs between two sides stays the smaller
    one, and the difference becomes part of the input: output and work are the same. Weights that
    are stored as sparse tensors state their density.

    Raises:
        LayerError, ShapeError: no ONNX file, a node that cannot be a layer (unless such are
            skipped), or sizes that the graph leaves open; the message names file and node.
    """
    try:
        graph = _Graph.of(*_load(path))
    except LayerError as error:
        raise LayerError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    layers: list[ImportedLayer] = []
    skipped: list[Skipped] = []
    for node in graph.nodes:
        shown = one_line(node.name or next(iter(node.output), ""))[:80]
        try:
            shape = _layer_shape(graph, node)
            if shape is None:
                continue
            name = layer_name(node)
            check_label("layer name", name[-MAX_NAME_LENGTH:])
        except GscnError as error:
            if not skip_unsupported:
                raise type(error)(f"{path}: node {shown!r}: {error}") from None
            skipped.append(Skipped(node=shown, why=str(error)))
            continue
        density = graph.densities.get(node.input[1])
        densities: dict[Operand, float] = {} if density is None else {"weight": density}
        layers.append(ImportedLayer(name=name, shape=shape, densities=densities))
    if not layers:
        without = f" beside {len(skipped)} unsupported nodes" if skipped else ""
        raise LayerError(f"{path}: must hold at least one Conv, Gemm or MatMul, got none{without}")
    return with_own_names(layers), skipped


def _load(path: str | Path) -> tuple[ModelProto, dict[str, SparseTensorProto]]:
    """The model with inferred shapes and without local functions, and its sparse weights by name.

    Files beside it stay unread. An open batch becomes 1, so that sizes that depend on it can be
    inferred.
    """
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
        _close_batch(model.graph)
        sparse = _take_sparse_weights(model.graph)
        return shape_inference.infer_shapes(model, data_prop=True), sparse
    except LayerError as error:
        raise LayerError(f"{path}: {error}") from None
    except (OSError, ValueError, RuntimeError, ProtobufError, InferenceError) as error:
        raise LayerError(f"{path}: cannot be read as ONNX: {reason(error)[:200]}") from None


def _close_batch(graph: GraphProto) -> None:
    """Make an open first axis of the graph's inputs 1, and every axis that is called the same."""
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in stored]
    first = [info.type.tensor_type.shape.dim[:1] for info in inputs]
    symbols = {axis.dim_param for axes in first for axis in axes if axis.dim_param}
    for axis in (axis for axes in first for axis in axes if _size(axis) is None):
        axis.dim_value = 1
    for info in (*graph.input, *graph.value_info, *graph.output):
        for axis in info.type.tensor_type.shape.dim:
            if axis.dim_param in symbols:
                axis.dim_value = 1


def _take_sparse_weights(graph: GraphProto) -> dict[str, SparseTensorProto]:
    """Make sparse weights inputs of their sizes: operators are inferred for dense tensors only."""
    from onnx import helper

    sparse = {tensor.values.name: tensor for tensor in graph.sparse_initializer}
    for name, tensor in sparse.items():
        info = helper.make_tensor_value_info(name, tensor.values.data_type, list(tensor.dims))
        graph.input.append(info)
    graph.ClearField("sparse_initializer")
    return sparse


def _size(axis: TensorShapeProto.Dimension) -> int | None:
    """The size of an axis, None where it is open (some exporters write 0 or -1)."""
    return axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """What is known of the tensors of a graph: sizes (None where open) and which hold weights.

    ``densities`` are those of weights that are stored as sparse tensors; ``batch`` is the first
    axis of the first input with more than one.
    """

    nodes: Sequence[NodeProto]
    sizes: dict[str, Sizes]
    weights: set[str]
    densities: dict[str, float]
    batch: int | None

    @classmethod
    def of(cls, model: ModelProto, sparse: dict[str, SparseTensorProto]) -> _Graph:
        graph, sparse = model.graph, dict(sparse)
        sizes: dict[str, Sizes] = {}
        for info in (*graph.input, *graph.value_info, *graph.output):
            tensor = info.type.tensor_type
            if tensor.HasField("shape"):
                sizes[info.name] = [_size(axis) for axis in tensor.shape.dim]
        sizes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
        weights = {*(tensor.name for tensor in graph.initializer), *sparse}
        inputs = [sizes.get(info.name) for info in graph.input if info.name not in weights]
        for node in graph.node:  # what depends on weights alone, such as their transpose
            if weights.issuperset(node.input):
                weights.update(node.output)
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "sparse_value":
                    sparse[node.output[0]] = attribute.sparse_tensor
                    sizes[node.output[0]] = list(attribute.sparse_tensor.dims)
        densities = {name: _density(tensor) for name, tensor in sparse.items()}
        for node in graph.node:
            if node.op_type in REARRANGE and node.input and node.input[0] in densities:
                densities |= dict.fromkeys(node.output, densities[node.input[0]])
        return cls(
            nodes=graph.node,
            sizes=sizes,
            weights=weights,
            densities=densities,
            batch=next((axes[0] for axes in inputs if axes and len(axes) > 1), None),
        )

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

    def per_sample(self, first_axis: int) -> int:
        """How many items of a layer's first axis belong to each sample of the batch.

        Raises:
            LayerError: no whole number of them does.
        """
        batch = self.batch or 1
        if first_axis % batch:
            raise LayerError(
                f"first axis of the input must be the graph's batch {batch} or a multiple of it, "
                f"got {first_axis}"
            )
        return first_axis // batch


def _density(tensor: SparseTensorProto) -> float:
    """Non-zeros of a sparse tensor over its elements.

    Raises:
        LayerError: it says more values than it has elements, or no sizes.
    """
    elements, values = math.prod(tensor.dims), math.prod(tensor.values.dims)
    if elements < 1 or not 0 <= values <= elements:
        raise LayerError(
            f"sparse tensor {one_line(tensor.values.name)!r:.80} must have at most its "
            f"{elements} elements, got {values}"
        )
    return values / elements


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
    axes = _known(graph.operand(node, 0, "an input"), "N, C, H, W")
    first, channels, height, width = axes
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
    shape = LayerShape(
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
    return stacked(shape, graph.per_sample(first))


def stacked(shape: LayerShape, count: int) -> LayerShape:
    """``count`` inputs of a shape on top of each other, with as many rows of outputs as they have.

    Outputs, weights and work are those of all of them. The input is as high as they are together,
    or as near to that as so many rows of outputs allow.
    """
    if count == 1:
        return shape
    last = (count * shape.P - 1) * shape.stride[0]
    least = last + shape.dilation[0] * (shape.R - 1) + 1 - 2 * shape.padding[0]
    height = min(max(count * shape.H, least), least + shape.stride[0] - 1)
    return replace(shape, H=max(height, 1))


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
    *positions, got = _known(sizes, wanted)
    if got != features:
        raise LayerError(f"input must have {features} features as the weights do, got {got}")
    rows = graph.per_sample(math.prod(positions))
    return LayerShape(C=features, H=rows, W=1, K=outputs, R=1, S=1)


def _known(sizes: Sizes, wanted: str) -> list[int]:
    """The sizes, which must be as many as ``wanted`` names, and known.

    Raises:
        LayerError: another number of axes, or an open size (such as a symbol).
    """
    if len(sizes) != wanted.count(",") + 1 or None in sizes:
        got = ", ".join("?" if size is None else str(size) for size in sizes)
        raise LayerError(f"sizes [{wanted}] must be known numbers, got [{got}]")
    return [size for size in sizes if size is not None]


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
