"""Run a trace on a machine: plan, kernels, fabric, identities, for every layer and phase."""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gscn_sim.config import Config
from gscn_sim.config.names import DATAFLOWS, MAPPING_KINDS
from gscn_sim.errors import ConfigError
from gscn_sim.results.provenance import code_digest
from gscn_sim.results.record import PhaseRecord, facts_of_layer, same_or_mean
from gscn_sim.results.timeline import Timeline
from gscn_sim.run.memo import Cache
from workloads import Layer, Phase, Trace

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.run.pipeline import PreparedPhase

Progress = Callable[[int, int, str], None]

LOOK_AHEAD = 3  # layer-phases prepared ahead of the fabric; bounds memory


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """The result of :func:`simulate`: records, the machine, and facts about the trace.

    ``batch_size`` is that of the iterations, their mean if they differ. ``simpy_share`` is the part
    of the run's time that the discrete-event fabric took; ``recalled`` tells that nothing was
    simulated, because the cache knew the run.
    """

    records: tuple[PhaseRecord, ...]
    config: Config
    network: str
    trace_digest: str
    trace_metadata: Mapping[str, Any] = field(hash=False)
    batch_size: float
    reuse_sparsity: float | None
    simpy_share: float = field(compare=False)
    recalled: bool = field(default=False, compare=False)

    @classmethod
    def of(
        cls,
        trace: Trace,
        config: Config,
        records: Collection[PhaseRecord],
        *,
        simpy_share: float = math.nan,
    ) -> Self:
        """The result of a trace's records on a machine."""
        return cls(
            records=tuple(records),
            config=config,
            network=trace.network,
            trace_digest=trace.digest,
            trace_metadata=trace.metadata(),
            batch_size=same_or_mean([record.batch_size for record in records]),
            reuse_sparsity=trace.reuse_sparsity,
            simpy_share=simpy_share,
        )

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per layer and phase."""
        from gscn_sim.results.tables import layer_table

        return layer_table(self)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The network per phase, and the whole backward pass with and without pre-phases."""
        from gscn_sim.results.tables import layer_means, summary_of

        return summary_of(layer_means(self.table))


def simulate(
    trace: Trace,
    config: Config,
    phases: Sequence[str] | None = None,
    *,
    batch_size: int | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    timeline: str | Path | None = None,
    cache: Cache | None = None,
    recall: bool = False,
    iterations: Collection[int] | None = None,
) -> Simulation:
    """Simulate phases of every layer record of a trace.

    Arguments and errors are those of :func:`gscn_sim.simulate`, which compares with a GPU too.
    """
    wanted = backward_phases(trace) if phases is None else parse_phases(phases)
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch size must be a positive int, got {batch_size}")
    cache = cache or Cache(memory_bytes=0)
    computed: list[Simulation] = []

    def compute() -> Simulation:
        began = time.perf_counter()
        records, fabric_seconds = _run(
            trace, config, wanted, batch_size, workers, progress, timeline, cache, iterations
        )
        share = fabric_seconds / max(time.perf_counter() - began, 1e-9)
        found = Simulation.of(trace, config, records, simpy_share=share)
        computed.append(found)
        return found

    added = DATAFLOWS.was_added_to or MAPPING_KINDS.was_added_to
    if not recall or timeline is not None or added:
        return compute()
    chosen = None if iterations is None else sorted(iterations)
    names = [phase.value for phase in wanted]
    facts = (code_digest(), trace.digest, config, names, batch_size, chosen)
    found: Simulation = cache.get_on_disk(hashlib.sha256(repr(facts).encode()).hexdigest(), compute)
    if progress:
        progress(len(trace.layers), len(trace.layers), "")
    return found if computed else replace(found, recalled=True)


def _run(
    trace: Trace,
    config: Config,
    phases: list[Phase],
    batch_size: int | None,
    workers: int,
    progress: Progress | None,
    timeline: str | Path | None,
    cache: Cache,
    iterations: Collection[int] | None,
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
            *(pool, trace, config, phases, batch_size, progress, timeline is not None, cache),
            iterations,
        ):
            if prepared is None:  # a dense phase of a shape that has been simulated
                first = dense[dense_key(layer, phase)]
                records.append(
                    replace(first, **facts_of_layer(layer, batch_size or trace.batch_of(layer)))
                )
                continue
            record, seconds = finish_phase(
                trace.network, layer, prepared.result(), config, recorder
            )
            fabric_seconds += seconds
            records.append(record)
            if phase.is_pre_phase:
                dense[dense_key(layer, phase)] = record
    if progress:
        progress(len(trace.layers), len(trace.layers), "")
    if recorder is not None and timeline is not None:
        recorder.save(timeline)
    if not records:
        names = ", ".join(phase.value for phase in phases)
        raise ConfigError(f"no layer of trace {trace.network!r} can run {names}")
    return records, fabric_seconds


def prepare(
    trace: Trace,
    config: Config,
    phases: Sequence[Phase],
    *,
    batch_size: int,
    workers: int = 2,
    progress: Progress | None = None,
    cache: Cache | None = None,
    iterations: Collection[int] | None = None,
) -> Iterator[tuple[Layer, Phase, PreparedPhase]]:
    """Plan every layer-phase of a trace and run its kernels, but not the fabric."""
    cache = cache or Cache(memory_bytes=0)
    dense: dict[object, PreparedPhase] = {}
    with ThreadPoolExecutor(max_workers=workers) if workers else _Caller() as pool:
        for layer, phase, future in _prepare_ahead(
            *(pool, trace, config, list(phases), batch_size, progress, False, cache), iterations
        ):
            key = dense_key(layer, phase)
            prepared = dense[key] if future is None else future.result()
            if phase.is_pre_phase:
                dense[key] = prepared
            yield layer, phase, prepared
    if progress:
        progress(len(trace.layers), len(trace.layers), "")


def _prepare_ahead(
    pool: Executor,
    trace: Trace,
    config: Config,
    phases: list[Phase],
    batch_size: int | None,
    progress: Progress | None,
    every_phase: bool,
    cache: Cache,
    iterations: Collection[int] | None,
) -> Iterator[tuple[Layer, Phase, Future[PreparedPhase] | None]]:
    """Start the kernels of a few layer-phases ahead, in the order of the trace.

    The kernels release the interpreter lock, so they run while the fabric of an earlier layer-phase
    does. Only the layers in flight are in memory. A dense phase of a shape that came before needs
    no preparation, unless ``every_phase`` is to run (for a timeline).
    """
    from gscn_sim.run.knowledge import layers_to_run
    from gscn_sim.run.pipeline import prepare_phase

    waiting: deque[tuple[Layer, Phase, Future[PreparedPhase] | None]] = deque()
    seen: set[object] = set()
    for done, (layer, before) in enumerate(layers_to_run(trace, iterations)):
        if progress:
            progress(done, len(trace.layers), layer.name)
        batch = batch_size or trace.batch_of(layer)
        for phase in phases:
            if phase not in layer.phases():
                continue
            key = dense_key(layer, phase)
            future = None
            if not phase.is_pre_phase or key not in seen or every_phase:
                future = pool.submit(prepare_phase, layer, phase, config, batch, cache, before)
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


def dense_key(layer: Layer, phase: Phase) -> object:
    """What a pre-phase's cost depends on: it is dense but for the weights."""
    weight = layer.weight if "weight" in (phase.stationary, phase.streamed) else None
    return phase, layer.shape, weight


def backward_phases(trace: Trace) -> list[Phase]:
    """The phases of a backward pass: ReSprop's pre-phases too if the trace reuses gradients."""
    reuses = bool(trace.reuse_sparsity or trace.reuse_sparsity_reached)
    pre_phases = [Phase.PRE_DGRAD, Phase.PRE_WGRAD] if reuses else []
    return [Phase.DGRAD, Phase.WGRAD, *pre_phases]


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
