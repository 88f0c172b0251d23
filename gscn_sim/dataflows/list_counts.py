"""What the positional dataflow costs where no product waits for a bank, from lengths of lists.

At a position, lists of k and c entries form k * c pairs in ceil(k / F) * ceil(c / I) steps. Sums of
such products over the positions of a tile, for all pairs of lists, are one matrix product. What is
waited for lists is counted position by position.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.dataflows.base import BlockCosts, PeTiming
from gscn_sim.dataflows.channels_last import channels_last
from gscn_sim.dataflows.window_reads import Where
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.geometry import Ints
from gscn_sim.problem.operands import Operands

AT_ONCE = 1 << 20  # products held at a time


def list_counts(plan: Plan, operands: Operands, timing: PeTiming, where: Where) -> BlockCosts:
    """Costs of blocks on all tiles of a plan of one sample, to the cycle but for banks."""
    from gscn_sim.kernels.list_lengths import waits_for_lists

    tiles, blocks, c_ranges, *_ = where
    k_ranges, k_row = np.unique(blocks[:, :2], axis=0, return_inverse=True)
    rows = k_row.reshape(-1), blocks[:, 2]
    is_grouped = plan.problem.shape.groups > 1
    n, t, b = operands.samples, len(tiles), len(blocks)
    steps, pairs, useful = (np.zeros((n, t, b)) for _ in range(3))  # exact: far below 2**53
    waits = np.zeros((n, t, b), np.int64)
    machine = timing.gather_fragments, timing.visits_per_cycle, timing.group_bubble
    held, sent = (
        np.zeros((n, t, len(c_ranges)), np.int64),
        np.zeros((n, t, len(k_ranges)), np.int64),
    )
    plane = np.zeros((n, len(c_ranges)), np.int64)
    for sample in range(n):
        maps = channels_last(operands.stationary[sample], operands.streamed[sample])
        lengths = _Lengths(maps, k_ranges, where, timing)
        plane[sample] = lengths.c_entries.sum((1, 2))
        for i, (p0, p1, q0, q1, y0, y1, x0, x1) in enumerate(tiles.tolist()):
            at = np.s_[:, p0:p1, q0:q1]
            for sums, of_k, of_c in (
                (steps, lengths.k_steps, lengths.c_steps),
                (pairs, lengths.k_entries, lengths.window),
                (useful, lengths.k_real, lengths.window_real),
            ):
                sums[sample, i] = _over_positions(of_k[at], of_c[at], rows, is_grouped)
            if any(machine):
                waits[sample, i] = waits_for_lists(
                    lengths.k_steps[at], lengths.c_steps[at], lengths.fragments[at], *rows, machine
                )
            held[sample, i] = lengths.c_entries[:, y0:y1, x0:x1].sum((1, 2))
            sent[sample, i] = lengths.k_entries[at].sum((1, 2))
    return BlockCosts(
        row_of=np.arange(b),
        counters=_counters(steps, waits, pairs, useful),
        stationary_entries=held[..., blocks[:, 2]],
        streamed_entries=sent[..., k_row.reshape(-1)],
        plane_entries=plane[:, blocks[:, 2]],
        channel_cycles={},
        channel_entries={},
    )


class _Lengths:
    """Lengths of one sample's lists at each pixel and position, by K or C range."""

    def __init__(
        self, maps: tuple[Ints, Ints], k_ranges: Ints, where: Where, timing: PeTiming
    ) -> None:
        from gscn_sim.kernels.list_lengths import list_lengths, window_sums

        activation, gradient = maps
        _, _, c_ranges, *geometry = where
        self.k_entries, self.k_real = list_lengths(gradient, k_ranges, timing.run_limit)
        self.c_entries, c_real = list_lengths(activation, c_ranges, timing.run_limit)
        plane = gradient.shape[:2]
        self.window = window_sums(self.c_entries, plane, *geometry)
        # Without placeholders, as is usual, both are the same.
        same = np.array_equal(c_real, self.c_entries)
        self.window_real = self.window if same else window_sums(c_real, plane, *geometry)
        self.k_steps = -(-self.k_entries // timing.streamed_vector)
        self.c_steps = -(-self.window // timing.stationary_vector)
        parts = -(-self.c_entries // timing.stationary_vector)
        self.fragments = window_sums(parts, plane, *geometry)


def _over_positions(
    of_k: Ints, of_c: Ints, rows: tuple[Ints, Ints], is_grouped: bool
) -> np.ndarray:
    """[B] sums of products over a tile's positions, of the blocks' K and C ranges (``rows``)."""
    left, right = (each.reshape(len(each), -1).astype(np.float64) for each in (of_k, of_c))
    k, c = rows
    if not is_grouped:  # every K range meets every C range
        return (left @ right.T)[k, c]
    found = np.empty(len(k))
    step = max(1, AT_ONCE // max(1, left.shape[1]))
    for first in range(0, len(k), step):
        some = slice(first, first + step)
        found[some] = np.einsum("bp,bp->b", left[k[some]], right[c[some]])
    return found


def _counters(steps: np.ndarray, waits: Ints, pairs: np.ndarray, useful: np.ndarray) -> Ints:
    """Kernel counters [samples, tiles, blocks, N_COUNTERS]."""
    from gscn_sim.kernels.pairing import (
        CYCLES,
        N_COUNTERS,
        PAIRS,
        REAL_PAIRS,
        STEPS,
        USEFUL,
        WAIT_CYCLES,
    )

    counters = np.zeros((*steps.shape, N_COUNTERS), np.int64)
    counters[..., STEPS] = counters[..., CYCLES] = steps
    counters[..., CYCLES] += waits
    counters[..., WAIT_CYCLES] = waits
    counters[..., PAIRS] = pairs
    counters[..., USEFUL] = counters[..., REAL_PAIRS] = useful
    return counters
