"""Records of one PE with four multipliers, whose every figure can be worked out on paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gscn_sim.config import Config, load_config
from gscn_sim.results.record import Activity, PhaseRecord, Slots
from workloads import LayerShape, Phase

SHAPE = LayerShape(C=8, H=4, W=4, K=8, R=1, S=1)
CONFIG = load_config(
    "gscn-ideal",
    {
        "array.pe_rows": 1,
        "array.pe_cols": 1,
        "array.clock_ghz": 1.0,
        "pe.streamed_vector": 2,
        "pe.stationary_vector": 2,
    },
)


@dataclass
class FakeSimulation:
    records: tuple[PhaseRecord, ...]
    config: Config = CONFIG
    trace_metadata: dict[str, Any] = field(default_factory=dict)


def record(
    phase: str, *, cycles: int = 10, useful: int = 20, layer: str = "a", **changes: Any
) -> PhaseRecord:
    """A record whose identities hold; what is not useful is imbalance."""
    slots = Slots(useful=useful, imbalance=4 * cycles - useful)
    values: dict[str, Any] = {
        "network": "toy",
        "iteration": 0,
        "layer": layer,
        "phase": Phase(phase),
        "shape": SHAPE,
        "dataflow": "cartesian",
        "mapping": "planar",
        "mapping_reason": "asked for",
        "batch_size": 4,
        "samples_recorded": 2,
        "num_pes": 1,
        "multipliers": 4,
        "cycles": cycles,
        "dense_macs": 4096,
        "useful_products": useful,
        "steps": 7,
        "slots": slots,
        "activity": Activity(multiplications=useful, dram_read_bytes=64, dram_write_bytes=32),
        "compute_bound_cycles": 5,
        "dram_bound_cycles": 2,
        "scheduled_read_bytes": 64,
        "scheduled_write_bytes": 32,
        "pe_busy_cycles": (6,),
        "pe_stalled_cycles": (1,),
        "pe_idle_cycles": (cycles - 7,),
    }
    made = PhaseRecord(**{**values, **changes})
    made.check()
    return made
