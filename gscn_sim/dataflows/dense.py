"""The dense reference machine: what a layer-phase costs on an array that skips no zero.

SCNN was measured against such a design, with as many multipliers, planar tiles and a dot product at
the heart of each PE (PT-IS-DP-dense; Parashar et al., ISCA 2017). Here every cycle a PE adds F * I
products to one output: a dot product over input channels and filter positions, or over positions of
the gradient in wgrad. The last vector of an output is not filled up from the next one. How the
paper's dot products were cut is not published; this is the cut that wastes least.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.dataflows.base import BlockCosts, Dataflow, Floats, PeTiming
from gscn_sim.dataflows.cartesian import CARTESIAN
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.estimate import EstimatedMachine
from gscn_sim.mapping.plan import Block, Plan
from gscn_sim.mapping.tiles import Tile, area, make_tile
from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.problem.operands import Operands
from gscn_sim.units import ceil_div


class Dense(Dataflow):
    """Dot products over all elements, absent or not; costs in closed form."""

    name = "dense"
    mapping_kind = "planar"
    shares_inputs = True

    def steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float:
        """Those of the Cartesian product: its only plan needs no ranking."""
        return CARTESIAN.steps(plan, counts, machine)

    def fewest_steps(self, counts: Counts, streamed: int, stationary: int) -> Ints:
        """Those of one tile, the whole plane."""
        problem, cost = counts.problem, _summed if counts.problem.is_reduction else _map
        tile = make_tile(problem, "exact", 1, 1, 0, 0)
        pairs = problem.output_channels
        if problem.is_reduction:
            pairs *= problem.stationary_channels // problem.groups
        return np.array([pairs * cost(problem, tile, streamed * stationary)[0]])

    def operands(self, operands: Operands) -> Operands:
        """No element is absent."""
        return operands.without_zeros()

    def costs(
        self, plan: Plan, operands: Operands, timing: PeTiming, blocks: list[Block]
    ) -> BlockCosts:
        """The same for every sample."""
        stationary, streamed = _entries(plan, blocks)
        plane = plan.problem.stationary_plane
        channels = np.array([[block.c1 - block.c0 for block in blocks]], np.int64)
        return BlockCosts(
            row_of=np.arange(len(blocks)),
            counters=_counters(plan, timing, blocks),
            stationary_entries=stationary,
            streamed_entries=streamed,
            plane_entries=channels * plane[0] * plane[1] * plan.problem.is_reduction,
            channel_cycles={},
            channel_entries={},
        )

    def execute(
        self,
        plan: Plan,
        operands: Operands,
        stationary: Floats,
        streamed: Floats,
        timing: PeTiming,
    ) -> Floats:
        """The same products as the Cartesian dataflow on the same plan; zeros add nothing."""
        return CARTESIAN.execute(plan, operands, stationary, streamed, timing)


def _counters(plan: Plan, timing: PeTiming, blocks: list[Block]) -> Ints:
    """Kernel counters [1, T, B, N_COUNTERS] of each block on each tile, in closed form.

    A product with a position outside the input takes its slot as fragmentation: it is never formed.
    """
    from gscn_sim.kernels.pairing import CYCLES, N_COUNTERS, PAIRS, REAL_PAIRS, STEPS, USEFUL

    counters = np.zeros((1, len(plan.tiles), len(blocks), N_COUNTERS), np.int64)
    cost = _summed if plan.problem.is_reduction else _map
    for t, tile in enumerate(plan.tiles):
        steps, useful = cost(plan.problem, tile, timing.multipliers)
        for b, block in enumerate(blocks):
            times = block.o1 - block.o0
            if plan.problem.is_reduction:
                times *= block.c1 - block.c0
            counters[0, t, b, [CYCLES, STEPS]] = times * steps
            counters[0, t, b, [USEFUL, PAIRS, REAL_PAIRS]] = times * useful
    return counters


def _entries(plan: Plan, blocks: list[Block]) -> tuple[Ints, Ints]:
    """Stationary and streamed elements [1, T, B] of each block on each tile."""
    problem = plan.problem
    stationary = np.zeros((1, len(plan.tiles), len(blocks)), np.int64)
    streamed = np.zeros_like(stationary)
    per_group = problem.stationary_channels // problem.groups
    for t, tile in enumerate(plan.tiles):
        for b, block in enumerate(blocks):
            outputs = block.o1 - block.o0
            stationary[0, t, b] = (block.c1 - block.c0) * area(tile.stationary)
            lists = 1 if problem.is_reduction else per_group
            streamed[0, t, b] = outputs * lists * area(tile.streamed)
    return stationary, streamed


def _map(problem: Problem, tile: Tile, width: int) -> tuple[int, int]:
    """Steps and products of one output channel in forward or dgrad, over the tile's own outputs."""
    channels = problem.stationary_channels // problem.groups
    (all_y, in_y), (all_x, in_x) = (_taps(problem, axis, tile) for axis in range(2))
    steps = sum(ceil_div(channels * y * x, width) for y in all_y for x in all_x)
    return steps, channels * sum(in_y) * sum(in_x)


def _taps(problem: Problem, axis: int, tile: Tile) -> tuple[list[int], list[int]]:
    """Filter positions that each owned output meets: all, and those inside the input."""
    alpha, beta, gamma, div, _ = (int(v) for v in problem.axes[axis])
    size = problem.stationary_plane[axis]
    every, inside = [], []
    for y in range(tile.owned[2 * axis], tile.owned[2 * axis + 1]):
        met = [y * div - beta - gamma * r for r in range(problem.streamed_plane[axis])]
        whole = [position // alpha for position in met if position % alpha == 0]
        every.append(len(whole))
        inside.append(sum(0 <= position < size for position in whole))
    return every, inside


def _summed(problem: Problem, tile: Tile, width: int) -> tuple[int, int]:
    """Steps and products of one (output, input) channel pair in wgrad, over the tile's gradient."""
    height, breadth = problem.output_plane
    steps = ceil_div(area(tile.streamed), width) * height * breadth
    return steps, _meetings(problem, 0, tile) * _meetings(problem, 1, tile)


def _meetings(problem: Problem, axis: int, tile: Tile) -> int:
    """Pairs of a filter position and a gradient position along an axis that lie in the input."""
    shape = problem.shape
    stride, pad, dilation = shape.stride[axis], shape.padding[axis], shape.dilation[axis]
    size, kernel = problem.stationary_plane[axis], problem.output_plane[axis]
    return sum(
        0 <= p * stride - pad + r * dilation < size
        for p in range(tile.streamed[2 * axis], tile.streamed[2 * axis + 1])
        for r in range(kernel)
    )


DENSE = Dense()
