"""Useful products of a phase, one loop for each index of the convolution's definition."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workloads import LayerShape


def meetings(shape: LayerShape) -> Iterator[tuple[int, int, int, int, int, int, int, int]]:
    """Every (k, c, c in its group, h, w, p, q, filter position) that a dense sample multiplies."""
    per_input, per_output = shape.C // shape.groups, shape.K // shape.groups
    for k in range(shape.K):
        for c_in_group in range(per_input):
            c = k // per_output * per_input + c_in_group
            for p in range(shape.P):
                for q in range(shape.Q):
                    for r in range(shape.R):
                        for s in range(shape.S):
                            h = p * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
                            w = q * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
                            if 0 <= h < shape.H and 0 <= w < shape.W:
                                yield k, c, c_in_group, h, w, p, q, r * shape.S + s


def useful_products(
    shape: LayerShape,
    phase: str,
    activation: np.ndarray | None,
    gradient: np.ndarray | None,
    weight: np.ndarray,
) -> int:
    """Products of two non-zeros that land inside the output, of one sample."""
    total = 0
    flat = weight.reshape(shape.K, shape.C // shape.groups, shape.R * shape.S)
    for k, c, c_in_group, h, w, p, q, rs in meetings(shape):
        first = activation[c, h, w] if phase == "forward" else gradient[k, p, q]
        second = activation[c, h, w] if phase == "wgrad" else flat[k, c_in_group, rs]
        total += bool(first) and bool(second)
    return total


def convolve(
    shape: LayerShape,
    phase: str,
    activation: np.ndarray,
    gradient: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """The phase's result for [n, C, H, W], [n, K, P, Q] and [K, C / groups, R, S]."""
    n = len(activation)
    result = {
        "forward": np.zeros((n, *shape.gradient_shape)),
        "dgrad": np.zeros((n, *shape.activation_shape)),
        "wgrad": np.zeros(shape.weight_shape),
    }[phase]
    for k, c, c_in_group, h, w, p, q, rs in meetings(shape):
        r, s = divmod(rs, shape.S)
        if phase == "forward":
            result[:, k, p, q] += activation[:, c, h, w] * weight[k, c_in_group, r, s]
        elif phase == "dgrad":
            result[:, c, h, w] += gradient[:, k, p, q] * weight[k, c_in_group, r, s]
        else:
            result[k, c_in_group, r, s] += (gradient[:, k, p, q] * activation[:, c, h, w]).sum()
    return result
