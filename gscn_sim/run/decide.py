"""Which of the promising mappings to take: the fastest when each is run with its steps counted.

Counting leaves out only what products wait for banks, which differs little between mappings.
"""

from __future__ import annotations

from dataclasses import replace

from gscn_sim.config import Config, PeConfig
from gscn_sim.config.view import view
from gscn_sim.dataflows.base import PeTiming, block_costs
from gscn_sim.dataflows.registry import dataflow
from gscn_sim.fabric.top import run_fabric
from gscn_sim.mapping.deal import deal_order, deal_units
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.operands import Operands
from gscn_sim.schedule.make import make_schedule
from gscn_sim.schedule.model import Movement
from gscn_sim.stages import Caller, call

NEVER_FULL = 1 << 20
NEVER = 1 << 62


def without_banks(config: Config) -> Config:
    """The machine as counted steps see it: no product waits for a bank.

    Sections that no counted time depends on are the default ones, so that designs that differ in
    these only are equal.
    """
    default = PeConfig()
    unqueued = replace(
        config.pe,
        accumulator_banks=default.accumulator_banks,
        bank_hash=default.bank_hash,
        bank_queue_depth=NEVER_FULL,
        bank_queue_ports=0,
        adder_stages=1,
    )
    return Config(
        name="",
        array=config.array,
        pe=unqueued,
        buffer=config.buffer,
        network=config.network,
        drain=config.drain,
        dram=config.dram,
        policy=config.policy,
    )


def fastest(
    plans: tuple[Plan, ...], operands: Operands, machine: Config, caller: Caller = call
) -> Plan:
    """The plan that takes least time on ``machine`` (:func:`without_banks`); the first of equals.

    ``operands``: what is known of the layer-phase when it is planned.
    """
    if len(plans) == 1:
        return replace(plans[0])  # what a plan works out later belongs to whoever uses it
    best, cycles = plans[0], NEVER
    for plan in plans:
        needed = caller(counted_cycles, plan, operands, machine, cycles)
        if needed < cycles:
            best, cycles = plan, needed
    reason = f"{best.reason}, best of {len(plans)} with steps counted ({cycles} cycles)"
    return replace(best, reason=reason)


def counted_cycles(plan: Plan, operands: Operands, machine: Config, enough: int = NEVER) -> int:
    """Cycles of a plan whose steps are counted, on the fabric.

    A plan whose busiest PE or memory traffic alone takes ``enough`` is not run: then these.
    """
    flow, plan = dataflow(plan.dataflow), replace(plan)
    operands = flow.operands(operands)
    load_balance = machine.policy.load_balance
    order = deal_order(plan, operands, load_balance)
    timing = view(PeTiming, machine)
    costs = block_costs(flow, plan.of_one_sample, operands, order, timing, True)
    dealt = deal_units(plan, operands, load_balance) if plan.problem.is_reduction else None
    schedule = make_schedule(plan, costs, view(Movement, machine), dealt, flow.shares_inputs)
    moved = sum(schedule.dram_bytes(machine.dram.burst_bytes))
    least = max(schedule.busiest_cycles, machine.memory_cycles(moved))
    return least if least >= enough else run_fabric(schedule, machine).cycles
