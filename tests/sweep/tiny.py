"""A trace of two small layers, and every design of a small space simulated on it, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gscn_sim.sweep import (
    Choices,
    Evaluation,
    Expression,
    Point,
    Setting,
    Space,
    SweepPlan,
    Workload,
)
from gscn_sim.sweep.evaluate import Metrics
from workloads import Trace, layer_from_arrays, save

SETTING = Setting(phases=("dgrad", "wgrad"), gpu="gtx-1080ti", gpu_model="analytical")
SPACE = Space(
    axes=(
        Choices(key="array.pe_rows", options=(1, 2, 4)),
        Choices(key="pe.streamed_vector", options=(2, 4)),
        Choices(key="array.clock_ghz", options=(0.5, 1.6)),
        Choices(key="pe.accumulator_entries", options=(8, 256, 1024)),
    ),
    fixed={"array.pe_cols": 2},
    constraints=(Expression("num_pes * multipliers <= 64"),),
)


def tiny_trace(path: Path, density: float = 0.3) -> str:
    """Write the trace; the layers differ in stride and channels."""
    rng = np.random.default_rng(7)

    def layer(name: str, c: int, k: int, size: int, stride: int):
        plane = size // stride
        return layer_from_arrays(
            name,
            activation=rng.random((2, c, size, size)) < 0.6,
            gradient=rng.random((2, k, plane, plane)) < density,
            weight=np.ones((k, c, 3, 3)),
            stride=(stride, stride),
            padding=(1, 1),
        )

    layers = [layer("a", 6, 8, 10, 1), layer("b", 8, 12, 8, 2)]
    save(Trace(network="tiny", batch_size=4, layers=layers), path)
    return str(path)


def tiny_plan(paths: list[str], **changes) -> SweepPlan:
    """All designs of the space on the traces."""
    workloads = [Workload.load(path) for path in paths]
    return SweepPlan(**{"space": SPACE, "workloads": workloads, "setting": SETTING, **changes})


class Remembering:
    """Evaluates points, each once, and counts those it was asked to simulate."""

    def __init__(self) -> None:
        self.known: dict[str, Metrics] = {}
        self.simulated = 0
        self.evaluate = Evaluation(cache="off")

    def __call__(self, point: Point) -> Metrics:
        self.simulated += point.fidelity == "exact"
        if point.key not in self.known:
            self.known[point.key] = self.evaluate(point)
        return self.known[point.key]
