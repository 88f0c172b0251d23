"""A whole training run: its steps' time and energy from the density of each epoch, warm-up too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.results.words import duration, factor
from gscn_sim.step.result import StepRun
from gscn_sim.step.simulate import simulate_step, step_of
from workloads import Layer, Mask, Trace, TraceError
from workloads.tables import read_table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gscn_sim.run.memo import Cache
    from gscn_sim.run.simulate import Progress

POINTS = 5
"""Densities that are simulated by default; between them times are interpolated."""
DENSE = 1.0
PUBLISHED = 2.7
"""The paper's training speed-up over a GTX 1080 Ti."""
MACHINES = ("gscn", "dense", "gpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """``steps`` training steps whose gradients have a mean ``density`` (1: dense, no reuse)."""

    epoch: int
    steps: int
    density: float


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Epochs of training on each machine.

    ``points`` are the steps that were simulated, by density; a step without reuse is ordinary
    training, which has none of ReSprop's own work.
    """

    epochs: tuple[Epoch, ...]
    points: dict[float, StepRun] = field(hash=False)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each epoch: epoch, steps, density, and seconds and energy on each machine."""
        import pandas as pd

        frame = pd.DataFrame(
            {
                "epoch": [e.epoch for e in self.epochs],
                "steps": [e.steps for e in self.epochs],
                "density": [e.density for e in self.epochs],
            }
        )
        for machine in self.machines:
            for name in ("seconds", "energy_j"):
                frame[f"{machine}_{name}"] = frame["steps"] * self._at(machine, name)
        return frame

    @property
    def machines(self) -> tuple[str, ...]:
        """The machine, the dense array, and the GPU if there is one."""
        known = set(self._any.summary["machine"])
        return tuple(name for name in MACHINES if name in known)

    @property
    def totals(self) -> dict[str, dict[str, float]]:
        """Seconds and energy of the whole run on each machine, and its speed-ups."""
        whole = self.table.sum(skipna=False)
        found = {
            machine: {name: float(whole[f"{machine}_{name}"]) for name in ("seconds", "energy_j")}
            for machine in self.machines
        }
        ours = found["gscn"]["seconds"]
        for machine in self.machines[1:]:
            found[machine]["speedup"] = found[machine]["seconds"] / ours
        return found

    @property
    def headline(self) -> str:
        """The whole run in a sentence, the paper's figure beside it where it is about that GPU."""
        totals, step = self.totals, self._any
        names = {"gpu": str(step.gpu), "dense": "the dense array"}
        others = [
            f"{factor(totals[machine]['speedup'])} than {name}"
            for machine, name in names.items()
            if machine in totals
        ]
        steps = sum(epoch.steps for epoch in self.epochs)
        text = (
            f"{steps:,} training steps of {step.network}, batch {step.batch_size}, in "
            f"{len(self.epochs)} epochs on {step.config.name}: "
            f"{duration(totals['gscn']['seconds'])}, {' and '.join(others)} at the same operations"
        )
        return text + (f" (the paper: {PUBLISHED}x)" if step.gpu == "gtx-1080ti" else "")

    @property
    def _any(self) -> StepRun:
        return next(iter(self.points.values()))

    def _at(self, machine: str, name: str) -> NDArray[np.float64]:
        """Of a step of each epoch: simulated, or between the two simulated densities beside it."""
        own = {density: _of_step(run, machine, name) for density, run in self.points.items()}
        sparse = sorted(density for density in own if density < DENSE)
        values = [own[density] for density in sparse]
        return np.array(
            [
                own[DENSE] if e.density >= DENSE else np.interp(e.density, sparse, values)
                for e in self.epochs
            ]
        )


def simulate_training(
    trace: Trace,
    config: Config,
    epochs: Sequence[Epoch] | None = None,
    *,
    points: int = POINTS,
    gpu: str | None = "gtx-1080ti",
    precision: str | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> TrainingRun:
    """Run whole training steps at the densities of a training run, and add them up by epoch.

    Steps are simulated at ``points`` densities at most, on the masks of the first recorded
    iteration, thinned or filled at random so that their mean is the wanted one and layers keep
    their order.

    Args:
        epochs: by default each recorded iteration, as one step.

    Raises:
        TraceError: the trace has no gradients, or no step is known. ConfigError: no epochs, or
            fewer than two points.
    """
    wanted = tuple(recorded_epochs(trace) if epochs is None else epochs)
    if not wanted:
        raise ConfigError("a training run must have at least one epoch, got none")
    if points < 2:
        raise ConfigError(f"points must be at least 2, got {points}")
    step = step_of(trace, None, None)
    chosen = _anchors(wanted, points)
    runs = {}
    for done, density in enumerate(chosen):
        if progress:
            progress(done, len(chosen), f"density {density:.3g}")
        runs[density] = simulate_step(
            with_density(trace, density),
            config,
            step=step.without("resprop") if density >= DENSE else step,
            gpu=gpu,
            precision=precision,
            cache=cache,
        )
    if progress:
        progress(len(chosen), len(chosen), "")
    return TrainingRun(epochs=wanted, points=runs)


def read_epochs(path: str | Path) -> list[Epoch]:
    """Read a table with columns epoch and density, and steps if a line stands for several.

    Lines of one epoch are added up, so ``steps.csv`` of a training log is such a table; there an
    epoch of 1.5 is the middle of the second one. Where the last column is ``digest``, as in that
    log, each line must be what was written; tables without one are believed.

    Raises:
        LayerError: the file is no such table, or a line is damaged; the message names the line.
    """
    table = read_table(path, digests=True)
    known = ("epoch", "density")
    table.check_columns(required=known, optional=(*known, *table.columns))
    sums: dict[int, tuple[int, float]] = {}
    for row in table.rows:
        epoch, each = int(row.number("epoch")), 1
        if "steps" in table.columns:
            each = row.whole("steps")
        steps, total = sums.get(epoch, (0, 0.0))
        sums[epoch] = steps + each, total + each * row.density("density", default=DENSE)
    return [
        Epoch(epoch=epoch, steps=steps, density=total / steps)
        for epoch, (steps, total) in sorted(sums.items())
        if steps
    ]


def recorded_epochs(trace: Trace) -> list[Epoch]:
    """Each recorded iteration as an epoch of one step."""
    trace = trace.without_matmuls()
    iterations = dict.fromkeys(layer.iteration for layer in trace.layers)
    return [
        Epoch(epoch=i, steps=1, density=_mean([x for x in trace.layers if x.iteration == i]))
        for i in iterations
    ]


def with_density(trace: Trace, density: float) -> Trace:
    """The first iteration with gradients of this mean density; 1 is ordinary training.

    A sparser mean takes the same share of every layer's non-zeros away, a denser one fills the same
    share of its zeros. Which, is drawn at random, the same for the same trace.

    Raises:
        TraceError: the trace has no gradients.
    """
    trace = trace.without_matmuls()
    first = trace.layers[0].iteration
    layers = [layer for layer in trace.layers if layer.iteration == first]
    mean = _mean(layers)
    rng = np.random.default_rng(0)

    def changed(layer: Layer) -> Layer:
        if layer.gradient is None:
            return layer
        there = layer.gradient.dense()
        draws = rng.random(there.shape)
        if density >= DENSE:
            there = np.ones_like(there)
        elif density <= mean:
            there &= draws < density / mean
        else:
            there |= draws < (density - mean) / (1 - mean)
        more = {"extra_phases": ()} if density >= DENSE else {}
        return replace(
            layer, gradient=Mask.from_array(there), stored_values={}, **more  # type: ignore[arg-type]
        )  # fmt: skip

    facts: dict[str, Any] = {"reuse_sparsity": None, "reuse_sparsity_reached": None}
    return replace(
        trace,
        layers=[changed(layer) for layer in layers],
        **(facts if density >= DENSE else {"reuse_sparsity": 1 - density}),
    )


def _of_step(run: StepRun, machine: str, name: str) -> float:
    """Seconds or energy of a whole step on a machine."""
    summary = run.summary
    whole = summary[(summary["machine"] == machine) & (summary["phase"] == "step")]
    return float(whole[name].iloc[0])


def _mean(layers: Sequence[Layer]) -> float:
    """Mean density of gradients by elements, as training logs have it."""
    masks = [layer.gradient for layer in layers if layer.gradient is not None]
    if not masks or not (size := sum(mask.size for mask in masks)):
        raise TraceError("a training run needs recorded gradients, got none")
    return sum(mask.nonzeros for mask in masks) / size


def _anchors(epochs: Sequence[Epoch], points: int) -> list[float]:
    """The densities to simulate: all, or spread over them from the least to the largest."""
    dense = [DENSE] if any(e.density >= DENSE for e in epochs) else []
    sparse = sorted({e.density for e in epochs if e.density < DENSE})
    if len(sparse) > points:
        sparse = sorted(set(np.quantile(sparse, np.linspace(0, 1, points)).tolist()))
    return [*sparse, *dense]
