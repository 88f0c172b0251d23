"""A dataflow and a mapping kind that are not part of gscn-sim.

``inner_join`` computes a gradient of weights one weight at a time: the output positions at which
both operands are non-zero are found by joining their bit masks, and F * I of the joined pairs are
multiplied and summed each cycle. So SparTen pairs operands (Gondimalla et al., MICRO 2019), there
in the forward pass. Finding the pairs is taken to cost no cycle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gscn_sim.dataflows.base import BlockCosts, Dataflow, PeTiming
from gscn_sim.kernels.pairing import CYCLES, N_COUNTERS, PAIRS, REAL_PAIRS, STEPS, USEFUL
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.estimate import EstimatedMachine
from gscn_sim.mapping.kinds import MappingSpace, Split
from gscn_sim.mapping.plan import Block, Plan
from gscn_sim.mapping.tiles import Region, Tile
from gscn_sim.problem.geometry import Problem
from gscn_sim.problem.operands import Operands, count_useful
from workloads import Phase

Floats = NDArray[np.float64]


class InnerJoin(Dataflow):
    """Dot products over the positions at which both operands are non-zero."""

    name = "inner_join"
    phases = frozenset(phase for phase in Phase if phase.sums_samples)

    def steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float:
        """Every weight of every tile leaves half a vector empty."""
        vector = machine.streamed_vector * machine.stationary_vector
        weights = plan.problem.output_elements * len(plan.tiles)
        of_sample = counts.of(useful_products) / vector + weights / 2
        return of_sample * plan.problem.batch_size

    def costs(
        self, plan: Plan, operands: Operands, timing: PeTiming, blocks: list[Block]
    ) -> BlockCosts:
        """A matrix of joined pairs a sample, tile, block and filter position."""
        size = operands.samples, len(plan.tiles), len(blocks)
        counters = np.zeros((*size, N_COUNTERS), np.int64)
        stationary, streamed = np.zeros(size, np.int64), np.zeros(size, np.int64)
        plane = np.zeros((operands.samples, len(blocks)), np.int64)
        for sample in range(operands.samples):
            activation = operands.stationary[sample]
            gradient = as_maps(operands.streamed[sample])
            for b, block in enumerate(blocks):
                own, sent = activation[block.c0 : block.c1], gradient[block.o0 : block.o1]
                plane[sample, b] = own.sum()
                for t, tile in enumerate(plan.tiles):
                    stationary[sample, t, b] = cut_out(own, tile.stationary).sum()
                    streamed[sample, t, b] = cut_out(sent, tile.streamed).sum()
                    for _, first, second in joined(plan.problem, tile, sent, own):
                        pairs = (first.astype(np.int64) @ second.T).astype(np.int64)
                        steps = -(-pairs // timing.multipliers)
                        found = counters[sample, t, b]
                        found[[CYCLES, STEPS]] += steps.sum()
                        found[[USEFUL, PAIRS, REAL_PAIRS]] += pairs.sum()
        return BlockCosts(
            row_of=np.arange(len(blocks)),
            counters=counters,
            stationary_entries=stationary,
            streamed_entries=streamed,
            plane_entries=plane,
            channel_cycles={},
            channel_entries={},
            stationary_reads=counters[..., PAIRS],
        )

    def execute(
        self,
        plan: Plan,
        operands: Operands,
        stationary: Floats,
        streamed: Floats,
        timing: PeTiming,
    ) -> Floats:
        """The same joins, with values."""
        shape = plan.problem.shape
        out = np.zeros(shape.weight_shape)
        for sample in range(operands.samples):
            activation, gradient = stationary[sample], as_maps(streamed[sample])
            for block in plan.distinct_blocks:
                first_channel = block.c0 % out.shape[1]  # in its convolution group
                channels = slice(first_channel, first_channel + block.c1 - block.c0)
                own, sent = activation[block.c0 : block.c1], gradient[block.o0 : block.o1]
                for tile in plan.tiles:
                    for (r, s), first, second in joined(plan.problem, tile, sent, own):
                        out[block.o0 : block.o1, channels, r, s] += first @ second.T
        return out


def joined(
    problem: Problem, tile: Tile, gradient: np.ndarray, activation: np.ndarray
) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
    """Filter position, and [channels, positions] of both operands where they meet in a tile."""
    shape = problem.shape
    p0, p1, q0, q1 = tile.streamed
    for r in range(shape.R):
        p = np.arange(p0, p1)
        h = p * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
        rows = (h >= 0) & (h < shape.H)
        for s in range(shape.S):
            q = np.arange(q0, q1)
            w = q * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
            cols = (w >= 0) & (w < shape.W)
            first = gradient[:, p[rows]][:, :, q[cols]].reshape(len(gradient), -1)
            second = activation[:, h[rows]][:, :, w[cols]].reshape(len(activation), -1)
            yield (r, s), first, second


def useful_products(counts: Counts) -> float:
    """Useful products of a sample: a count (:mod:`gscn_sim.mapping.counts`)."""
    return float(count_useful(counts.problem, counts.operands).mean())


def as_maps(streamed: np.ndarray) -> np.ndarray:
    """One sample's gradient [groups, P, Q, K / groups] as [K, P, Q]."""
    groups, p, q, per_group = streamed.shape
    return streamed.transpose(0, 3, 1, 2).reshape(groups * per_group, p, q)


def cut_out(maps: np.ndarray, region: Region) -> np.ndarray:
    """The part of maps [channels, Y, X] that lies in a region."""
    y0, y1, x0, x1 = region
    return maps[:, y0:y1, x0:x1]


def columns(problem: Problem, space: MappingSpace) -> Iterator[Split]:
    """A mapping kind: each PE has a strip of whole columns; PEs left over take channels."""
    width = problem.streamed_plane[1] if problem.is_reduction else problem.stationary_plane[1]
    strips = min(width, space.num_pes)
    yield Split("columns", 1, 1, strips, space.num_pes // strips)


INNER_JOIN = InnerJoin()
