"""Layer shapes worked out from array shapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from trace_cases import layer_shapes

from workloads import OPERANDS, LayerShape, ShapeError
from workloads.inference import infer_shape
from workloads.layer import operand_shape


def infer(shape: LayerShape, *operands: str) -> LayerShape:
    shapes = {o: operand_shape(shape, o, 2) for o in OPERANDS if o in operands}
    return infer_shape(shapes, shape.stride, shape.padding, shape.dilation, shape.groups)


def fits(shape: LayerShape, sizes: dict[str, int], *operands: str) -> bool:
    """Whether other sizes would give the same array shapes."""
    geometry = {n: getattr(shape, n) for n in ("stride", "padding", "dilation", "groups")}
    known = {n: getattr(shape, n) for n in "CHWKRS"}
    try:
        other = LayerShape(**{**known, **sizes, **geometry})
    except ShapeError:
        return False
    return all(operand_shape(other, o, 2) == operand_shape(shape, o, 2) for o in operands)


@given(layer_shapes())
def test_two_operands_are_enough_when_one_holds_the_input_and_one_the_filters(
    shape: LayerShape,
) -> None:
    assert infer(shape, "activation", "weight") == shape
    assert infer(shape, "activation", "weight", "gradient") == shape


@given(layer_shapes())
def test_a_missing_activation_is_found_or_said_to_be_open(shape: LayerShape) -> None:
    candidates = [
        (h, w)
        for h in range(1, 30)
        for w in range(1, 30)
        if fits(shape, {"H": h, "W": w}, "gradient", "weight")
    ]
    assert (shape.H, shape.W) in candidates
    if len(candidates) == 1:
        assert infer(shape, "gradient", "weight") == shape
    else:
        with pytest.raises(ShapeError, match="shape must be given: without activation its size"):
            infer(shape, "gradient", "weight")


@given(layer_shapes())
def test_a_missing_weight_is_found_or_said_to_be_open(shape: LayerShape) -> None:
    candidates = [
        (r, s)
        for r in range(1, 12)
        for s in range(1, 12)
        if fits(shape, {"R": r, "S": s}, "activation", "gradient")
    ]
    assert (shape.R, shape.S) in candidates
    if len(candidates) == 1:
        assert infer(shape, "activation", "gradient") == shape
    else:
        with pytest.raises(ShapeError, match="shape must be given: without weight its size"):
            infer(shape, "activation", "gradient")


def test_no_kernel_makes_more_outputs_than_inputs() -> None:
    shapes = {"activation": (1, 1, 4, 4), "gradient": (1, 1, 9, 4)}
    with pytest.raises(ShapeError, match="do not fit each other: no weight size along h"):
        infer_shape(shapes, (1, 1), (0, 0), (1, 1), 1)
