"""What a layer of an ONNX graph is called: as its module, where the exporter kept that."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from workloads.errors import one_line

if TYPE_CHECKING:
    from onnx import NodeProto

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where ``torch.onnx.export(dynamo=True)`` writes the modules around a node, outermost first."""
WEIGHT = ".weight"


def layer_name(node: NodeProto) -> str:
    """The path of the node's module, else the node's name, else that of its output.

    A path comes from the exporter's metadata, from a node name such as
    ``/layer1/layer1.0/conv1/Conv`` (``torch.onnx.export(dynamo=False)``), or from a weight's name.
    """
    weights = [name.removesuffix(WEIGHT) for name in node.input[1:] if name.endswith(WEIGHT)]
    names = (_scope(node), _slashes(node), *weights, node.name, *node.output)
    return one_line(next((name for name in names if name), ""))


def _scope(node: NodeProto) -> str:
    """The innermost module of the metadata; its last entry is the operator itself."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return ""
            if isinstance(scopes, list) and all(isinstance(scope, str) for scope in scopes):
                return next((scope for scope in reversed(scopes[:-1]) if scope), "")
    return ""


def _slashes(node: NodeProto) -> str:
    """``layer1.0.conv1`` of ``/layer1/layer1.0/conv1/Conv``: a part may repeat the one before."""
    first, *parts = node.name.split("/")
    if first or not parts or not parts[-1].startswith(node.op_type):
        return ""
    path: list[str] = []
    for part in parts[:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()
        path.append(part)
    return ".".join(path)
