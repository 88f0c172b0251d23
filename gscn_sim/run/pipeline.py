"""The road of one layer-phase: problem, plan, costs, schedule, fabric, record.

Each step is a function of the one before and of its view of the configuration. ``caller`` calls
them, and may remember what they returned (:mod:`gscn_sim.stages`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gscn_sim.config import Config
from gscn_sim.config.view import view
from gscn_sim.dataflows.base import BlockCosts, PeTiming, block_costs
from gscn_sim.dataflows.registry import dataflow
from gscn_sim.fabric.top import FabricResult, run_fabric
from gscn_sim.kernels.pairing import CYCLES, PAIRS, REAL_PAIRS, STEPS, USEFUL, WAIT_CYCLES
from gscn_sim.mapping.choose import shortlist
from gscn_sim.mapping.deal import ChannelOrder, Dealt, deal_order, deal_units
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.geometry import Ints, Problem, make_problem
from gscn_sim.problem.operands import Operands, count_by_group, count_useful, make_operands
from gscn_sim.results.record import Activity, PhaseRecord, Slots, facts_of_layer
from gscn_sim.results.timeline import Timeline
from gscn_sim.run.decide import fastest, without_banks
from gscn_sim.run.knowledge import known_operands
from gscn_sim.run.planner import ask_planner
from gscn_sim.schedule.make import make_schedule
from gscn_sim.schedule.model import Movement, Schedule
from gscn_sim.stages import Caller, Later, call
from gscn_sim.units import ceil_div
from workloads import Layer, Phase


@dataclass(frozen=True, kw_only=True)
class PreparedPhase:
    """A layer-phase with its plan and schedule, ready for the fabric.

    ``batch_size`` is the training iteration's, of which a one-sample phase runs one. ``useful`` are
    the useful products of each of the recorded ``samples``, counted from the masks.
    """

    problem: Problem
    batch_size: int
    samples: int
    useful: Ints
    plan: Plan
    schedule: Schedule


def prepare_phase(
    layer: Layer,
    phase: Phase,
    config: Config,
    batch_size: int,
    caller: Caller = call,
    before: Layer | None = None,
) -> PreparedPhase:
    """Plan a layer-phase, run its kernels, and lay out its schedule.

    ``before``: the layer's record of an earlier iteration, for ``policy.knowledge = "previous"``.
    """
    problem = make_problem(layer.shape, phase, batch_size)
    operands = caller(make_operands, layer, problem)
    known = known_operands(config.policy.knowledge, problem, operands, before, caller)
    plan = plan_phase(layer, problem, known, config, caller)
    flow = dataflow(plan.dataflow)
    operands, known = flow.operands(operands), flow.operands(known)
    load_balance = config.policy.load_balance
    dealt = None
    if problem.is_reduction:
        dealt = Later(caller, deal_units, (plan, known, load_balance, operands.samples))
    order = deal_order(plan, known, load_balance)
    costs = costs_later(plan, operands, order, view(PeTiming, config), caller)
    schedule = caller(_schedule, plan, costs, view(Movement, config), dealt, flow.shares_inputs)
    useful = caller(useful_by_sample, layer, problem, operands)
    return PreparedPhase(
        problem=problem,
        batch_size=batch_size,
        samples=len(useful),
        useful=useful,
        plan=plan,
        schedule=schedule,
    )


def useful_by_sample(layer: Layer, problem: Problem, operands: Operands) -> Ints:
    """Useful products of each recorded sample of a layer-phase."""
    if not layer.is_matmul:
        return count_useful(problem, operands)
    of_sample = count_by_group(problem, operands).reshape(problem.samples, -1).sum(1)
    return of_sample[: layer.n_samples]


def plan_phase(
    layer: Layer, problem: Problem, operands: Operands, config: Config, caller: Caller = call
) -> Plan:
    """Choose the plan of a layer-phase.

    Raises:
        ConfigError: none is legal; the message names the layer and the phase.
    """
    plans = ask_planner(shortlist, layer.name, problem, operands, config, caller)
    return fastest(plans, operands, without_banks(config), caller)


def costs_later(
    plan: Plan,
    operands: Operands,
    order: ChannelOrder,
    timing: PeTiming,
    caller: Caller = call,
) -> Later[BlockCosts]:
    """What the plan's blocks cost, their channels dealt to PEs in ``order``."""
    flow = dataflow(plan.dataflow)
    arguments = (flow, plan.of_one_sample, operands, order, timing)
    return Later(caller, block_costs, arguments, keep=flow.is_ours)


def _schedule(
    plan: Plan,
    costs: Later[BlockCosts],
    machine: Movement,
    dealt: Later[Dealt] | None,
    shares_inputs: bool,
) -> Schedule:
    """The schedule of a plan; what it needs is worked out on the way."""
    units = None if dealt is None else dealt.result()
    return make_schedule(plan, costs.result(), machine, units, shares_inputs)


def finish_phase(
    network: str,
    layer: Layer,
    prepared: PreparedPhase,
    config: Config,
    timeline: Timeline | None = None,
    *,
    checked: bool = True,
) -> tuple[PhaseRecord, float]:
    """Run the fabric, check every identity; also return the seconds the fabric took.

    Raises:
        IdentityError: one does not hold, and ``checked`` is not False.
    """
    began = time.perf_counter()
    result = run_fabric(prepared.schedule, config, timeline)
    seconds = time.perf_counter() - began
    if timeline is not None:
        start, name = timeline.origin_cycle, f"{layer.name} {prepared.problem.phase}"
        name = f"{name}, iteration {layer.iteration}"
        timeline.span("layer/phase", name, 0, result.cycles)
        timeline.origin_cycle = start + result.cycles
    facts = facts_of_layer(layer, prepared.batch_size)
    record = record_of(network, facts, prepared, result, config)
    if checked:
        record.check()
    return record, seconds


def simulate_phase(
    network: str,
    layer: Layer,
    phase: Phase,
    config: Config,
    batch_size: int,
    *,
    checked: bool = True,
) -> PhaseRecord:
    """Simulate one layer-phase."""
    prepared = prepare_phase(layer, phase, config, batch_size)
    return finish_phase(network, layer, prepared, config, checked=checked)[0]


def record_of(
    network: str,
    facts: Mapping[str, Any],
    prepared: PreparedPhase,
    result: FabricResult,
    config: Config,
) -> PhaseRecord:
    """What a layer-phase took. ``facts`` are the layer's (:func:`facts_of_layer`)."""
    problem, samples = prepared.problem, prepared.samples
    plan, schedule = prepared.plan, prepared.schedule
    times = np.bincount(np.arange(problem.samples) % samples, minlength=samples)
    read_bytes, write_bytes = schedule.dram_bytes(config.dram.burst_bytes)
    busiest = schedule.busiest_cycles
    slots = _slots(schedule, result, config)
    return PhaseRecord(
        network=network,
        **facts,
        phase=problem.phase,
        dataflow=plan.dataflow,
        mapping=plan.label,
        mapping_reason=plan.reason,
        samples_recorded=samples,
        num_pes=config.num_pes,
        multipliers=config.multipliers,
        cycles=result.cycles,
        dense_macs=problem.dense_macs,
        useful_products=int(prepared.useful @ times),
        products_by_sample=tuple(prepared.useful.tolist()),
        steps=int(schedule.counters[STEPS]),
        slots=slots,
        activity=_activity(schedule, result, config),
        compute_bound_cycles=max(
            busiest, ceil_div(slots.useful, config.num_pes * config.multipliers)
        ),
        dram_bound_cycles=config.memory_cycles(result.dram_read_bytes + result.dram_write_bytes),
        scheduled_read_bytes=read_bytes,
        scheduled_write_bytes=write_bytes,
        pe_busy_cycles=result.busy,
        pe_stalled_cycles=tuple(
            map(sum, zip(result.operand_wait, result.output_wait, strict=True))
        ),
        pe_idle_cycles=result.imbalance,
    )


def _slots(schedule: Schedule, result: FabricResult, config: Config) -> Slots:
    """Where every multiplier slot went: from the kernels' counters, and the fabric's waits."""
    counters = [int(v) for v in schedule.counters]
    steps, useful, real, pairs = (counters[i] for i in (STEPS, USEFUL, REAL_PAIRS, PAIRS))
    multipliers = config.multipliers
    return Slots(
        useful=useful,
        redundant=real - useful,
        placeholder=pairs - real,
        fragmentation=steps * multipliers - pairs,
        bank_conflict=(counters[CYCLES] - steps - counters[WAIT_CYCLES]) * multipliers,
        operand_wait=(sum(result.operand_wait) + counters[WAIT_CYCLES]) * multipliers,
        output_wait=sum(result.output_wait) * multipliers,
        imbalance=sum(result.imbalance) * multipliers,
    )


def _activity(schedule: Schedule, result: FabricResult, config: Config) -> Activity:
    """How often each part of the machine worked."""
    steps, useful, real = (int(schedule.counters[i]) for i in (STEPS, USEFUL, REAL_PAIRS))
    entry_bits = 8 * config.pe.value_bytes + config.pe.index_bits
    return Activity(
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
