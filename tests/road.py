"""Steps of the road on a whole configuration, as most tests want them."""

from __future__ import annotations

from gscn_sim.config import Config
from gscn_sim.config.view import view
from gscn_sim.dataflows.base import BlockCosts, PeTiming
from gscn_sim.dataflows.registry import WantedDataflows, dataflow, dataflows_of
from gscn_sim.mapping.deal import ChannelOrder, deal_order
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.mapping.legal import legal_plans
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.geometry import Problem, make_problem
from gscn_sim.problem.operands import Operands, make_operands
from gscn_sim.run.pipeline import costs_later, plan_phase
from workloads import Layer, Phase


def plan_of(layer: Layer, phase: Phase, config: Config, batch: int) -> Plan:
    """The plan that is chosen."""
    problem = make_problem(layer.shape, phase, batch)
    return plan_phase(layer, problem, make_operands(layer, problem), config)


def all_legal_plans(problem: Problem, config: Config) -> list[list[Plan]]:
    """Legal plans by dataflow."""
    space = view(MappingSpace, config)
    flows = dataflows_of(problem.phase, view(WantedDataflows, config))
    return [list(legal_plans(problem, space, flow)) for flow in flows]


def costs_in_order(plan: Plan, operands: Operands, config: Config) -> BlockCosts:
    """What the blocks of a plan cost if channels keep their order."""
    operands = dataflow(plan.dataflow).operands(operands)
    timing = view(PeTiming, config)
    order = deal_order(plan, operands, "static")
    return costs_later(plan, operands, order, timing).result()


def in_dealt_order(
    plan: Plan, operands: Operands, load_balance: str = "sorted"
) -> tuple[Operands, ChannelOrder]:
    """Operands with their channels in the order in which they are dealt."""
    order = deal_order(plan, operands, load_balance)
    return operands.in_order(order.stationary, order.outputs), order
