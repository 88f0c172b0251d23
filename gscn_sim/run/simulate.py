"""Run a trace on a machine: plan, kernels, fabric, identities, for every layer and phase."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.results.provenance import code_digest
from gscn_sim.results.record import PhaseRecord
from gscn_sim.results.timeline import Timeline
from gscn_sim.run.memo import Cache
from workloads import Layer, Phase, Trace

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.run.pipeline import PreparedPhase

Progress = Callable[[int, int, str], None]

LOOK_AHEAD = 3  # layer-phases prepared ahead of the fabric; bounds memory


@dataclass(frozen=True, kw_only=True)
class Run:
    """The result of :func:`simulate`: records, the machine, and facts about the trace.

    ``simpy_share`` is the part of the run's time that the discrete-event fabric took; ``recalled``
    tells that nothing was simulated, because the cache knew the run.
    """

    records: tuple[PhaseRecord, ...]
    config: Config
    network: str
    trace_digest: str
    batch_size: int
    reuse_sparsity: float | None
    gpu: str
    gpu_model: str
    simpy_share: float = field(compare=False)
    recalled: bool = field(default=False, compare=False)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per layer and phase."""
        from gscn_sim.results.tables import layer_table

        return layer_table(self)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The network per phase, and the whole backward pass with and without pre-phases."""
        from gscn_sim.results.tables import summary_table

        return summary_table(self)


def simulate(
    trace: Trace,
    config: Config,
    phases: Sequence[str] = ("dgrad", "wgrad"),
    *,
    batch_size: int | None = None,
    gpu: str = "gtx-1080ti",
    gpu_model: str = "analytical",
    workers: int = 2,
    progress: Progress | None = None,
    timeline: str | Path | None = None,
    cache: Cache | None = None,
    recall: bool = False,
) -> Run:
    """Simulate phases of every layer record of a trace.

    A batch larger than what was recorded repeats the recorded samples in order.

    Args:
        phases: names of :class:`workloads.Phase`. A phase that a layer cannot run because training
            never runs it (dgrad of the first layer) is left out.
        batch_size: samples of an iteration; the trace's own by default.
        workers: threads for the kernels, 0 for none beside the caller's; results do not depend on
            it.
        progress: called with (done, total, what) before each layer record and at the end.
        cache: where to look up what earlier runs have worked out (:func:`open_cache`); results do
            not depend on it.
        recall: whether to look up the whole run there too, and to keep it; not with a timeline.
        timeline: file to write a trace-event timeline of the sampled PEs, drains and DRAM to.

    Raises:
        ConfigError: an unknown phase, a batch size below 1, or a mapping that does not fit.
        TraceError: the trace cannot be read.
        DeadlockError, IdentityError: the simulation itself went wrong.
    """
    wanted = parse_phases(phases)
    batch = trace.batch_size if batch_size is None else batch_size
    if batch < 1:
        raise ConfigError(f"batch size must be a positive int, got {batch}")
    cache = cache or Cache(memory_bytes=0)
    simulated: list[Run] = []

    def compute() -> Run:
        began = time.perf_counter()
        records, fabric_seconds = _run(
            trace, config, wanted, batch, workers, progress, timeline, cache
        )
        run = Run(
            records=tuple(records),
            config=config,
            network=trace.network,
            trace_digest=trace.digest,
            batch_size=batch,
            reuse_sparsity=trace.reuse_sparsity,
            gpu=gpu,
            gpu_model=gpu_model,
            simpy_share=fabric_seconds / max(time.perf_counter() - began, 1e-9),
        )
        simulated.append(run)
        return run

    if not recall or timeline is not None:
        return compute()
    facts = (code_digest(), trace.digest, config, [phase.value for phase in wanted], batch)
    run: Run = cache.get_on_disk(hashlib.sha256(repr(facts).encode()).hexdigest(), compute)
    if progress:
        progress(len(trace.layers), len(trace.layers), "")
    return run if simulated else replace(run, gpu=gpu, gpu_model=gpu_model, recalled=True)


def _run(
    trace: Trace,
    config: Config,
    phases: list[Phase],
    batch_size: int,
    workers: int,
    progress: Progress | None,
    timeline: str | Path | None,
    cache: Cache,
) -> tuple[list[PhaseRecord], float]:
    """Records of every layer and phase, and the seconds that the fabric took."""
    from gscn_sim.run.pipeline import finish_phase  # compiled code and SimPy load here

    records: list[PhaseRecord] = []
    fabric_seconds = 0.0
    dense: dict[object, PhaseRecord] = {}
    recorder = None
    if timeline is not None:
        recorder = Timeline(clock_ghz=config.array.clock_ghz, num_pes=config.num_pes)
    with ThreadPoolExecutor(max_workers=workers) if workers else _Caller() as pool:
        for layer, phase, prepared in _prepare_ahead(
            pool, trace, config, phases, batch_size, progress, timeline is not None, cache
        ):
            if prepared is None:  # a dense phase of a shape that has been simulated
                first = dense[_dense_key(layer, phase)]
                records.append(replace(first, layer=layer.name, iteration=layer.iteration))
                continue
            record, seconds = finish_phase(
                trace.network, layer, prepared.result(), config, recorder
            )
            fabric_seconds += seconds
            records.append(record)
            if phase.is_pre_phase:
                dense[_dense_key(layer, phase)] = record
    if progress:
        progress(len(trace.layers), len(trace.layers), "")
    if recorder is not None and timeline is not None:
        recorder.save(timeline)
    if not records:
        names = ", ".join(phase.value for phase in phases)
        raise ConfigError(f"no layer of trace {trace.network!r} can run {names}")
    return records, fabric_seconds


def _prepare_ahead(
    pool: Executor,
    trace: Trace,
    config: Config,
    phases: list[Phase],
    batch_size: int,
    progress: Progress | None,
    every_phase: bool,
    cache: Cache,
) -> Iterator[tuple[Layer, Phase, Future[PreparedPhase] | None]]:
    """Start the kernels of a few layer-phases ahead, in the order of the trace.

    The kernels release the interpreter lock, so they run while the fabric of an earlier layer-phase
    does. Only the layers in flight are in memory. A dense phase of a shape that came before needs
    no preparation, unless ``every_phase`` is to run (for a timeline).
    """
    from gscn_sim.run.pipeline import prepare_phase

    waiting: deque[tuple[Layer, Phase, Future[PreparedPhase] | None]] = deque()
    seen: set[object] = set()
    for done, layer in enumerate(trace.layers):
        if progress:
            progress(done, len(trace.layers), layer.name)
        for phase in phases:
            if phase not in layer.phases():
                continue
            key = _dense_key(layer, phase)
            future = None
            if not phase.is_pre_phase or key not in seen or every_phase:
                future = pool.submit(prepare_phase, layer, phase, config, batch_size, cache)
            seen.add(key)
            waiting.append((layer, phase, future))
            if len(waiting) > LOOK_AHEAD:
                yield waiting.popleft()
    yield from waiting


class _Caller(Executor):
    """Runs what is submitted at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _dense_key(layer: Layer, phase: Phase) -> object:
    """What a pre-phase's cost depends on: it is dense but for the weights."""
    weight = layer.weight if phase is Phase.PRE_DGRAD else None
    return phase, layer.shape, weight


def parse_phases(names: Sequence[str]) -> list[Phase]:
    """Phases by name, in the order given, once each.

    Raises:
        ConfigError: an unknown name, or none at all.
    """
    found: list[Phase] = []
    for name in names:
        try:
            phase = Phase(name)
        except ValueError:
            allowed = ", ".join(p.value for p in Phase)
            raise ConfigError(f"unknown phase {name!r}; phases are {allowed}") from None
        if phase not in found:
            found.append(phase)
    if not found:
        raise ConfigError(f"no phase given; phases are {', '.join(p.value for p in Phase)}")
    return found
