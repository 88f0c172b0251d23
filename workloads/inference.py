"""The shape of a layer, worked out from the shapes of its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.errors import ShapeError
from workloads.shape import LayerShape, check_geometry


def infer_shape(
    shapes: Mapping[Any, tuple[int, ...]],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> LayerShape:
    """Return the only layer shape that the given arrays can belong to.

    ``shapes`` has at least two of ``activation`` [n, C, H, W], ``gradient`` [n, K, P, Q] and
    ``weight`` [K, C / groups, R, S]. They are not checked against each other here.

    Raises:
        ShapeError: an array is not 4-D, none or more than one shape is possible, or the shape is
            no convolution's.
    """
    check_geometry(stride, padding, dilation, groups)
    for operand, shape in shapes.items():
        if len(shape) != 4 or 0 in shape:
            raise ShapeError(f"{operand} must have 4 non-empty axes, got {list(shape)}")
    activation, gradient, weight = (shapes.get(o) for o in ("activation", "gradient", "weight"))
    if activation is None and (gradient is None or weight is None):
        raise ShapeError("shape must be given: neither activation nor gradient and weight are")
    if weight is None and gradient is None:
        raise ShapeError("shape must be given: neither weight nor gradient is")

    if weight is not None:
        filters, kernel = weight[0], weight[2:]
        channels = activation[1] if activation is not None else weight[1] * groups
    else:
        assert activation is not None
        assert gradient is not None
        channels, filters = activation[1], gradient[1]
        kernel = tuple(
            _only("weight", axis, _kernel_sizes(size, out, s, p, d))
            for axis, size, out, s, p, d in zip(
                "hw", activation[2:], gradient[2:], stride, padding, dilation, strict=True
            )
        )
    if activation is not None:
        plane = activation[2:]
    else:
        assert gradient is not None
        plane = tuple(
            _only("activation", axis, _plane_sizes(k, out, s, p, d))
            for axis, k, out, s, p, d in zip(
                "hw", kernel, gradient[2:], stride, padding, dilation, strict=True
            )
        )
    return LayerShape(
        C=channels, H=plane[0], W=plane[1], K=filters, R=kernel[0], S=kernel[1],
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip


def _kernel_sizes(size: int, out: int, stride: int, padding: int, dilation: int) -> range:
    """Return the kernel sizes that turn ``size`` inputs into ``out`` outputs."""
    widest = size + 2 * padding - 1 - (out - 1) * stride  # dilation * (kernel - 1) at most
    narrowest = max(0, widest - (stride - 1))
    return range(-(-narrowest // dilation) + 1, widest // dilation + 2)


def _plane_sizes(kernel: int, out: int, stride: int, padding: int, dilation: int) -> range:
    """Return the input sizes from which ``kernel`` makes ``out`` outputs."""
    smallest = (out - 1) * stride + dilation * (kernel - 1) + 1 - 2 * padding
    return range(max(1, smallest), smallest + stride)


def _only(missing: str, axis: str, sizes: range) -> int:
    if len(sizes) == 1:
        return sizes[0]
    if not sizes:
        raise ShapeError(f"arrays do not fit each other: no {missing} size along {axis} does")
    raise ShapeError(
        f"shape must be given: without {missing} its size along {axis} can be "
        f"{sizes[0]} to {sizes[-1]}"
    )
