"""What the bounds of plans read of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gscn_sim.config.view import key


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedMachine:
    """All of a machine's configuration that these bounds read beside :class:`MappingSpace`.

    Neither clock nor memory is in it: designs that differ in these only share a bound.
    """

    streamed_vector: int = key("pe.streamed_vector")
    stationary_vector: int = key("pe.stationary_vector")
    drain_entries_per_cycle: int = key("drain.entries_per_cycle")
    drain_overlap: bool = key("drain.overlap")
    partial_sums_per_cycle: int = key("network.partial_sums_per_cycle")
    dispatch_latency: int = key("network.dispatch_latency")
    round_latency: int = key("pe.round_latency")
    visits_per_cycle: int = key("pe.visits_per_cycle")
    group_bubble: int = key("pe.group_bubble")
    gather_fragments: int = key("pe.gather_fragments")
    barrier: str = key("policy.barrier")
    knowledge: str = key("policy.knowledge")

    @property
    def round_wait(self) -> int:
        """Cycles that a round takes beside computing: fill the pipeline, hear of its end."""
        return self.round_latency + (self.dispatch_latency if self.barrier != "none" else 0)

    def waits(self, groups: Any, with_pairs: Any) -> Any:
        """Cycles between pairing groups of a block on a tile, and at those without pairs."""
        passed = (groups - with_pairs) / self.visits_per_cycle if self.visits_per_cycle else 0
        return np.maximum(with_pairs - 1, 0) * self.group_bubble + passed

    def drain_cycles(self, sums: float) -> float:
        """Cycles in which a PE post-processes so many sums; 0 if that never limits."""
        return sums / self.drain_entries_per_cycle if self.drain_entries_per_cycle else 0.0
