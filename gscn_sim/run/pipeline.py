"""One layer-phase: its plan, its kernels, its run on the fabric, its record and identities."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from gscn_sim.config import Config, ignoring
from gscn_sim.dataflows.costs import CostQuestion
from gscn_sim.dataflows.dense import dense_operands
from gscn_sim.errors import IdentityError
from gscn_sim.fabric.dram import bound_cycles
from gscn_sim.fabric.top import FabricResult, run_fabric
from gscn_sim.kernels.pairing import CYCLES, PAIRS, REAL_PAIRS, SCAN_CYCLES, STEPS, USEFUL
from gscn_sim.mapping import PLAN_FREE, Plan, choose_plan, deal_units
from gscn_sim.mapping.estimate import Estimator
from gscn_sim.problem.geometry import (
    Ints,
    Operands,
    Problem,
    count_useful,
    make_operands,
    make_problem,
)
from gscn_sim.results.record import Activity, PhaseRecord, Slots
from gscn_sim.results.timeline import Timeline
from gscn_sim.run.memo import Cache
from gscn_sim.schedule.model import Schedule
from gscn_sim.schedule.rounds import SCHEDULE_FREE, make_schedule
from gscn_sim.units import ceil_div
from workloads import Layer, Phase


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
    busiest = max(int(g.busy_cycles.sum(1).max()) for g in schedule.gangs)
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
