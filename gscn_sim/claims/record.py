"""What a row of the reproduction says, and what its makers need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gscn_sim.api import Run, simulate
from gscn_sim.config import Config, load_config
from gscn_sim.run.memo import Cache
from gscn_sim.step.result import StepRun
from gscn_sim.step.simulate import simulate_step
from workloads import GscnError, Layer, Trace, load

GPU = "gtx-1080ti"
"""The paper's."""
BACKWARD = ("dgrad", "wgrad", "pre_dgrad", "pre_wgrad")
UNLIMITED = {"dram.preset": "ideal", "network.operand_bytes_per_cycle": 0}
"""Memory and network that never limit, as in simulators that model neither."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One figure: what somebody published (None: nothing), ours, and why they differ.

    ``low`` and ``high`` are the band of our figure where there is one.
    """

    family: str
    claim: str
    unit: str
    published: float | None
    ours: float | None
    low: float | None = None
    high: float | None = None
    how: str
    differs: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours / published."""
        return None if self.ours is None or not self.published else self.ours / self.published


@dataclass(frozen=True, kw_only=True)
class Study:
    """Traces, caches and runs that the families share.

    ``traces`` is the folder of recorded traces, ``accuracy`` the table of the training study.
    ``begin`` is told each simulation that begins, ``note`` what is left out.
    """

    traces: Path
    accuracy: Path
    cache: Cache
    begin: Callable[[str], None]
    note: Callable[[str], None]
    _runs: dict[object, Run] = field(default_factory=dict, compare=False)
    _steps: dict[str, StepRun] = field(default_factory=dict, compare=False)

    def trace(self, name: str) -> Trace:
        """A recorded trace by the name of its file.

        Raises:
            GscnError: it is not there (the installed package holds the smallest only).
        """
        path = self.traces / f"{name}.npz"
        if not path.is_file():
            raise GscnError(
                f"{path}: no such trace; --traces must name workloads/data of the source tree"
            )
        return load(path)

    def run(
        self,
        trace: Trace,
        config: Config | str = "gscn",
        overrides: Mapping[str, Any] | None = None,
        *,
        phases: Sequence[str] = BACKWARD,
        batch_size: int | None = None,
    ) -> Run:
        """Simulate the last recorded iteration, or return what was simulated before."""
        machine = load_config(config, overrides) if isinstance(config, str) else config
        key = (trace.digest, machine, tuple(phases), batch_size)
        if key not in self._runs:
            changed = "".join(f" {k}={v}" for k, v in (overrides or {}).items())
            batch = "" if batch_size is None else f" batch {batch_size}"
            self.begin(f"{trace.network} on {machine.name}{changed}{batch}")
            self._runs[key] = simulate(
                *(trace, machine, phases),
                batch_size=batch_size,
                cache=self.cache,
                iterations=trace.iterations[-1:],
            )
        return self._runs[key]

    def step(self, trace: Trace) -> StepRun:
        """Simulate the last recorded step, whole, on the default machine, or return it."""
        if trace.digest not in self._steps:
            self.begin(f"a training step of {trace.network} on gscn")
            self._steps[trace.digest] = simulate_step(
                *(trace, load_config("gscn")),
                gpu=GPU,
                cache=self.cache,
                iterations=trace.iterations[-1:],
            )
        return self._steps[trace.digest]


def first_iteration(trace: Trace) -> Trace:
    """The first recorded iteration of a trace."""
    first = trace.layers[0].iteration
    return with_layers(trace, [layer for layer in trace.layers if layer.iteration == first])


def with_layers(trace: Trace, layers: list[Layer]) -> Trace:
    """The trace with other layers."""
    return Trace(
        network=trace.network,
        batch_size=trace.batch_size,
        reuse_sparsity=trace.reuse_sparsity,
        layers=layers,
    )


def total_cycles(run: Run) -> int:
    """Cycles of all layers and phases."""
    return sum(record.cycles for record in run.records)


def summary_row(run: Run, phase: str) -> dict[str, Any]:
    """The row of a phase, or of a whole backward pass, in a run's summary."""
    found = run.summary[run.summary["phase"] == phase].iloc[0]
    return {str(name): value for name, value in found.items()}
