"""Small ONNX files that would become large, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workloads import LayerError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from onnx import TensorProto, helper  # noqa: E402

from workloads.interop.onnx_graph import read_onnx  # noqa: E402


def model(functions: list, call: str = "f0") -> bytes:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(call, ["x"], ["y"], domain="mine")],
        "g",
        [info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [info("y", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    made = helper.make_model(graph, functions=functions, opset_imports=opsets)
    return made.SerializeToString()


def function(name: str, calls: list[str]) -> onnx.FunctionProto:
    names = ["x", *(f"t{i}" for i in range(len(calls) - 1)), "y"]
    nodes = [
        helper.make_node(call, [names[i]], [names[i + 1]], domain="" if call == "Relu" else "mine")
        for i, call in enumerate(calls)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, ["x"], ["y"], nodes, opsets)


def test_functions_that_grow_are_refused(tmp_path: Path):
    """Two calls each, 40 deep: two kilobytes that say 2^40 nodes."""
    functions = [function(f"f{i}", [f"f{i + 1}"] * 2) for i in range(40)]
    functions.append(function("f40", ["Relu"]))
    path = tmp_path / "x.onnx"
    path.write_bytes(model(functions))
    assert path.stat().st_size < 8000
    with pytest.raises(LayerError, match=r"x\.onnx: must have at most 200000 nodes"):
        read_onnx(path)


@pytest.mark.parametrize("names", [["f0"], ["f1", "f0"], [f"f{i}" for i in range(1, 3000)]])
def test_functions_that_call_themselves_are_refused(tmp_path: Path, names: list[str], survived):
    survived("hostile", "ONNX functions without end", refused=1)
    cycle = ["f0", *names]
    functions = [
        function(name, [cycle[i + 1] if i + 1 < len(cycle) else "f0"])
        for i, name in enumerate(dict.fromkeys(cycle))
    ]
    path = tmp_path / "x.onnx"
    path.write_bytes(model(functions))
    with pytest.raises(LayerError, match=r"must not call (itself|each other so deep)"):
        read_onnx(path)


def test_what_is_no_file_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe.onnx", Path("/dev/zero"), tmp_path):
        with pytest.raises(LayerError, match="cannot be read as ONNX: is "):
            read_onnx(path)
