"""How large an ONNX model becomes when its functions are put in place of their calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from workloads.errors import LayerError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MAX_NODES = 200_000
Name = tuple[str, str]


def check_expansion(model: ModelProto) -> None:
    """Refuse a model whose functions call themselves or grow beyond ``MAX_NODES`` nodes.

    Raises:
        LayerError: they do; a few lines of functions that call each other can make billions.
    """
    bodies = {(f.domain, f.name): f.node for f in model.functions}
    sizes: dict[Name, int] = {}
    open_calls: set[Name] = set()

    def size_of(nodes: Iterable[NodeProto]) -> int:
        total = 0
        for node in nodes:
            called = (node.domain, node.op_type)
            total += function_size(called) if called in bodies else 1
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    total += size_of(graph.node)
            if total > MAX_NODES:
                raise LayerError(f"must have at most {MAX_NODES} nodes with its functions in place")
        return total

    def function_size(name: Name) -> int:
        if name in open_calls:
            raise LayerError(f"function {name[1]!r:.80} must not call itself")
        if name not in sizes:
            open_calls.add(name)
            sizes[name] = size_of(bodies[name])
            open_calls.discard(name)
        return sizes[name]

    try:
        size_of(model.graph.node)
    except RecursionError:
        raise LayerError("functions must not call each other so deep") from None
