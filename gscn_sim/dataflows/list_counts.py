"""What the positional dataflow costs where no product waits for a bank, from lengths of lists.

At a position, lists of k and c entries form k * c pairs in ceil(k / F) * ceil(c / I) steps.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.dataflows.base import BlockCosts, PeTiming
from gscn_sim.dataflows.channels_last import channels_last
from gscn_sim.dataflows.machine import machine_of
from gscn_sim.dataflows.window_reads import Where
from gscn_sim.kernels.list_lengths import count_positions, list_lengths, window_sums
from gscn_sim.kernels.pairing import N_COUNTERS
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.operands import Operands


def list_counts(plan: Plan, operands: Operands, timing: PeTiming, where: Where) -> BlockCosts:
    """Costs of blocks on all tiles of a plan of one sample; what is read is not counted."""
    tiles, blocks, c_ranges, *geometry = where
    k_ranges, k_row = np.unique(blocks[:, :2], axis=0, return_inverse=True)
    rows = np.stack([k_row.reshape(-1), blocks[:, 2]], 1)
    machine = machine_of(timing)
    n, t, b = operands.samples, len(tiles), len(blocks)
    counters = np.zeros((n, t, b, N_COUNTERS), np.int64)
    resent = np.zeros((n, t, b), np.int64)
    held = np.zeros((n, t, len(c_ranges)), np.int64)
    sent = np.zeros((n, t, len(k_ranges)), np.int64)
    plane = np.zeros((n, len(c_ranges)), np.int64)
    for sample in range(n):
        activation, gradient = channels_last(operands.stationary[sample], operands.streamed[sample])
        k_entries, k_real = list_lengths(gradient, k_ranges, timing.run_limit)
        c_entries, c_real = list_lengths(activation, c_ranges, timing.run_limit)
        plane_size = gradient.shape[:2]
        window = window_real = fragments = window_sums(c_entries, plane_size, *geometry)
        if not np.array_equal(c_real, c_entries):  # placeholders are rare
            window_real = window_sums(c_real, plane_size, *geometry)
        if timing.gather_fragments:
            parts = -(-c_entries // timing.stationary_vector)
            fragments = window_sums(parts, plane_size, *geometry)
        count_positions(
            *(k_entries, k_real, window, window_real, fragments),
            *(tiles, rows, machine, counters[sample], resent[sample]),
        )
        plane[sample] = c_entries.sum((1, 2))
        for i, (p0, p1, q0, q1, y0, y1, x0, x1) in enumerate(tiles.tolist()):
            held[sample, i] = c_entries[:, y0:y1, x0:x1].sum((1, 2))
            sent[sample, i] = k_entries[:, p0:p1, q0:q1].sum((1, 2))
    return BlockCosts(
        row_of=np.arange(b),
        counters=counters,
        stationary_entries=held[..., rows[:, 1]],
        streamed_entries=sent[..., rows[:, 0]],
        plane_entries=plane[:, rows[:, 1]],
        channel_cycles={},
        channel_entries={},
        resent_entries={row: resent[:, :, row, None] for row in range(b * timing.list_resend)},
    )
