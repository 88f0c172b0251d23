"""The positional dataflow of summed outputs: at each output position, gradients times the window.

Non-zero gradients along K meet the non-zero activations of the position's input window: every
product is useful.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.dataflows.base import BlockCosts, Dataflow, Floats, PeTiming
from gscn_sim.dataflows.channels_last import channels_last
from gscn_sim.dataflows.fewest import fewest_positional
from gscn_sim.mapping.counts import (
    Counts,
    gradient_maps,
    prefix,
)
from gscn_sim.mapping.estimate import EstimatedMachine
from gscn_sim.mapping.plan import Block, Plan
from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.problem.operands import Operands
from gscn_sim.units import ceil_div
from workloads import Phase

GOLDEN = 0.6180339887498949  # multiples of it fill the unit interval most evenly
SAMPLED_SIDE = 14  # outputs along each side at which the estimate counts vectors
ENDLESS = 1 << 30  # a vector that holds any list


class Positional(Dataflow):
    """Gradients along K times the window's activations, one output position after another."""

    name = "positional"
    phases = frozenset(phase for phase in Phase if phase.sums_samples)
    is_automatic = True

    def block_sizes(self, most: int) -> list[int]:
        """Powers of two too: fewer output channels leave room for more input channels."""
        sizes = {most}
        size = 4
        while size < most:
            sizes.add(size)
            size *= 2
        return sorted(sizes)

    def steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float:
        """Vectors at some hundred sampled positions stand for all."""
        blocks = plan.block_outputs, plan.block_inputs
        vectors = machine.streamed_vector, machine.stationary_vector
        waits = machine.gather_fragments, machine.group_bubble, machine.looked_past
        return counts.of(position_cycles, *blocks, *vectors, *waits) * plan.problem.batch_size

    def fewest_steps(self, counts: Counts, streamed: int, stationary: int) -> Ints:
        """Each position's gradients and window in one block."""
        return fewest_positional(counts, streamed, stationary)

    def costs(
        self, plan: Plan, operands: Operands, timing: PeTiming, blocks: list[Block]
    ) -> BlockCosts:
        """A kernel call a sample, for all tiles and blocks."""
        from gscn_sim.dataflows.machine import machine_of, plane_entries
        from gscn_sim.dataflows.window_reads import window_reads
        from gscn_sim.kernels.pairing import N_COUNTERS
        from gscn_sim.kernels.positional import positional_tiles

        where = _where(plan, blocks)
        machine = machine_of(timing)
        n, t, b = operands.samples, len(plan.tiles), len(blocks)
        counters = np.zeros((n, t, b, N_COUNTERS), np.int64)
        entries = np.zeros((n, t, b, 3), np.int64)
        reads = np.zeros((n, t, b), np.int64)
        nothing = np.empty((0, 0, 0), np.float64)
        sums = np.empty((0, 0, 0, 0), np.float64)
        for sample in range(n):
            maps = channels_last(operands.stationary[sample], operands.streamed[sample])
            positional_tiles(
                *maps, nothing, nothing, *where, machine, counters[sample], entries[sample], sums
            )
            reads[sample] = window_reads(*maps, where, run_limit=timing.run_limit)
        return BlockCosts(
            row_of=np.arange(b),
            counters=counters,
            stationary_entries=entries[..., 0],
            streamed_entries=entries[..., 1],
            plane_entries=plane_entries(plan, operands, timing, blocks),
            channel_cycles={},
            channel_entries={},
            stationary_reads=reads,
            resent_entries={row: entries[:, :, row, 2:] for row in range(b * timing.list_resend)},
        )

    def counted_costs(
        self, plan: Plan, operands: Operands, timing: PeTiming, blocks: list[Block]
    ) -> BlockCosts:
        """From the lengths of lists at each position; of what is read, the waits for windows."""
        from gscn_sim.dataflows.list_counts import list_counts

        return list_counts(plan, operands, timing, _where(plan, blocks))

    def execute(
        self,
        plan: Plan,
        operands: Operands,
        stationary: Floats,
        streamed: Floats,
        timing: PeTiming,
    ) -> Floats:
        """The same kernel, with values."""
        from gscn_sim.dataflows.machine import machine_of
        from gscn_sim.kernels.pairing import N_COUNTERS
        from gscn_sim.kernels.positional import positional_tiles

        shape, blocks = plan.problem.shape, plan.distinct_blocks
        where, machine = _where(plan, blocks), machine_of(timing)
        counters = np.zeros((len(plan.tiles), len(blocks), N_COUNTERS), np.int64)
        entries = np.zeros((len(plan.tiles), len(blocks), 3), np.int64)
        each = stationary.dtype  # sums are of the operands' precision
        sums = np.zeros((shape.K, shape.R, shape.S, shape.C), each)
        for sample in range(operands.samples):
            maps = channels_last(operands.stationary[sample], operands.streamed[sample])
            values = channels_last(stationary[sample], streamed[sample])
            positional_tiles(*maps, *values, *where, machine, counters, entries, sums)
        # [K, R, S, C] -> [K, C / groups, R, S]: each filter's own group of channels.
        per_output, per_input = shape.K // shape.groups, shape.C // shape.groups
        out = np.empty((shape.K, per_input, shape.R, shape.S), each)
        for group in range(shape.groups):
            k = slice(group * per_output, (group + 1) * per_output)
            c = slice(group * per_input, (group + 1) * per_input)
            out[k] = sums[k, :, :, c].transpose(0, 3, 1, 2)
        return out


def position_cycles(
    counts: Counts,
    block_outputs: int,
    block_inputs: int,
    streamed: int,
    stationary: int,
    gather: int,
    bubble: int,
    looked_past: float,
) -> float:
    """Steps and waits over all positions and blocks, the mean over samples.

    ``streamed``, ``stationary``: lengths of vectors. ``gather``: fragments of a window that are
    read a cycle, 0 for all. ``bubble``, ``looked_past``: cycles between positions, and at one
    without pairs.
    """
    k_vectors = counts.of(position_vectors, block_outputs, streamed, True)
    c_vectors = counts.of(position_vectors, block_inputs, stationary, False)
    cycles = k_vectors * c_vectors
    if gather or bubble or looked_past:
        k_lists = counts.of(position_vectors, block_outputs, ENDLESS, True)
        c_lists = counts.of(position_vectors, block_inputs, ENDLESS, False)
        cycles += bubble * k_lists * c_lists
        if gather:  # a window is read while the one before is computed
            fragments = counts.of(position_fragments, block_inputs, stationary)
            cycles = np.maximum(cycles, k_lists * fragments / gather)
        shape = counts.problem.shape
        blocks = [
            ceil_div(channels // shape.groups, block)
            for channels, block in ((shape.K, block_outputs), (shape.C, block_inputs))
        ]
        cycles += looked_past * (blocks[0] * blocks[1] - k_lists * c_lists)
    positions = counts.problem.streamed_plane[0] * counts.problem.streamed_plane[1]
    rows, cols = _sampled(counts.problem)
    return float(cycles.sum((1, 2)).mean()) * positions / (len(rows) * len(cols))


def position_vectors(counts: Counts, block: int, vector: int, of_gradient: bool) -> Floats:
    """[n, groups, positions] vectors at sampled positions, over all blocks of channels."""
    sums = counts.of(gradients_below if of_gradient else window_below)
    groups = counts.problem.groups
    per_group = (sums.shape[1] - 1) // groups
    first = np.arange(groups)[:, None] * per_group
    starts = np.arange(0, per_group, block)
    entries = sums[:, first + np.minimum(starts + block, per_group)]
    entries -= sums[:, first + starts]  # [n, groups, blocks, positions]
    return (-(-entries // vector)).sum(2, dtype=np.float64)


def position_fragments(counts: Counts, block: int, vector: int) -> Floats:
    """[n, groups, positions] parts of pixels' lists, of at most a vector, in sampled windows.

    Summed over all blocks of channels.
    """
    stationary, groups = counts.operands.stationary, counts.problem.groups
    n, channels, height, width = stationary.shape
    per_group = channels // groups
    grouped = stationary.reshape(n, groups, per_group, height, width)
    entries = np.add.reduceat(grouped, np.arange(0, per_group, block), axis=2, dtype=np.int32)
    parts = (-(-entries // vector)).sum(2, dtype=np.int32)
    found: Floats = _in_windows(counts.problem, parts).reshape(n, groups, -1).astype(np.float64)
    return found


def gradients_below(counts: Counts) -> NDArray[np.int32]:
    """[n, K + 1, positions] gradients of the channels below, at each sampled position."""
    p, q = _sampled(counts.problem)
    return prefix(gradient_maps(counts.operands)[:, :, p[:, None], q])


def window_below(counts: Counts) -> NDArray[np.int32]:
    """[n, C + 1, positions] activations of the channels below, in each sampled window."""
    return prefix(_in_windows(counts.problem, counts.operands.stationary))


def _in_windows(problem: Problem, source: NDArray[Any]) -> NDArray[np.int32]:
    """[n, channels, rows, cols] sums of [n, channels, H, W] over each sampled window."""
    shape = problem.shape
    p, q = _sampled(problem)
    total = np.zeros((*source.shape[:2], len(p), len(q)), np.int32)
    for r in range(shape.R):
        h = p * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
        in_rows = (h >= 0) & (h < shape.H)
        for s in range(shape.S):
            w = q * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
            in_cols = (w >= 0) & (w < shape.W)
            rows, cols = np.ix_(in_rows, in_cols)
            total[:, :, rows, cols] += source[:, :, h[in_rows][:, None], w[in_cols]]
    return total


def _sampled(problem: Problem) -> tuple[Ints, Ints]:
    """Rows and columns of the positions that are looked at: some hundred, spread unevenly.

    Pooling leaves patterns that repeat, which even steps would hit or miss.
    """
    picked = []
    for size in problem.streamed_plane:
        taken = min(size, SAMPLED_SIDE)
        steps = np.arange(taken)
        jitter = steps * GOLDEN % 1 if taken < size else 0.0
        picked.append(((steps + jitter) * size / taken).astype(np.int64))
    return picked[0], picked[1]


def _where(
    plan: Plan, blocks: list[Block]
) -> tuple[Ints, Ints, Ints, tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Tiles, blocks and geometry as the kernel reads them."""
    shape = plan.problem.shape
    ranges = sorted({(block.c0, block.c1) for block in blocks})
    place = {c_range: i for i, c_range in enumerate(ranges)}
    rows = [(block.o0, block.o1, place[block.c0, block.c1]) for block in blocks]
    tiles = np.array([(*tile.streamed, *tile.stationary) for tile in plan.tiles], np.int64)
    return (
        tiles,
        np.array(rows, np.int64),
        np.array(ranges, np.int64),
        (shape.R, shape.S),
        shape.stride,
        shape.padding,
        shape.dilation,
    )


POSITIONAL = Positional()
