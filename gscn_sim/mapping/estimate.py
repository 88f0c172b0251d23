"""Quick estimates of a plan's time: counts of vectors, no bank conflicts.

The estimate is only used to rank legal plans; what a plan really costs is simulated.
"""

from __future__ import annotations

from copy import copy
from functools import cached_property
from math import ceil, log, sqrt

import numpy as np
from numpy.typing import NDArray

from gscn_sim.config import Config
from gscn_sim.mapping.counts import integral, prefix, region_counts
from gscn_sim.mapping.plan import Plan, cut, window
from gscn_sim.problem.geometry import Ints, Operands, Problem
from gscn_sim.units import ceil_div

Floats = NDArray[np.float64]

UNEVEN_FILLS = 1.3  # largest fill of a PE over the mean one; ranks plans only
ROUND_WAIT = 0.2  # from runs of VGG-16; ranks plans only
GOLDEN = 0.6180339887498949  # multiples of it fill the unit interval most evenly
SAMPLED_SIDE = 14  # outputs along each side at which the estimate counts vectors of wgrad


class Estimator:
    """Estimates plans of one layer-phase; what plans have in common is counted once."""

    def __init__(self, problem: Problem, operands: Operands, config: Config) -> None:
        self.problem = problem
        self.operands = operands
        self._vectors: dict[tuple[int, bool], Floats] = {}
        self._grids: dict[tuple[int, int, int], tuple[Floats, Floats]] = {}
        self._pairs: dict[tuple[int, int, int], float] = {}
        self._largest: dict[tuple[int, bool], float] = {}
        self._configure(config)

    @property
    def counted_with(self) -> tuple[object, ...]:
        """All of the configuration that counts depend on."""
        pe, rules = self.config.pe, (self.config.policy.load_balance, self.config.mapping.tile_rule)
        return (pe.streamed_vector, pe.stationary_vector, pe.value_bytes, pe.index_bits, *rules)

    def with_config(self, config: Config) -> Estimator:
        """The estimator of another machine; it keeps the counts if they hold there too."""
        other = copy(self)
        other._configure(config)
        if other.counted_with != self.counted_with:
            return Estimator(self.problem, self.operands, config)
        return other

    def _configure(self, config: Config) -> None:
        self.config = config
        self._entry_bytes = config.pe.value_bytes + config.pe.index_bits / 8
        ideal = config.dram.kind == "ideal"
        peak = config.dram.peak_gbps / config.array.clock_ghz
        self._dram_bytes_per_cycle = 1e12 if ideal else 0.9 * peak
        wait_ns = config.dram.controller_ns + config.dram.row_activate_ns + config.dram.column_ns
        self._latency_cycles = 0 if ideal else config.cycles(wait_ns)
        self._network_bytes_per_cycle = config.network.operand_bytes_per_cycle or 1e12
        self._drain_rate = config.drain.entries_per_cycle or 1e9

    def cycles(self, plan: Plan) -> float:
        """Estimated cycles: the slowest of computing, draining, the network and DRAM."""
        return self._wgrad(plan) if self.problem.is_wgrad else self._maps(plan)

    def is_hopeless(self, plan: Plan, cycles: float) -> bool:
        """Whether a plan of wgrad forms too many pairs to beat ``cycles``, even in full vectors.

        Cartesian dataflows pair all activations of a tile with all its gradients; their number is
        taken as if both were spread evenly.
        """
        if not self.problem.is_wgrad or plan.dataflow == "positional":
            return False
        tiles = plan.rows * plan.passes[0] * plan.cols * plan.passes[1]
        gradients = self._streamed_entries
        pairs = self._stationary_entries * gradients / (tiles * self.problem.groups)
        slots = self.config.num_pes * self.config.multipliers
        return pairs * self.problem.batch_size / slots > cycles

    def _maps(self, plan: Plan) -> float:
        met = self._channels_met(plan)
        rows, cols = plan.rows * plan.passes[0], plan.cols * plan.passes[1]
        vectors, entries = self._grid(rows, cols, met)
        n, meetings = vectors.shape[:2]
        work = vectors.reshape(n, meetings, plan.rows, plan.passes[0], plan.cols, plan.passes[1])
        waves = ceil_div(self.problem.batch_size, plan.samples)
        # PEs that share a stream are at most a round apart: the slowest of each visit counts where
        # a visit has several rounds, and part of that where it has one.
        each = work.max((2, 4)).reshape(n, -1)  # [n, meetings and passes]
        whole = work.sum((1, 3, 5)).reshape(n, -1).max(1)  # [n]
        together = plan.samples >= n
        by_visit = float(each.max(0).sum() if together else each.sum(1).mean()) * waves
        by_pe = float(whole.max() if together else whole.mean()) * waves
        rounds = ceil_div(ceil_div(self.problem.output_channels, plan.outputs), plan.block_outputs)
        slowest = by_visit if rounds * meetings > 1 else (by_visit + by_pe) / 2
        return self._maps_time(plan, slowest, float(entries.max()))

    def _channels_met(self, plan: Plan) -> int:
        """After how many channels the PEs of a gang have to meet.

        PEs that may be w lists apart wait about as much as if they met after every 2 w - 1: the
        list that a PE waits for lies w behind it, here on average too.
        """
        channels = self.problem.stationary_channels
        if self.config.policy.barrier == "input_channel":
            return 1
        if self.config.policy.drift == "round":
            return channels
        outputs = min(plan.block_outputs, self.problem.output_channels // self.problem.groups)
        kernel = self.problem.streamed_plane[0] * self.problem.streamed_plane[1]
        entries = max(1.0, outputs * kernel * self._weight_density)
        lists = max(1, int(self.config.pe.streamed_fifo_entries / entries))
        return min(2 * lists - 1, channels)

    def rough_cycles(self, plan: Plan) -> float:
        """What forward or dgrad would take if all tiles were equal, without looking at the tiles.

        A channel's entries in a tile leave half a vector empty on average.
        """
        parts = plan.rows * plan.cols
        passes = plan.passes[0] * plan.passes[1]
        waves = ceil_div(self.problem.batch_size, plan.samples)
        entries = self._stationary_entries / (parts * passes)
        vector = self.config.pe.stationary_vector
        held = min(entries, self.problem.stationary_channels)  # channels with any entry, at most
        vectors = entries / vector + 0.5 * held * (1 - 1 / vector)
        return self._maps_time(plan, vectors * passes * waves, entries)

    def _maps_time(self, plan: Plan, vectors: float, tile_entries: float) -> float:
        """Cycles when the slowest PE has ``vectors`` stationary vectors in all its visits."""
        problem, pe, config = self.problem, self.config.pe, self.config
        visits = ceil_div(problem.batch_size, plan.samples) * plan.passes[0] * plan.passes[1]
        kernel = problem.streamed_plane[0] * problem.streamed_plane[1]
        per_output = problem.output_channels // problem.groups
        own = ceil_div(problem.output_channels, plan.outputs)
        footprint = plan.held_outputs
        compute = 0.0
        full, rest = divmod(own, plan.block_outputs)
        for outputs, count in ((plan.block_outputs, full), (rest, min(rest, 1))):
            if not count:
                continue
            groups = ceil_div(outputs, per_output)  # convolution groups in one accumulator group
            streamed = min(outputs, per_output) * kernel * self._weight_density
            steps = vectors * groups / problem.groups * max(1, ceil(streamed / pe.streamed_vector))
            drain = outputs * footprint / self._drain_rate * visits
            compute += count * max(steps, drain)
        blocks = full + (rest > 0)
        tile_bytes = tile_entries * self._entry_bytes
        fits = tile_bytes <= pe.stationary_buffer_bytes and problem.groups == 1
        parts = plan.samples * plan.rows * plan.cols
        stays = problem.groups == 1 and tile_bytes * parts <= config.buffer.size_bytes
        sends = 1 if fits else blocks * (1 if problem.groups == 1 else plan.outputs)
        maps = self._stationary_bytes
        per_input = problem.stationary_channels // problem.groups
        weights = problem.output_channels * per_input * kernel * self._weight_density
        weights *= self._entry_bytes
        rereads = 1 if weights <= config.buffer.size_bytes else visits
        outputs_bytes = problem.output_elements * pe.value_bytes
        dram = maps * (1 if stays else sends) + weights * rereads + outputs_bytes
        dram /= self._dram_bytes_per_cycle
        network = (maps * sends + weights * visits) / self._network_bytes_per_cycle
        first = maps / visits / self._dram_bytes_per_cycle
        held = max(1.0, pe.stationary_buffer_bytes / max(tile_bytes, 1.0))
        latency = self._latency_cycles * visits / held
        last = min(blocks, 2) * min(plan.block_outputs, own) * footprint / self._drain_rate
        return max(compute, dram, network, latency) + first + last

    def _grid(self, rows: int, cols: int, met: int) -> tuple[Floats, Floats]:
        """Vectors of every ``met`` stationary channels, and all entries, of each tile of a grid.

        Returns:
            [n, ceil(C / met), rows, cols] and [n, rows, cols].
        """
        if (rows, cols, met) not in self._grids:
            problem = self.problem
            height, width = problem.stationary_plane
            classes = min(int(problem.axes[0, 3]), height) * min(int(problem.axes[1, 3]), width)
            rule = self.config.mapping.tile_rule
            ranges = [
                [cut(problem, rule, axis, parts, i) for i in range(parts)]
                for axis, parts in enumerate((rows, cols))
            ]
            counts = region_counts(self._stationary_integral, *ranges)
            vector = self.config.pe.stationary_vector * classes
            channels = range(0, counts.shape[1], met)
            steps = np.add.reduceat(-(-counts // vector) * classes, channels, 1, np.float64)
            self._grids[rows, cols, met] = steps, counts.sum(1, dtype=np.float64)
        return self._grids[rows, cols, met]

    def _wgrad(self, plan: Plan) -> float:
        problem, config = self.problem, self.config
        splits = plan.samples * plan.rows * plan.cols
        per_output = problem.output_channels // problem.groups
        per_input = problem.stationary_channels // problem.groups
        if plan.dataflow == "positional":
            steps = self._positional_steps(plan)
        else:
            steps = self._cartesian_steps(plan)
        # The PE with most channels: its share of all (output, input) channel pairs.
        own_outputs = ceil_div(problem.output_channels, plan.outputs)
        own_inputs = ceil_div(per_input, plan.inputs)
        share = own_outputs / problem.output_channels * own_inputs / per_input
        if problem.groups == 1:
            share = self._largest_share(plan.outputs, of_gradient=True)
            share *= self._largest_share(plan.inputs, of_gradient=False)
        units = problem.batch_size * splits * plan.passes[0] * plan.passes[1] // plan.samples
        uneven = ceil_div(units, splits) * splits / units
        compute = steps * share * uneven / splits
        k_blocks = ceil_div(own_outputs, min(plan.block_outputs, per_output))
        c_blocks = ceil_div(own_inputs, plan.block_inputs)
        if k_blocks * c_blocks > 1:
            # In each round PEs wait for the slowest of those with other units: the more of these,
            # and the fewer units each has, the longer.
            compute *= 1 + ROUND_WAIT * sqrt(2 * log(splits) * splits / units)
        kernel = problem.output_plane[0] * problem.output_plane[1]
        entries = plan.block_outputs * plan.block_inputs * kernel
        exchange = entries * (splits - 1) / splits / config.network.partial_sums_per_cycle
        rounds = k_blocks * c_blocks
        drain = (entries / self._drain_rate + exchange) * rounds
        acts, grads = self._stationary_bytes, self._streamed_bytes
        share_held = min(1.0, plan.block_inputs / per_input)
        held = UNEVEN_FILLS * acts / splits * share_held / problem.groups
        fits = held <= config.pe.stationary_buffer_bytes
        act_sends = 1 if fits else k_blocks
        room = config.buffer.size_bytes
        stays = acts * min(1.0, share_held * plan.inputs) / problem.groups <= room
        act_reads = 1 if stays else act_sends
        grad_reads = 1 if grads <= room else c_blocks
        outputs = problem.output_elements * config.pe.value_bytes
        dram = (acts * act_reads + grads * grad_reads + outputs) / self._dram_bytes_per_cycle
        network = (acts * act_sends + grads * c_blocks) / self._network_bytes_per_cycle
        written = outputs / rounds / self._dram_bytes_per_cycle
        tail = entries / self._drain_rate + exchange + written
        return max(compute, drain, dram, network) + 0.1 * dram + tail

    def _largest_share(self, parts: int, of_gradient: bool) -> float:
        """Share of all non-zeros that the part with most channels' work is dealt (wgrad)."""
        key = (parts, of_gradient)
        if key not in self._largest:
            counts = self._gradient_counts if of_gradient else self._stationary_counts
            if self.config.policy.load_balance == "sorted":  # back and forth, as they are dealt
                hands = np.pad(np.sort(counts)[::-1], (0, -len(counts) % parts)).reshape(-1, parts)
                hands[1::2] = hands[1::2, ::-1]
                dealt = hands.sum(0)
            else:
                dealt = np.add.reduceat(counts, np.arange(parts) * len(counts) // parts)
            self._largest[key] = float(dealt.max() / max(1, counts.sum()))
        return self._largest[key]

    def _positional_steps(self, plan: Plan) -> float:
        """Steps of the whole layer-phase, all samples."""
        key = (plan.block_outputs, plan.block_inputs, 0)
        if key not in self._pairs:
            k_vectors = self._position_vectors(plan.block_outputs, of_gradient=True)
            c_vectors = self._position_vectors(plan.block_inputs, of_gradient=False)
            positions = self.problem.streamed_plane[0] * self.problem.streamed_plane[1]
            sampled = len(self._sampled[0]) * len(self._sampled[1])
            mean = float((k_vectors * c_vectors).sum((1, 2)).mean()) * positions / sampled
            self._pairs[key] = mean * self.problem.batch_size
        return self._pairs[key]

    def _position_vectors(self, block: int, of_gradient: bool) -> Floats:
        """[n, groups, positions] vectors at sampled outputs, over all blocks of channels."""
        if (block, of_gradient) not in self._vectors:
            sums = self._gradient_at if of_gradient else self._window_at
            pe = self.config.pe
            groups = self.problem.groups
            per_group = (sums.shape[1] - 1) // groups
            first = np.arange(groups)[:, None] * per_group
            starts = np.arange(0, per_group, block)
            counts = sums[:, first + np.minimum(starts + block, per_group)]
            counts -= sums[:, first + starts]  # [n, groups, blocks, positions]
            vector = pe.streamed_vector if of_gradient else pe.stationary_vector
            vectors = (-(-counts // vector)).sum(2, dtype=np.float64)
            self._vectors[block, of_gradient] = vectors
        return self._vectors[block, of_gradient]

    @cached_property
    def _sampled(self) -> tuple[Ints, Ints]:
        """Rows and columns of the outputs that are looked at: some hundred, spread unevenly.

        Pooling leaves patterns that repeat, which even steps would hit or miss.
        """
        picked = []
        for size in self.problem.streamed_plane:
            count = min(size, SAMPLED_SIDE)
            steps = np.arange(count)
            jitter = steps * GOLDEN % 1 if count < size else 0.0
            picked.append(((steps + jitter) * size / count).astype(np.int64))
        return picked[0], picked[1]

    @cached_property
    def _gradient_at(self) -> NDArray[np.int32]:
        """[n, K + 1, positions] gradients of the channels below, at each sampled output."""
        p, q = self._sampled
        return prefix(self._gradient[:, :, p[:, None], q])

    @cached_property
    def _window_at(self) -> NDArray[np.int32]:
        """[n, C + 1, positions] activations of the channels below, in each sampled window."""
        shape = self.problem.shape
        p, q = self._sampled
        source = self.operands.stationary
        total = np.zeros((*source.shape[:2], len(p), len(q)), np.int32)
        for r in range(shape.R):
            h = p * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
            inside_h = (h >= 0) & (h < shape.H)
            for s in range(shape.S):
                w = q * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
                at = np.ix_(inside_h, (w >= 0) & (w < shape.W))
                there = source[:, :, h[inside_h][:, None], w[(w >= 0) & (w < shape.W)]]
                total[:, :, at[0], at[1]] += there
        return prefix(total)

    def _cartesian_steps(self, plan: Plan) -> float:
        """Steps of the whole layer-phase; redundant pairs included, skipped ones too."""
        rows, cols = plan.rows * plan.passes[0], plan.cols * plan.passes[1]
        key = (plan.block_outputs, rows, -cols)
        if key not in self._pairs:
            problem, pe = self.problem, self.config.pe
            gradient_ranges, input_ranges = [], []
            for axis, parts in enumerate((rows, cols)):
                cuts = [cut(problem, plan.tile_rule, axis, parts, i) for i in range(parts)]
                gradient_ranges.append(cuts)
                input_ranges.append([window(problem, axis, *c) for c in cuts])
            act = region_counts(self._stationary_integral, *input_ranges)
            grad = region_counts(self._gradient_integral, *gradient_ranges)
            n, channels = grad.shape[:2]
            per_group = channels // problem.groups
            block = min(plan.block_outputs, per_group)
            starts = [
                first
                for group in range(0, channels, per_group)
                for first in range(group, group + per_group, block)
            ]
            k_vectors = -(-np.add.reduceat(grad, starts, axis=1) // pe.streamed_vector)
            c_vectors = -(-act // pe.stationary_vector)
            shape = (n, problem.groups, -1, *act.shape[2:])
            k_total = k_vectors.reshape(shape).sum(2, dtype=np.float64)
            c_total = c_vectors.reshape(shape).sum(2, dtype=np.float64)
            steps = (k_total * c_total).reshape(n, -1).sum(1).mean()
            self._pairs[key] = float(steps) * problem.batch_size
        return self._pairs[key]

    @cached_property
    def _stationary_integral(self) -> NDArray[np.int32]:
        return integral(self.operands.stationary)

    @cached_property
    def _gradient(self) -> NDArray[np.uint8]:
        """[n, K, P, Q] (wgrad only)."""
        g = self.operands.streamed  # [n, groups, P, Q, K / groups]
        n, groups, p, q, per_group = g.shape
        return g.transpose(0, 1, 4, 2, 3).reshape(n, groups * per_group, p, q)

    @cached_property
    def _gradient_counts(self) -> Ints:
        """[K] non-zeros of each channel, all samples (wgrad only)."""
        return self.operands.streamed.sum((0, 2, 3), dtype=np.int64).reshape(-1)

    @cached_property
    def _stationary_counts(self) -> Ints:
        """[C] non-zeros of each channel, all samples."""
        return self.operands.stationary.sum((0, 2, 3), dtype=np.int64)

    @cached_property
    def _gradient_integral(self) -> NDArray[np.int32]:
        return integral(self._gradient)

    @cached_property
    def _weight_density(self) -> float:
        return float(self.operands.streamed[0].mean())

    @cached_property
    def _stationary_entries(self) -> float:
        """Stationary non-zeros of a sample."""
        return np.count_nonzero(self.operands.stationary) / self.operands.samples

    @cached_property
    def _stationary_bytes(self) -> float:
        """Compressed stationary operand of the whole batch."""
        return self._stationary_entries * self.problem.batch_size * self._entry_bytes

    @cached_property
    def _streamed_entries(self) -> float:
        """Gradient non-zeros of a sample (wgrad only)."""
        return np.count_nonzero(self.operands.streamed) / self.operands.samples

    @cached_property
    def _streamed_bytes(self) -> float:
        """Compressed gradient of the whole batch (wgrad only)."""
        return self._streamed_entries * self.problem.batch_size * self._entry_bytes
