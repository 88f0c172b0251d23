"""A PE as the kernels read it, and what kernels of several dataflows share."""

from __future__ import annotations

import numpy as np

from gscn_sim.dataflows.base import Floats, PeTiming
from gscn_sim.kernels.banks import BANK_HASHES
from gscn_sim.kernels.machine import Machine
from gscn_sim.kernels.pixels import pixel_entries
from gscn_sim.mapping.plan import Block, Plan
from gscn_sim.problem.geometry import Ints
from gscn_sim.problem.operands import Operands

NO_VALUES: Floats = np.empty(0, np.float64)


def machine_of(timing: PeTiming, *, anticipate: bool = False, counted: bool = False) -> Machine:
    """The machine as the kernels read it."""
    return Machine(
        vector_i=timing.stationary_vector,
        vector_f=timing.streamed_vector,
        queue_depth=timing.bank_queue_depth,
        num_banks=timing.accumulator_banks,
        bank_hash=BANK_HASHES[timing.bank_hash],
        run_limit=timing.run_limit,
        anticipate=int(anticipate),
        scan_vectors=timing.anticipator_vectors,
        ports=timing.bank_queue_ports or timing.multipliers,
        adder_stages=timing.adder_stages,
        gather_fragments=timing.gather_fragments,
        visits=timing.visits_per_cycle,
        group_bubble=timing.group_bubble,
        is_ideal=int(timing.is_ideal),
        fifo_entries=timing.streamed_fifo_entries,
        counted=int(counted),
    )


def plane_entries(plan: Plan, operands: Operands, timing: PeTiming, blocks: list[Block]) -> Ints:
    """[samples, blocks] entries of each block's channels over the whole stationary plane.

    Only where outputs are summed, else 0.
    """
    out = np.zeros((operands.samples, len(blocks)), np.int64)
    if not plan.problem.is_reduction:
        return out
    height, width = plan.problem.stationary_plane
    for sample in range(operands.samples):
        mask = np.ascontiguousarray(operands.stationary[sample].transpose(1, 2, 0))
        known: dict[tuple[int, int], int] = {}
        for row, block in enumerate(blocks):
            key = (block.c0, block.c1)
            if key not in known:
                known[key] = pixel_entries(mask, 0, height, 0, width, *key, timing.run_limit)
            out[sample, row] = known[key]
    return out
