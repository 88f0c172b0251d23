"""A part of a trace: what stays, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workloads
from workloads import Layer, Trace, TraceError, layer_from_arrays


def layer(iteration: int, name: str = "conv") -> Layer:
    generator = np.random.default_rng(iteration)

    def some(*shape: int) -> np.ndarray:
        return generator.integers(0, 3, shape).astype(np.float32)

    return layer_from_arrays(
        name,
        activation=some(3, 2, 4, 4),
        gradient=some(3, 2, 4, 4),
        weight=some(2, 2, 1, 1),
        iteration=iteration,
    )


@pytest.fixture
def whole(tmp_path: Path) -> Trace:
    layers = [layer(n, name) for n in (4, 5, 9) for name in ("a", "b")]
    made = Trace(network="toy", batch_size=8, layers=layers)
    workloads.save(made, tmp_path / "whole.npz", values=True)
    return workloads.load(tmp_path / "whole.npz")


def test_all_of_it_is_the_same_trace(whole: Trace) -> None:
    assert workloads.excerpt(whole).digest == whole.digest


def test_first_samples_and_chosen_iterations(whole: Trace, tmp_path: Path) -> None:
    part = workloads.excerpt(whole, samples=2, iterations=(9, 4))
    names = [(each.name, each.iteration) for each in part]
    assert names == [("a", 4), ("b", 4), ("a", 9), ("b", 9)]
    assert part.batch_size == 8
    original = whole["b", 9]
    for kept in (part["b", 9], part.layers[3], part.layers[2:][1]):
        assert kept.n_samples == 2
        for operand in ("activation", "gradient"):
            mask, before = kept.mask(operand), original.mask(operand)
            assert mask is not None
            assert before is not None
            assert np.array_equal(mask.dense(), before.dense()[:2])
            values, all_values = kept.values(operand), original.values(operand)
            assert values is not None
            assert all_values is not None
            assert np.array_equal(values, all_values[:2])
        assert kept.weight == original.weight
    workloads.save(part, tmp_path / "part.npz", values=True)
    assert workloads.load(tmp_path / "part.npz").digest == part.digest


def test_more_samples_than_there_are(whole: Trace) -> None:
    assert workloads.excerpt(whole, samples=99).digest == whole.digest


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"iterations": (4, 6)}, "iterations must be of 4, 5, 9, got 6"),
        ({"iterations": ()}, "iterations must be of 4, 5, 9, got none"),
    ],
)
def test_what_is_refused(whole: Trace, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        workloads.excerpt(whole, **asked)
