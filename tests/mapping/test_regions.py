"""Regions of tiles are no larger than the convolution's definition makes them."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import ceil, floor

from hypothesis import given
from hypothesis import strategies as st
from oracles.cases import shapes

from gscn_sim.mapping.tiles import cut, held_outputs, reach, window
from gscn_sim.problem.geometry import make_problem
from workloads import LayerShape, Phase


def clipped(values: list[Fraction], size: int) -> range:
    """Whole numbers from the least to the largest value that lie in range(size)."""
    return range(max(ceil(min(values)), 0), min(floor(max(values)) + 1, size))


def landing(shape: LayerShape, phase: Phase, axis: int, y: int, r: int) -> Fraction:
    """Where stationary position y and filter position r meet: whole if it is an output."""
    stride, pad, dilation = shape.stride[axis], shape.padding[axis], shape.dilation[axis]
    if phase is Phase.FORWARD:
        return Fraction(y + pad - r * dilation, stride)
    return Fraction(y * stride - pad + r * dilation)


@given(
    shape=shapes(side=9),
    phase=st.sampled_from((Phase.FORWARD, Phase.DGRAD)),
    parts=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_what_tiles_reach(shape: LayerShape, phase: Phase, parts: tuple[int, int]) -> None:
    problem = make_problem(shape, phase, 1)
    most = [1, 1]
    for axis in range(2):
        kernel, output = (shape.R, shape.S)[axis], problem.output_plane[axis]
        for index in range(parts[axis]):
            low, high = cut(problem, "exact", axis, parts[axis], index)
            found = range(*reach(problem, axis, low, high))
            pairs = itertools.product(range(low, high), range(kernel))
            values = [landing(shape, phase, axis, y, r) for y, r in pairs]
            assert list(found) == (list(clipped(values, output)) if values else [])
            most[axis] = max(most[axis], len(found))
    assert held_outputs(problem, "exact", *parts) == most[0] * most[1]


@given(shape=shapes(side=9), parts=st.integers(1, 4))
def test_what_gradients_meet(shape: LayerShape, parts: int) -> None:
    problem = make_problem(shape, Phase.WGRAD, 1)
    for axis, index in itertools.product(range(2), range(parts)):
        low, high = cut(problem, "exact", axis, parts, index)
        pairs = itertools.product(range(low, high), range((shape.R, shape.S)[axis]))
        values = [landing(shape, Phase.WGRAD, axis, p, r) for p, r in pairs]
        expected = clipped(values, problem.stationary_plane[axis]) if values else range(0)
        assert list(range(*window(problem, axis, low, high))) == list(expected)
