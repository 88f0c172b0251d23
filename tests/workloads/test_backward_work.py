"""Backward work where dense and sparse layers are of different sizes, worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from workloads import LayerShape, Trace, layer_from_arrays
from workloads.work import backward_work

WIDE = LayerShape(C=1, H=4, W=4, K=8, R=1, S=1)  # 128 gradients, 128 multiply-adds
DEEP = LayerShape(C=50, H=2, W=2, K=4, R=1, S=1)  # 16 gradients, 800 multiply-adds
SAMPLES = 2


def trace(wide: float, deep: float, **more: object) -> Trace:
    """Two layers of these gradient densities; the first has no gradient of its input."""
    layers = []
    for name, shape, density in (("wide", WIDE, wide), ("deep", DEEP, deep)):
        size = SAMPLES * int(np.prod(shape.gradient_shape))
        gradient = np.zeros(size, bool)
        gradient[: round(density * size)] = True
        layer = layer_from_arrays(
            name,
            shape=shape,
            activation=np.ones((SAMPLES, *shape.activation_shape)),
            gradient=gradient.reshape(SAMPLES, *shape.gradient_shape),
        )
        layers.append(replace(layer, input_gradient=name != "wide"))
    facts: dict[str, object] = {"reuse_sparsity": 0.9} | more
    return Trace(network="toy", batch_size=8, layers=layers, **facts)  # type: ignore[arg-type]


def test_density_weighs_by_multiply_adds() -> None:
    """By elements these deltas are (128 / 16 + 16 / 2) / 144 = 1/9 dense; the work is not."""
    work = backward_work(trace(wide=1 / 16, deep=1 / 2))
    assert work.dense_macs == 8 * (128 + 2 * 800)
    assert work.sparse_macs == 8 * (128 / 16 + 2 * 800 / 2)
    assert work.pre_macs == 128 + 2 * 800
    assert work.density == 808 / 1728
    assert work.saved_without_pre == 1728 / 808
    assert work.saved == pytest.approx(1 / (808 / 1728 + 1 / 8))


def test_equal_densities_need_no_weights() -> None:
    work = backward_work(trace(wide=1 / 4, deep=1 / 4))
    assert work.saved == pytest.approx(1 / (1 / 4 + 1 / 8))


def test_only_reuse_costs_pre_phases() -> None:
    work = backward_work(trace(wide=1 / 4, deep=1 / 4, reuse_sparsity=None))
    assert work.pre_macs == 0
    assert work.saved == work.saved_without_pre == 4


def test_an_iteration_counts_with_its_own_batch() -> None:
    plain = trace(wide=1 / 4, deep=1 / 4)
    layers = [replace(layer, iteration=1, batch_size=2) for layer in plain.layers]
    work = backward_work(replace(plain, layers=[*plain.layers, *layers]))
    assert work.dense_macs == (8 + 2) * 1728
    assert work.pre_macs == 2 * 1728


def test_nothing_left_and_nothing_to_do() -> None:
    empty = backward_work(trace(wide=0, deep=0, reuse_sparsity=None))
    assert empty.saved == math.inf
    whole = trace(wide=0, deep=0)
    only_forward = [replace(layer, gradient=None) for layer in whole.layers]
    assert math.isnan(backward_work(replace(whole, layers=only_forward)).saved)
