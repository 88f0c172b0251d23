"""Traces small enough to simulate in a blink, and the command in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import workloads
from gscn_sim.cli import main


@pytest.fixture
def invoke():
    """Run ``gscn-sim`` with the given words."""

    def call(*words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    return call


@pytest.fixture
def toy_trace(tmp_path: Path) -> Path:
    """Two layers, two samples; the first layer's dgrad never runs."""
    rng = np.random.default_rng(7)

    def sparse(density: float, *shape: int) -> np.ndarray:
        return ((rng.random(shape) < density) * rng.integers(1, 9, shape)).astype(np.float32)

    layers = [
        workloads.layer_from_arrays(
            "conv1",
            activation=sparse(0.9, 2, 3, 8, 8),
            weight=sparse(1.0, 8, 3, 3, 3),
            gradient=sparse(0.2, 2, 8, 8, 8),
            padding=(1, 1),
            input_gradient=False,
        ),
        workloads.layer_from_arrays(
            "conv2",
            activation=sparse(0.5, 2, 8, 8, 8),
            weight=sparse(1.0, 8, 8, 3, 3),
            gradient=sparse(0.1, 2, 8, 4, 4),
            padding=(1, 1),
            stride=(2, 2),
        ),
    ]
    path = tmp_path / "toy.npz"
    trace = workloads.Trace(network="toy", batch_size=4, reuse_sparsity=0.9, layers=layers)
    workloads.save(trace, path, values=True)
    return path
