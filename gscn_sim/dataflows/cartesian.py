"""The Cartesian dataflows: all pairs of a channel's non-zeros, useful or not.

``cartesian`` is SCNN's (Parashar et al., ISCA 2017). ``anticipated`` skips vectors that cannot hit
the output by index range, as ANT does (Lew et al., ISCA 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gscn_sim.dataflows.base import BlockCosts, Dataflow, Floats, PeTiming
from gscn_sim.dataflows.fewest import fewest_of_maps, fewest_of_sums, most_at_a_position
from gscn_sim.errors import ConfigError
from gscn_sim.mapping import counts as count
from gscn_sim.mapping.counts import Counts, region_counts
from gscn_sim.mapping.estimate import EstimatedMachine
from gscn_sim.mapping.plan import Block, Plan
from gscn_sim.mapping.tiles import cut, reached_span, tile_array, window
from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.problem.operands import Operands
from gscn_sim.units import ceil_div

if TYPE_CHECKING:
    from gscn_sim.kernels.machine import Machine

MOST_POSITIONS = 1 << 26  # that products of a tile land on: the kernels look each up in a table


class Cartesian(Dataflow):
    """All pairs of a channel's stationary and streamed non-zeros."""

    is_automatic = True

    def __init__(self, name: str = "cartesian", *, anticipate: bool = False) -> None:
        self.name = name
        self.anticipate = anticipate
        self.is_automatic = not anticipate

    def steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float:
        """Redundant pairs are counted, skipped ones too; and what each pairing group waits."""
        rows, cols = plan.rows * plan.passes[0], plan.cols * plan.passes[1]
        block = min(plan.block_outputs, plan.problem.output_channels // plan.problem.groups)
        vectors = machine.streamed_vector, machine.stationary_vector
        of_sample = counts.of(pair_steps, block, rows, cols, plan.tile_rule, *vectors)
        blocks = plan.problem.groups * ceil_div(
            plan.problem.output_channels // plan.problem.groups, block
        )
        groups = rows * cols * blocks * plan.problem.stationary_channels // plan.problem.groups
        return (of_sample + groups * machine.group_wait) * plan.problem.batch_size

    def least_steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float:
        """All pairs in full vectors, as if operands were spread evenly over the tiles."""
        tiles = plan.rows * plan.passes[0] * plan.cols * plan.passes[1]
        gradients = counts.of(count.gradient_entries)
        pairs = counts.of(count.stationary_entries) * gradients / (tiles * plan.problem.groups)
        multipliers = machine.streamed_vector * machine.stationary_vector
        return pairs * plan.problem.batch_size / multipliers

    def fewest_steps(self, counts: Counts, streamed: int, stationary: int) -> Ints:
        """All pairs in lists that no plan has cut; what anticipation skips is not known."""
        if self.anticipate:
            return super().fewest_steps(counts, streamed, stationary)
        fewest = fewest_of_sums if counts.problem.is_reduction else fewest_of_maps
        return fewest(counts, streamed, stationary)

    def largest_unit(self, counts: Counts) -> int:
        """Channels at one position of a map: they are one PE's, a step each."""
        is_known = not (self.anticipate or counts.problem.is_reduction)
        return counts.of(most_at_a_position) if is_known else 0

    def check(self, plan: Plan) -> None:
        """The kernels look up every position that a product of a tile can land on."""
        spans = (reached_span(plan.problem, tile) for tile in plan.tiles if not tile.is_empty)
        span = max(spans, default=0)
        if span > MOST_POSITIONS:
            raise ConfigError(
                f"products of one tile must land on at most {MOST_POSITIONS} positions, inside "
                f"the output or not, got {span}"
            )

    def costs(
        self, plan: Plan, operands: Operands, timing: PeTiming, blocks: list[Block]
    ) -> BlockCosts:
        """A kernel call a block and sample, for all tiles."""
        return self._costs(plan, operands, timing, blocks)

    def counted_costs(
        self, plan: Plan, operands: Operands, timing: PeTiming, blocks: list[Block]
    ) -> BlockCosts:
        """From the lengths of the lists; which pairs anticipation skips, only the kernel knows."""
        return self._costs(plan, operands, timing, blocks, counted=not self.anticipate)

    def _costs(
        self,
        plan: Plan,
        operands: Operands,
        timing: PeTiming,
        blocks: list[Block],
        counted: bool = False,
    ) -> BlockCosts:
        from gscn_sim.dataflows.machine import machine_of, plane_entries
        from gscn_sim.kernels.pairing import N_COUNTERS

        problem = plan.problem
        tiles = tile_array(plan.tiles)
        machine = machine_of(timing, anticipate=self.anticipate, counted=counted)
        n, t, b = operands.samples, len(tiles), len(blocks)
        counters = np.zeros((n, b, t, N_COUNTERS), np.int64)
        entries = np.zeros((n, b, t, 2), np.int64)
        by_channel = timing.by_channel and not problem.is_reduction
        channels: dict[int, Ints] = {}
        lengths: dict[int, Ints] = {}
        resent: dict[int, Ints] = {}
        busy = np.array([not tile.is_empty for tile in plan.tiles])
        live = np.ascontiguousarray(tiles[busy])
        for row, block in enumerate(blocks):
            width = block.c1 - block.c0 if by_channel else 0
            channels[row] = np.zeros((n, t, width), np.int32)
            for sample in range(n):
                found = _tiles_of(block, sample, operands, live, problem, machine, timing, width)
                counters[sample, row, busy] = found.counters
                entries[sample, row, busy] = found.entries
                lengths[row] = found.channel_entries
                if by_channel:
                    channels[row][sample, busy] = found.channel_cycles
                if timing.list_resend:
                    again = found.resent
                    if problem.is_reduction:
                        again = again.sum(1, keepdims=True)
                    into = np.zeros((n, t, again.shape[1]), np.int64)
                    resent.setdefault(row, into)[sample, busy] = again
        if operands.dense_weights and not problem.is_reduction:
            # One list stands for all channels of a convolution group; each streams its own weights.
            entries[..., 1] *= problem.stationary_channels // problem.groups
        return BlockCosts(
            row_of=np.arange(b),
            counters=counters.transpose(0, 2, 1, 3),
            stationary_entries=entries[..., 0].transpose(0, 2, 1),
            streamed_entries=entries[..., 1].transpose(0, 2, 1),
            plane_entries=plane_entries(plan, operands, timing, blocks),
            channel_cycles=channels if by_channel else {},
            channel_entries=lengths if by_channel else {},
            resent_entries=resent,
        )

    def execute(
        self,
        plan: Plan,
        operands: Operands,
        stationary: Floats,
        streamed: Floats,
        timing: PeTiming,
    ) -> Floats:
        """The same kernel, with values; tiles and samples are summed as reduction and halo do."""
        from gscn_sim.dataflows.machine import machine_of
        from gscn_sim.kernels.cartesian import cartesian_tiles
        from gscn_sim.kernels.pairing import N_COUNTERS

        problem = plan.problem
        tiles = tile_array([tile for tile in plan.tiles if not tile.is_empty])
        machine = machine_of(timing, anticipate=self.anticipate)
        counters = np.zeros((len(tiles), N_COUNTERS), np.int64)
        entries = np.zeros((len(tiles), 2), np.int64)
        masks, group_of_list, list_of_channel = _lists_of_values(plan, operands, streamed)
        output_y, output_x = problem.output_plane
        per_input = problem.shape.C // problem.groups
        each = stationary.dtype  # sums are of the operands' precision
        summed = np.zeros((problem.output_channels, per_input, output_y, output_x), each)
        results = []
        for sample in range(operands.samples):
            sums = np.zeros(problem.output_channels * output_y * output_x, each)
            for block in plan.distinct_blocks:
                # A summed output has an input channel too, so these are taken one by one.
                spans = [(block.c0, block.c1)]
                if problem.is_reduction:
                    spans = [(c, c + 1) for c in range(block.c0, block.c1)]
                for c0, c1 in spans:
                    target = np.zeros_like(sums) if problem.is_reduction else sums
                    cartesian_tiles(
                        operands.stationary[sample],
                        np.ascontiguousarray(masks[sample % len(masks)]),
                        np.ascontiguousarray(stationary[sample]).reshape(-1),
                        np.ascontiguousarray(streamed[sample % len(streamed)]).reshape(-1),
                        group_of_list,
                        list_of_channel,
                        c0,
                        c1,
                        block.o0,
                        block.o1,
                        tiles,
                        problem.axes,
                        machine,
                        counters,
                        entries,
                        np.zeros((0, 0), np.int64),
                        np.zeros((0, 0), np.int64),
                        np.zeros(0, np.int64),
                        target,
                    )
                    if problem.is_reduction:
                        summed[:, c0 % per_input] += target.reshape(-1, output_y, output_x)
            results.append(sums.reshape(problem.output_channels, output_y, output_x))
        return summed if problem.is_reduction else np.stack(results)


class _Tiles(NamedTuple):
    """What one accumulator group costs on each tile, of one sample: outputs of the kernel."""

    counters: Ints
    entries: Ints
    resent: Ints
    channel_cycles: Ints
    channel_entries: Ints


def _tiles_of(
    block: Block,
    sample: int,
    operands: Operands,
    tiles: Ints,
    problem: Problem,
    machine: Machine,
    timing: PeTiming,
    width: int,
) -> _Tiles:
    """Run the kernel; ``width``: channels whose cycles are wanted, all or none."""
    from gscn_sim.dataflows.machine import NO_VALUES
    from gscn_sim.kernels.cartesian import cartesian_tiles
    from gscn_sim.kernels.pairing import N_COUNTERS

    found = _Tiles(
        counters=np.zeros((len(tiles), N_COUNTERS), np.int64),
        entries=np.zeros((len(tiles), 2), np.int64),
        resent=np.zeros(_resent_shape(problem, timing, block, len(tiles)), np.int64),
        channel_cycles=np.zeros((len(tiles) if width else 0, width), np.int64),
        channel_entries=np.zeros(width, np.int64),
    )
    cartesian_tiles(
        operands.stationary[sample],
        operands.streamed[sample % len(operands.streamed)],
        NO_VALUES,
        NO_VALUES,
        operands.group_of_list,
        operands.list_of_channel,
        block.c0,
        block.c1,
        block.o0,
        block.o1,
        tiles,
        problem.axes,
        machine,
        *found,
        NO_VALUES,
    )
    return found


def _resent_shape(problem: Problem, timing: PeTiming, block: Block, tiles: int) -> tuple[int, int]:
    """[tiles, pairing groups] of a block, which are its channels by the classes of each axis."""
    if not timing.list_resend:
        return 0, 0
    from gscn_sim.kernels.lists import classes_of

    sizes = problem.stationary_plane, problem.streamed_plane
    y, x = (len(classes_of(problem.axes[i], sizes[0][i], sizes[1][i])) for i in range(2))
    return tiles, (block.c1 - block.c0) * y * x


def pair_steps(
    counts: Counts, block: int, rows: int, cols: int, rule: str, streamed: int, stationary: int
) -> float:
    """Steps of all pairs of a tile's gradients and activations, the mean over samples.

    ``block``: output channels of an accumulator group. ``streamed``, ``stationary``: vectors.
    """
    problem = counts.problem
    act, grad = counts.of(entries_of_tiles, rows, cols, rule)
    n, channels = grad.shape[:2]
    per_group = channels // problem.groups
    starts = [
        first
        for group in range(0, channels, per_group)
        for first in range(group, group + per_group, block)
    ]
    k_vectors = -(-np.add.reduceat(grad, starts, axis=1) // streamed)
    c_vectors = -(-act // stationary)
    shape = (n, problem.groups, -1, *act.shape[2:])
    k_total = k_vectors.reshape(shape).sum(2, dtype=np.float64)
    c_total = c_vectors.reshape(shape).sum(2, dtype=np.float64)
    return float((k_total * c_total).reshape(n, -1).sum(1).mean())


def entries_of_tiles(counts: Counts, rows: int, cols: int, rule: str) -> tuple[Ints, Ints]:
    """Activations and gradients of each channel in each tile of a grid, [n, channels, rows, cols].

    For summed outputs: tiles are of the gradient, and meet the activations in their windows.
    """
    problem = counts.problem
    gradient_ranges, input_ranges = [], []
    for axis, parts in enumerate((rows, cols)):
        cuts = [cut(problem, rule, axis, parts, i) for i in range(parts)]
        gradient_ranges.append(cuts)
        input_ranges.append([window(problem, axis, *c) for c in cuts])
    return (
        region_counts(counts.of(count.stationary_integral), *input_ranges),
        region_counts(counts.of(count.gradient_integral), *gradient_ranges),
    )


def _lists_of_values(
    plan: Plan, operands: Operands, streamed: Floats
) -> tuple[np.ndarray, Ints, Ints]:
    """Masks of the streamed lists, the group of each list, and the list of each channel.

    Dense weights share one list in the masks; their values differ by channel.
    """
    problem = plan.problem
    if problem.is_reduction or not operands.dense_weights:
        return operands.streamed, operands.group_of_list, operands.list_of_channel
    channels = np.arange(problem.stationary_channels)
    groups = channels // (problem.stationary_channels // problem.groups)
    return np.ones(streamed.shape, np.uint8), groups, channels


CARTESIAN = Cartesian()
ANTICIPATED = Cartesian("anticipated", anticipate=True)
