"""How a layer-phase is split over the PEs and over time."""

from gscn_sim.mapping.balance import balanced, deal_units
from gscn_sim.mapping.choose import PLAN_FREE, choose_plan
from gscn_sim.mapping.plan import Block, Plan, Tile

__all__ = ["PLAN_FREE", "Block", "Plan", "Tile", "balanced", "choose_plan", "deal_units"]
