"""Running one point: the default of the functions that a sweep can evaluate points with."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gscn_sim.errors import ConfigError
from gscn_sim.run.memo import Cache, open_cache
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.points import Point
from gscn_sim.sweep.schema import METRICS
from gscn_sim.sweep.store import Outcome
from workloads import GscnError, Trace, load

if TYPE_CHECKING:
    from gscn_sim.compare.comparison import Comparison

Metrics = dict[str, float | str]
Results = Iterator[tuple[Point, Outcome]]
Evaluate = Callable[[Point], Metrics]
"""A function that can be pickled; a GscnError it raises becomes the point's error."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Simulates a point and returns its metrics.

    ``cache`` is where kernel results are kept on the machine that evaluates (:func:`open_cache`).
    """

    cache: str | None = None

    def __call__(self, point: Point) -> Metrics:
        from gscn_sim.compare.comparison import Comparison
        from gscn_sim.run.parts import records_of
        from gscn_sim.run.simulate import Simulation, parse_phases

        assert point.config is not None
        trace = load_trace(point.workload.path, point.workload.digest)
        cache = _cache(self.cache)
        if point.fidelity != "exact":
            from gscn_sim.sweep.quick import quick_metrics

            return quick_metrics(point, trace, cache)
        phases = parse_phases(point.setting.phases)
        batch = point.workload.batch_of(trace)
        records = records_of(trace, point.config, phases, batch_size=batch, cache=cache)
        if not records:
            names = ", ".join(phases)
            raise ConfigError(f"no layer of trace {trace.network!r} can run {names}")
        found = Simulation.of(trace, point.config, records.values())
        gpu = {"gpu": point.setting.gpu, "gpu_model": point.setting.gpu_model}
        return metrics(Comparison(simulation=found, **gpu))


def metrics(run: Comparison) -> Metrics:
    """The metrics of a run: its headline row, the backward pass alone, and the design's cost."""
    from gscn_sim.results.energy import area_mm2
    from gscn_sim.results.tables import headline_row

    head = headline_row(run.summary)
    values = {name: head[name] for name in METRICS if name in head}
    backward = run.summary[run.summary["phase"] == "backward"]
    for name in ("seconds", "speedup", "speedup_over_dense"):
        values[f"backward_{name}"] = backward[name].iloc[0] if len(backward) else float("nan")
    config = run.config
    values |= {
        "area_mm2": area_mm2(config).total,
        "on_chip_bytes": config.on_chip_bytes,
        "total_multipliers": config.num_pes * config.multipliers,
        "num_pes": config.num_pes,
        "dram_gbps": config.dram.peak_gbps,
    }
    numbers = {name: float(value) for name, value in values.items()}
    texts = {"scope": str(head["phase"]), "limited_by": str(head["limited_by"])}
    return {**numbers, **texts, "fidelity": "exact"}


def outcome(evaluate: Evaluate, point: Point) -> Outcome:
    """Evaluate a point; whatever goes wrong becomes its row."""
    if point.config is None:
        return Outcome(metrics=None, error=point.error)
    start = time.perf_counter()
    try:
        found = evaluate(point)
    except GscnError as error:
        text = " ".join(str(error).split())
        return Outcome(metrics=None, error=text, elapsed_seconds=time.perf_counter() - start)
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome(metrics=None, error=text, elapsed_seconds=time.perf_counter() - start)
    return Outcome(metrics=found, elapsed_seconds=time.perf_counter() - start)


@functools.cache
def _cache(place: str | None) -> Cache:
    """One a process: points find what points before them worked out."""
    return open_cache(place)


@functools.lru_cache(maxsize=4)
def load_trace(path: str, digest: str) -> Trace:
    """The trace with its layers, packed as they are in the file; loaded once a process.

    Raises:
        SpaceError: the file is another than at the start of the sweep.
    """
    trace = load(path)
    if trace.digest != digest:
        raise SpaceError(f"{path}: has changed since the sweep began")
    return dataclasses.replace(trace, layers=tuple(trace.layers))
