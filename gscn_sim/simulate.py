"""Run a trace on a machine: plan, kernels, fabric, identities, for every layer and phase."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gscn_sim.cache import Cache
from gscn_sim.config import Config, ignoring
from gscn_sim.costs import CostQuestion
from gscn_sim.dense import dense_operands
from gscn_sim.errors import ConfigError, IdentityError
from gscn_sim.fabric.dram import bound_cycles
from gscn_sim.fabric.top import FabricResult, run_fabric
from gscn_sim.geometry import Ints, Operands, Problem, count_useful, make_operands, make_problem
from gscn_sim.kernels.pairing import CYCLES, PAIRS, REAL_PAIRS, SCAN_CYCLES, STEPS, USEFUL
from gscn_sim.mapping import PLAN_FREE, Plan, choose_plan, deal_units
from gscn_sim.mapping.estimate import Estimator
from gscn_sim.records import Activity, PhaseRecord, Slots
from gscn_sim.rounds import SCHEDULE_FREE, make_schedule
from gscn_sim.schedule import Schedule
from gscn_sim.timeline import Timeline
from gscn_sim.units import ceil_div
from workloads import Layer, Phase, Trace

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]

LOOK_AHEAD = 3  # layer-phases prepared ahead of the fabric; bounds memory


@dataclass(frozen=True, kw_only=True)
class Run:
    """The result of :func:`simulate`: records, the machine, and facts about the trace.

    ``simpy_share`` is the part of the run's time that the discrete-event fabric took.
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

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per layer and phase."""
        from gscn_sim.tables import layer_table

        return layer_table(self)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The network per phase, and the whole backward pass with and without pre-phases."""
        from gscn_sim.tables import summary_table

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
    records: list[PhaseRecord] = []
    fabric_seconds = 0.0
    cache = cache or Cache(memory_bytes=0)
    began = time.perf_counter()
    dense: dict[object, PhaseRecord] = {}
    recorder = None
    if timeline is not None:
        recorder = Timeline(clock_ghz=config.array.clock_ghz, num_pes=config.num_pes)
    with ThreadPoolExecutor(max_workers=workers) if workers else _Caller() as pool:
        for layer, phase, prepared in _prepare_ahead(
            pool, trace, config, wanted, batch, progress, timeline is not None, cache
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
        names = ", ".join(p.value for p in wanted)
        raise ConfigError(f"no layer of trace {trace.network!r} can run {names}")
    elapsed = time.perf_counter() - began
    return Run(
        records=tuple(records),
        config=config,
        network=trace.network,
        trace_digest=trace.digest,
        batch_size=batch,
        reuse_sparsity=trace.reuse_sparsity,
        gpu=gpu,
        gpu_model=gpu_model,
        simpy_share=fabric_seconds / elapsed if elapsed else 0.0,
    )


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


@dataclass(frozen=True, kw_only=True)
class PreparedPhase:
    """A layer-phase with its plan and schedule, ready for the fabric.

    ``useful`` are the useful products of each recorded sample, counted from the masks.
    """

    problem: Problem
    operands: Operands
    useful: Ints
    plan: Plan
    schedule: Schedule


def prepare_phase(
    layer: Layer, phase: Phase, config: Config, batch_size: int, cache: Cache
) -> PreparedPhase:
    """Plan a layer-phase, run its kernels, and lay out its schedule."""
    problem = make_problem(layer.shape, phase, batch_size)
    operands = cache.get((phase, layer), lambda: make_operands(layer, problem))
    kept: list[Estimator] = cache.get(("estimator", phase, layer, batch_size), list)
    plan = cache.get(
        ("plan", phase, layer, batch_size, ignoring(config, *PLAN_FREE)),
        lambda: choose_plan(problem, operands, config, layer.name, kept),
    )
    if plan.dataflow == "dense":
        operands = dense_operands(operands)
        useful = count_useful(problem, operands)
    else:
        useful = cache.get(("useful", phase, layer), lambda: count_useful(problem, operands))
    question = CostQuestion(plan=plan, operands=operands, config=config)

    def schedule() -> Schedule:
        units = deal_units(plan, operands, config)
        return make_schedule(plan, question.answer(cache), config, units)

    return PreparedPhase(
        problem=problem,
        operands=operands,
        useful=useful,
        plan=plan,
        schedule=cache.get(
            (question.digest, plan.samples, batch_size, ignoring(config, *SCHEDULE_FREE)), schedule
        ),
    )


def finish_phase(
    network: str,
    layer: Layer,
    prepared: PreparedPhase,
    config: Config,
    timeline: Timeline | None = None,
) -> tuple[PhaseRecord, float]:
    """Run the fabric, check every identity; also return the seconds the fabric took."""
    began = time.perf_counter()
    result = run_fabric(prepared.schedule, config, timeline)
    seconds = time.perf_counter() - began
    if timeline is not None:
        start, name = timeline.origin_cycle, f"{layer.name} {prepared.problem.phase}"
        timeline.span("layer/phase", name, 0, result.cycles)
        timeline.origin_cycle = start + result.cycles
    record = _record(network, layer, prepared, result, config)
    record.check()
    _check_traffic(record, prepared.schedule, config)
    return record, seconds


def simulate_phase(
    network: str, layer: Layer, phase: Phase, config: Config, batch_size: int
) -> PhaseRecord:
    """Simulate one layer-phase."""
    prepared = prepare_phase(layer, phase, config, batch_size, Cache(memory_bytes=0))
    return finish_phase(network, layer, prepared, config)[0]


def _record(
    network: str,
    layer: Layer,
    prepared: PreparedPhase,
    result: FabricResult,
    config: Config,
) -> PhaseRecord:
    problem, operands = prepared.problem, prepared.operands
    plan, schedule = prepared.plan, prepared.schedule
    counters = [int(v) for v in schedule.counters]
    multipliers = config.multipliers
    times = np.bincount(
        np.arange(problem.batch_size) % operands.samples, minlength=operands.samples
    )
    expected = int(prepared.useful @ times)
    steps, useful, real, pairs = (counters[i] for i in (STEPS, USEFUL, REAL_PAIRS, PAIRS))
    slots = Slots(
        useful=useful,
        redundant=real - useful,
        placeholder=pairs - real,
        fragmentation=steps * multipliers - pairs,
        bank_conflict=(counters[CYCLES] - steps - counters[SCAN_CYCLES]) * multipliers,
        operand_wait=(sum(result.operand_wait) + counters[SCAN_CYCLES]) * multipliers,
        output_wait=sum(result.output_wait) * multipliers,
        imbalance=sum(result.imbalance) * multipliers,
    )
    entry_bits = 8 * config.pe.value_bytes + config.pe.index_bits
    activity = Activity(
        multiplications=real,
        accumulations=useful,
        stationary_read_bytes=ceil_div(schedule.stationary_reads * entry_bits, 8),
        stationary_write_bytes=int(schedule.fill_bytes.sum()),
        streamed_read_bytes=ceil_div(steps * config.pe.streamed_vector * entry_bits, 8),
        streamed_write_bytes=ceil_div(schedule.streamed_reads * entry_bits, 8),
        buffer_read_bytes=result.buffer_read_bytes,
        buffer_write_bytes=result.buffer_write_bytes,
        network_bytes=result.network_bytes,
        partial_sums_exchanged=sum(int(g.exchanged_sums.sum()) for g in schedule.gangs),
        drained_entries=sum(int(g.drained_entries.sum()) for g in schedule.gangs),
        dram_read_bytes=result.dram_read_bytes,
        dram_write_bytes=result.dram_write_bytes,
    )
    busiest = max((int(g.busy_cycles.sum(1).max()) for g in schedule.gangs), default=0)
    return PhaseRecord(
        network=network,
        iteration=layer.iteration,
        layer=layer.name,
        phase=problem.phase,
        shape=layer.shape,
        dataflow=plan.dataflow,
        mapping=plan.label,
        mapping_reason=plan.reason,
        batch_size=problem.batch_size,
        samples_recorded=operands.samples,
        num_pes=config.num_pes,
        multipliers=multipliers,
        cycles=result.cycles,
        dense_macs=problem.dense_macs,
        useful_products=expected,
        steps=steps,
        slots=slots,
        activity=activity,
        compute_bound_cycles=max(busiest, ceil_div(useful, config.num_pes * multipliers)),
        dram_bound_cycles=bound_cycles(config, result.dram_read_bytes, result.dram_write_bytes),
        pe_busy_cycles=result.busy,
    )


def _check_traffic(record: PhaseRecord, schedule: Schedule, config: Config) -> None:
    """Bytes read and written must be what the schedule says must move, in whole bursts."""
    burst = config.dram.burst_bytes
    reads = int((-(-schedule.fill_dram_bytes // burst)).sum())
    writes = 0
    for gang in schedule.gangs:
        reads += int((-(-gang.stream_dram_bytes // burst)).sum())
        writes += int((-(-gang.output_bytes // burst)).sum())
    for what, bursts, got in (
        ("read", reads, record.dram_read_bytes),
        ("written", writes, record.dram_write_bytes),
    ):
        if got != bursts * burst:
            raise IdentityError(
                f"{record.layer} {record.phase}: {got} bytes {what}, {bursts * burst} must move"
            )
