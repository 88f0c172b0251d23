"""The dense reference machine: what a layer-phase costs on an array that skips no zero.

SCNN was measured against such a design, with as many multipliers, planar tiles and a dot product at
the heart of each PE (PT-IS-DP-dense; Parashar et al., ISCA 2017). Here every cycle a PE adds F * I
products to one output: a dot product over input channels and filter positions, or over positions of
the gradient in wgrad. The last vector of an output is not filled up from the next one. How the
paper's dot products were cut is not published; this is the cut that wastes least.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.config import Config
from gscn_sim.kernels.pairing import CYCLES, N_COUNTERS, PAIRS, REAL_PAIRS, STEPS, USEFUL
from gscn_sim.mapping.plan import Block, Plan, Tile, area
from gscn_sim.problem.geometry import Ints, Operands, Problem
from gscn_sim.units import ceil_div


def dense_counters(plan: Plan, blocks: list[Block], config: Config) -> Ints:
    """Kernel counters [1, T, B, N_COUNTERS] of each block on each tile, in closed form.

    A product with a position outside the input takes its slot as fragmentation: it is never formed.
    """
    counters = np.zeros((1, len(plan.tiles), len(blocks), N_COUNTERS), np.int64)
    cost = _wgrad if plan.problem.is_wgrad else _maps
    for t, tile in enumerate(plan.tiles):
        steps, useful = cost(plan.problem, tile, config.multipliers)
        for b, block in enumerate(blocks):
            times = block.o1 - block.o0
            if plan.problem.is_wgrad:
                times *= block.c1 - block.c0
            counters[0, t, b, [CYCLES, STEPS]] = times * steps
            counters[0, t, b, [USEFUL, PAIRS, REAL_PAIRS]] = times * useful
    return counters


def dense_operands(operands: Operands) -> Operands:
    """The operands as a machine without sparsity support sees them: no element is absent."""
    return Operands(
        stationary=np.ones_like(operands.stationary[:1]),
        streamed=np.ones_like(operands.streamed[:1]),
        list_of_channel=operands.list_of_channel,
        group_of_list=operands.group_of_list,
        is_dense=True,
        dense_weights=operands.dense_weights,
    )


def dense_entries(plan: Plan, blocks: list[Block]) -> tuple[Ints, Ints]:
    """Stationary and streamed elements [1, T, B] of each block on each tile."""
    problem = plan.problem
    stationary = np.zeros((1, len(plan.tiles), len(blocks)), np.int64)
    streamed = np.zeros_like(stationary)
    per_group = problem.stationary_channels // problem.groups
    for t, tile in enumerate(plan.tiles):
        for b, block in enumerate(blocks):
            outputs = block.o1 - block.o0
            stationary[0, t, b] = (block.c1 - block.c0) * area(tile.stationary)
            lists = 1 if problem.is_wgrad else per_group
            streamed[0, t, b] = outputs * lists * area(tile.streamed)
    return stationary, streamed


def _maps(problem: Problem, tile: Tile, width: int) -> tuple[int, int]:
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


def _wgrad(problem: Problem, tile: Tile, width: int) -> tuple[int, int]:
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
