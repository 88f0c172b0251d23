"""Timeloop problems, walked through point by point as Timeloop defines them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from workloads import GscnError, Layer, Phase, layer_from_arrays
from workloads.interop.timeloop import problem, problem_text

yaml = pytest.importorskip("yaml")
RNG = np.random.default_rng(5)


def integers(*sizes: int) -> NDArray[Any]:
    return RNG.integers(0, 3, sizes)


@pytest.fixture
def layer() -> Layer:
    """Two groups, uneven stride and dilation, padding."""
    return layer_from_arrays(
        "a/b",
        activation=integers(2, 4, 5, 6),
        weight=integers(6, 2, 3, 2),
        gradient=integers(2, 6, 3, 5),
        stride=(2, 1),
        padding=(1, 0),
        dilation=(1, 1),
        groups=2,
    )


def walk(read: dict[str, Any], arrays: dict[str, NDArray[Any]], output: str) -> None:
    """Add the product of the two inputs to the output at every point of the problem."""
    shape, instance = read["shape"], read["instance"]
    for point in itertools.product(*(range(instance[d]) for d in shape["dimensions"])):
        values = instance | dict(zip(shape["dimensions"], point, strict=True))
        at = {
            space["name"]: tuple(
                sum(math.prod(values[factor] for factor in term) for term in axis)
                for axis in space["projection"]
            )
            for space in shape["data_spaces"]
        }
        first, second = (name for name in at if name != output)
        arrays[output][at[output]] += arrays[first][at[first]] * arrays[second][at[second]]


def reference(layer: Layer, phase: Phase, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The phase's output by shifting whole planes; arrays have a group axis, inputs padding."""
    weights, inputs, outputs = (arrays[name] for name in ("Weights", "Inputs", "Outputs"))
    result = np.zeros_like(
        {Phase.FORWARD: outputs, Phase.DGRAD: inputs, Phase.WGRAD: weights}[phase]
    )
    for r, s in itertools.product(range(layer.shape.R), range(layer.shape.S)):
        window = (
            ...,
            slice(r, r + 2 * layer.shape.P - 1, 2),
            slice(s, s + layer.shape.Q),
        )
        if phase == Phase.FORWARD:
            result += np.einsum("gkc,ngcpq->ngkpq", weights[..., r, s], inputs[window])
        elif phase == Phase.DGRAD:
            result[window] += np.einsum("gkc,ngkpq->ngcpq", weights[..., r, s], outputs)
        else:
            result[..., r, s] = np.einsum("ngkpq,ngcpq->gkc", outputs, inputs[window])
    return result


@pytest.mark.parametrize(
    ("phase", "output"),
    [(Phase.FORWARD, "Outputs"), (Phase.DGRAD, "Inputs"), (Phase.WGRAD, "Weights")],
)
def test_a_problem_computes_its_phase(layer: Layer, phase: Phase, output: str) -> None:
    read = yaml.safe_load(problem_text(layer, phase, 2))["problem"]
    written = [s["name"] for s in read["shape"]["data_spaces"] if s.get("read_write")]
    assert written == [output]
    points = math.prod(read["instance"][d] for d in read["shape"]["dimensions"])
    assert points == 2 * layer.shape.dense_macs
    arrays = {
        "Weights": integers(2, 3, 2, 3, 2),
        "Inputs": integers(2, 2, 2, 7, 6),
        "Outputs": integers(2, 2, 3, 3, 5),
    }
    expected = reference(layer, phase, arrays)
    arrays[output] = np.zeros_like(arrays[output])
    walk(read, arrays, output)
    assert np.array_equal(arrays[output], expected)


def test_densities_are_those_of_the_inputs(layer: Layer) -> None:
    densities = problem(layer, Phase.DGRAD, 16)["problem"]["instance"]["densities"]
    assert layer.weight is not None
    assert layer.gradient is not None
    assert {name: d["density"] for name, d in densities.items()} == {
        "Weights": layer.weight.density,
        "Outputs": layer.gradient.density,
    }
    with pytest.raises(GscnError, match="phase must be one of forward, dgrad, wgrad, got pre_d"):
        problem(layer, Phase.PRE_DGRAD, 16)
