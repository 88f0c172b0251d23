"""Matrix products for each sample and head as layers of a trace."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workloads
from workloads import LayerError, LayerShape, Phase, ShapeError, TraceError, matmul_from_arrays
from workloads.matmul import as_convolution

LEFT = np.array([[[[1, 0, 2], [0, 3, 0]]], [[[0, 0, 4], [5, 6, 0]]]])  # [2, 1, 2, 3]
RIGHT = np.arange(1, 13).reshape(2, 1, 3, 2) % 5  # [2, 1, 3, 2]
GRADIENT = np.array([[[[1, 0], [0, 2]]], [[[0, 3], [0, 0]]]])  # [2, 1, 2, 2]


def matmul(**changes: Any) -> workloads.Layer:
    given = {"left": LEFT, "right": RIGHT, "gradient": GRADIENT}
    return matmul_from_arrays("attn@1", **{**given, **changes})


def test_where_each_element_lies() -> None:
    layer = matmul()
    assert layer.is_matmul
    assert layer.shape == LayerShape(C=3, H=2, W=1, K=2, R=1, S=1, filters_per_sample=True)
    activation, weight = layer.values("activation"), layer.values("weight")
    assert activation is not None
    assert weight is not None
    assert activation.shape == (2, 3, 2, 1)
    assert activation[1, :, 1, 0].tolist() == [5, 6, 0]  # row 1 of sample 1
    assert weight.shape == (4, 3, 1, 1)
    assert weight[2, :, 0, 0].tolist() == RIGHT[1, 0, :, 0].tolist()  # column 0 of sample 1
    assert layer.phases() == (Phase.FORWARD, Phase.DGRAD, Phase.WGRAD)


def test_heads_are_groups() -> None:
    layer = matmul_from_arrays("p", left=np.ones((2, 3, 5, 4)), right=np.ones((2, 3, 4, 7)))
    assert layer.shape == LayerShape(
        C=12, H=5, W=1, K=21, R=1, S=1, groups=3, filters_per_sample=True
    )
    assert layer.shape.dense_macs == 3 * 5 * 4 * 7
    assert layer.phases() == (Phase.FORWARD,)


def test_what_training_did_not_compute_is_no_phase() -> None:
    assert matmul(left_gradient=False).phases() == (Phase.FORWARD, Phase.WGRAD)
    assert matmul(right_gradient=False).phases() == (Phase.FORWARD, Phase.DGRAD)
    assert matmul(left=None).phases() == (Phase.DGRAD,)


def test_a_batch_is_a_convolution_of_one_sample_with_samples_as_groups() -> None:
    one = as_convolution(matmul(), 3)  # sample 2 is as sample 0
    assert one.shape == LayerShape(C=9, H=2, W=1, K=6, R=1, S=1, groups=3)
    assert one.n_samples == 1
    activation = one.values("activation")
    assert activation is not None
    assert activation[0, 6:].tolist() == activation[0, :3].tolist()
    assert one.weight is not None
    assert one.weight.dense()[4:6].tolist() == one.weight.dense()[:2].tolist()


def test_dense_right_operands_are_no_mask() -> None:
    layer = matmul(right=np.ones_like(RIGHT))
    assert layer.weight is None
    assert as_convolution(layer, 4).weight is None


def test_file_and_back(tmp_path: Path) -> None:
    trace = workloads.Trace(network="toy", batch_size=2, layers=[matmul(batch_size=2)])
    path = tmp_path / "t.npz"
    workloads.save(trace, path, values=True)
    loaded = workloads.validate(path)
    assert loaded.digest == trace.digest
    layer = loaded.layers[0]
    assert layer.shape == trace.layers[0].shape
    for operand in workloads.OPERANDS:
        np.testing.assert_array_equal(layer.values(operand), trace.layers[0].values(operand))
    record = metadata_of(path)["layers"][0]
    assert record["kind"] == "matmul"
    assert "filters_per_sample" not in record["shape"]
    assert record["extra_phases"] == []


def test_a_matmul_is_not_the_convolution_with_the_same_masks() -> None:
    one = matmul(left=LEFT[:1], right=RIGHT[:1], gradient=GRADIENT[:1])
    other = replace(one, shape=replace(one.shape, filters_per_sample=False))
    digests = {
        workloads.Trace(network="toy", batch_size=1, layers=[layer]).digest
        for layer in (one, other)
    }
    assert len(digests) == 2
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "product"}, "kind must be 'convolution' or 'matmul', got 'product'"),
        ({"extra_phases": ["pre_dgrad"]}, r"extra_phases of a matmul must be \[\]"),
        ({"kind": "convolution"}, "expected uint8 of shape"),
    ],
)
def test_damaged_records(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    workloads.save(workloads.Trace(network="toy", batch_size=2, layers=[matmul()]), path)
    metadata = metadata_of(path)
    metadata["layers"][0] |= change
    with np.load(path) as file:
        members = dict(file)
    members["metadata"] = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    np.savez_compressed(path, **members)
    with pytest.raises(TraceError, match=message):
        workloads.validate(path)


def test_excerpt_takes_the_right_operands_of_its_samples() -> None:
    trace = workloads.Trace(network="toy", batch_size=2, layers=[matmul()])
    part = workloads.excerpt(trace, samples=1).layers[0]
    assert part.n_samples == 1
    expected = matmul(left=LEFT[:1], right=RIGHT[:1], gradient=GRADIENT[:1])
    assert part.digest == expected.digest
    np.testing.assert_array_equal(part.values("weight"), expected.values("weight"))


def test_a_trace_without_its_matmuls(tmp_path: Path) -> None:
    ordinary = workloads.layer_from_arrays(
        "fc", activation=np.ones((2, 3, 1, 1)), weight=np.ones((4, 3, 1, 1)), gradient=None
    )
    path = tmp_path / "t.npz"
    layers = [matmul(), ordinary, replace(matmul(), name="attn@2")]
    workloads.save(workloads.Trace(network="toy", batch_size=2, layers=layers), path)
    trace = workloads.load(path)
    assert [layer.name for layer in trace.without_matmuls().layers] == ["fc"]
    assert trace.without_matmuls().without_matmuls().layers[0].name == "fc"
    only = workloads.Trace(network="toy", batch_size=2, layers=[matmul()])
    with pytest.raises(TraceError, match="nothing was recorded but matmuls"):
        only.without_matmuls()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"right": RIGHT[:1]}, r"right must be \[2, 1, 3, L\], got \[1, 1, 3, 2\]"),
        ({"gradient": np.ones((2, 1, 2, 3))}, r"gradient must be \[2, 1, 2, 2\]"),
        ({"left": LEFT[0]}, "left must have 4 axes"),
        ({"left": None, "right": None}, "must have two of left, right and gradient"),
    ],
)
def test_matrices_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        matmul(**changes)


def test_what_a_matmul_cannot_have() -> None:
    with pytest.raises(LayerError, match="extra_phases of a matmul must be none, got pre_wgrad"):
        replace(matmul(), extra_phases=(Phase.PRE_WGRAD,))
    with pytest.raises(ShapeError, match="a matmul must have W, R, S, stride"):
        LayerShape(C=1, H=2, W=2, K=1, R=1, S=1, filters_per_sample=True)
    with pytest.raises(LayerError, match="finite"):
        matmul(gradient=GRADIENT * np.nan)


def metadata_of(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        found: dict[str, Any] = json.loads(bytes(file["metadata"]))
    return found
