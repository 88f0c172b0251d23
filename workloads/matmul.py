"""Matrix products for each sample and head, as the two of attention.

C = X Y with X [M, D] and Y [D, L] is a 1x1 convolution over M positions whose filters are Y: D
channels in, L channels out. Heads are groups. What a convolution cannot have is a Y for each
sample, so that the shape says so (``filters_per_sample``). Its dgrad is dX = dC Y^T, its wgrad
dY = X^T dC, which is summed over positions only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import ShapeError
from workloads.layer import Layer, layer_from_arrays
from workloads.masks import Mask
from workloads.phase import Operand
from workloads.shape import LayerShape

LEFT: Operand = "activation"
RIGHT: Operand = "weight"
"""The operands that X and Y are recorded as."""


def matmul_from_arrays(
    name: str,
    *,
    left: NDArray[Any] | None = None,
    right: NDArray[Any] | None = None,
    gradient: NDArray[Any] | None = None,
    iteration: int = 0,
    left_gradient: bool = True,
    right_gradient: bool = True,
    batch_size: int | None = None,
) -> Layer:
    """Return ``left @ right`` as a layer; copies of the arrays are its values.

    Args:
        left, right: [n, heads, M, D] and [n, heads, D, L] of n recorded samples; zero means absent.
        gradient: of the result, [n, heads, M, L].
        left_gradient, right_gradient: whether training computed them.

    Raises:
        ShapeError: an array is missing that the shape depends on, or they do not fit each other.
        LayerError: as of :func:`layer_from_arrays`.
    """
    given = {"left": left, "right": right, "gradient": gradient}
    shapes = {key: np.shape(array) for key, array in given.items() if array is not None}
    if len(shapes) < 2:
        raise ShapeError(f"matmul {name!r} must have two of left, right and gradient")
    for key, found in shapes.items():
        if len(found) != 4:
            raise ShapeError(f"matmul {name!r}: {key} must have 4 axes, got {list(found)}")
    sizes = _sizes(name, shapes)
    heads, rows, inner, columns = (sizes[axis] for axis in ("heads", "M", "D", "L"))
    shape = LayerShape(
        C=heads * inner,
        H=rows,
        W=1,
        K=heads * columns,
        R=1,
        S=1,
        groups=heads,
        filters_per_sample=True,
    )
    filters = None if right is None else _transposed(right).reshape(-1, inner, 1, 1)
    return layer_from_arrays(
        name,
        activation=_maps(left),
        weight=filters,
        gradient=_maps(gradient),
        shape=shape,
        iteration=iteration,
        input_gradient=left_gradient,
        weight_gradient=right_gradient,
        batch_size=batch_size,
        extra_phases=(),
    )


def as_convolution(layer: Layer, batch_size: int) -> Layer:
    """A matmul of a whole batch as an ordinary convolution of one sample, samples as groups.

    Recorded samples stand for the others in turn, as everywhere.
    """
    shape, _ = layer.shape.for_batch(batch_size)
    samples = np.arange(batch_size) % layer.n_samples

    def together(array: NDArray[Any], operand: Operand) -> NDArray[Any]:
        of_sample = array.reshape(layer.n_samples, -1, *array.shape[1 + (operand != RIGHT) :])
        joined = of_sample[samples].reshape(-1, *of_sample.shape[2:])
        return joined if operand == RIGHT else joined[None]

    operands: tuple[Operand, ...] = (LEFT, RIGHT, "gradient")
    masks = {
        operand: Mask.from_array(together(mask.dense(), operand))
        for operand in operands
        if (mask := layer.mask(operand)) is not None
    }
    values = {
        operand: together(stored, operand)
        for operand in operands
        if (stored := layer.values(operand)) is not None
    }
    return replace(
        layer,
        shape=shape,
        batch_size=None,
        stored_values=values,
        **masks,  # type: ignore[arg-type]
    )


def _sizes(name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes by the names of the axes, in which all arrays must agree."""
    axes = {
        "left": ("n", "heads", "M", "D"),
        "right": ("n", "heads", "D", "L"),
        "gradient": ("n", "heads", "M", "L"),
    }
    sizes: dict[str, int] = {}
    for key, found in shapes.items():
        for axis, size in zip(axes[key], found, strict=True):
            if sizes.setdefault(axis, size) != size:
                expected = ", ".join(str(sizes.get(a, a)) for a in axes[key])
                raise ShapeError(f"matmul {name!r}: {key} must be [{expected}], got {list(found)}")
    return sizes


def _maps(array: NDArray[Any] | None) -> NDArray[Any] | None:
    """[n, heads, M, D] as feature maps [n, heads * D, M, 1]."""
    if array is None:
        return None
    n, heads, rows, columns = np.shape(array)
    return _transposed(array).reshape(n, heads * columns, rows, 1)


def _transposed(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array).transpose(0, 1, 3, 2)
