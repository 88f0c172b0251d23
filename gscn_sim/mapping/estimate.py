"""Quick estimates of a plan's time: exact vector counts, no bank conflicts.

The estimate is only used to rank legal plans; what a plan really costs is simulated.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gscn_sim.config import Config
from gscn_sim.geometry import Ints, Operands, Problem
from gscn_sim.mapping.plan import Plan, cut, window
from gscn_sim.units import ceil_div

Floats = NDArray[np.float64]


class Estimator:
    """Estimates plans of one layer-phase; what plans have in common is counted once."""

    def __init__(self, problem: Problem, operands: Operands, config: Config) -> None:
        self.problem = problem
        self.operands = operands
        self.config = config
        self._entry_bytes = config.pe.value_bytes + config.pe.index_bits / 8
        ideal = config.dram.kind == "ideal"
        peak = config.dram.peak_gbps / config.array.clock_ghz
        self._dram_bytes_per_cycle = 1e12 if ideal else 0.9 * peak
        wait_ns = config.dram.controller_ns + config.dram.row_activate_ns + config.dram.column_ns
        self._latency_cycles = 0 if ideal else config.cycles(wait_ns)
        self._network_bytes_per_cycle = config.network.operand_bytes_per_cycle or 1e12
        self._drain_rate = config.drain.entries_per_cycle or 1e9
        self._vectors: dict[tuple[int, bool], Floats] = {}
        self._grids: dict[tuple[int, int], tuple[float, float]] = {}
        self._pairs: dict[tuple[int, int, int], float] = {}

    def cycles(self, plan: Plan) -> float:
        """Estimated cycles: the slowest of computing, draining, the network and DRAM."""
        return self._wgrad(plan) if self.problem.is_wgrad else self._maps(plan)

    # forward and dgrad ----------------------------------------------------------------------

    def _maps(self, plan: Plan) -> float:
        problem, pe, config = self.problem, self.config.pe, self.config
        passes = plan.passes[0] * plan.passes[1]
        slowest, tile_entries = self._grid(plan)
        kernel = problem.streamed_plane[0] * problem.streamed_plane[1]
        per_output = problem.output_channels // problem.groups
        own = ceil_div(problem.output_channels, plan.outputs)
        footprint = plan.held_outputs
        visits = ceil_div(problem.batch_size, plan.samples) * passes
        compute = 0.0
        full, rest = divmod(own, plan.block_outputs)
        for outputs, count in ((plan.block_outputs, full), (rest, min(rest, 1))):
            if not count:
                continue
            groups = ceil_div(outputs, per_output)  # convolution groups in one accumulator group
            streamed = min(outputs, per_output) * kernel * self._weight_density
            vectors = max(1.0, np.ceil(streamed / pe.streamed_vector))
            steps = slowest * groups / problem.groups * vectors
            drain = outputs * footprint / self._drain_rate
            compute += count * max(steps, drain)
        compute *= visits
        blocks = full + (rest > 0)
        fits = tile_entries * self._entry_bytes <= pe.stationary_buffer_bytes
        stays = fits and problem.groups == 1
        maps = self._stationary_bytes * (1 if stays else blocks * plan.outputs)
        per_input = problem.stationary_channels // problem.groups
        weights = problem.output_channels * per_input * kernel * self._weight_density
        weights *= self._entry_bytes
        rereads = 1 if weights <= config.buffer.size_bytes else visits
        outputs_bytes = problem.output_elements * pe.value_bytes
        dram = (maps + weights * rereads + outputs_bytes) / self._dram_bytes_per_cycle
        network = (maps + weights * visits) / self._network_bytes_per_cycle
        first = self._stationary_bytes / visits / self._dram_bytes_per_cycle
        held = max(1.0, pe.stationary_buffer_bytes / max(tile_entries * self._entry_bytes, 1.0))
        latency = self._latency_cycles * visits / held
        return max(compute, dram, network, latency) + first + blocks * footprint

    def _grid(self, plan: Plan) -> tuple[float, float]:
        """Stationary vectors of the slowest tile, and entries of the fullest, for a tile grid."""
        rows, cols = plan.rows * plan.passes[0], plan.cols * plan.passes[1]
        if (rows, cols) not in self._grids:
            problem = self.problem
            classes = int(problem.axes[0, 3] * problem.axes[1, 3])
            ranges = [
                [cut(problem, plan.tile_rule, axis, parts, i) for i in range(parts)]
                for axis, parts in enumerate((rows, cols))
            ]
            counts = _region_counts(self._stationary_integral, *ranges)
            vector = self.config.pe.stationary_vector * classes
            steps = (-(-counts // vector) * classes).sum(1, dtype=np.float64)  # [n, rows, cols]
            slowest = float(steps.reshape(len(steps), -1).max(1).mean())
            self._grids[rows, cols] = slowest, float(counts.sum(1).max())
        return self._grids[rows, cols]

    # wgrad ----------------------------------------------------------------------------------

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
        uneven = ceil_div(problem.batch_size, plan.samples) * plan.samples / problem.batch_size
        plane = problem.streamed_plane
        uneven *= ceil_div(plane[0], plan.rows) * plan.rows / plane[0]
        uneven *= ceil_div(plane[1], plan.cols) * plan.cols / plane[1]
        compute = steps * share * uneven / splits
        k_blocks = ceil_div(own_outputs, min(plan.block_outputs, per_output))
        c_blocks = ceil_div(own_inputs, plan.block_inputs)
        kernel = problem.output_plane[0] * problem.output_plane[1]
        entries = plan.block_outputs * plan.block_inputs * kernel
        exchange = entries * (splits - 1) / splits / config.network.partial_sums_per_cycle
        rounds = k_blocks * c_blocks
        drain = (entries / self._drain_rate + exchange) * rounds
        acts, grads = self._stationary_bytes, self._streamed_bytes
        held = acts / splits * plan.block_inputs / problem.stationary_channels
        fits = held <= config.pe.stationary_buffer_bytes
        act_reads = 1 if fits else k_blocks * plan.outputs
        grad_reads = 1 if grads <= config.buffer.size_bytes else c_blocks
        outputs = problem.output_elements * config.pe.value_bytes
        dram = (acts * act_reads + grads * grad_reads + outputs) / self._dram_bytes_per_cycle
        network = (acts * act_reads + grads * c_blocks) / self._network_bytes_per_cycle
        written = outputs / rounds / self._dram_bytes_per_cycle
        tail = entries / self._drain_rate + exchange + written
        return max(compute, drain, dram, network) + 0.1 * dram + tail

    def _positional_steps(self, plan: Plan) -> float:
        """Steps of the whole layer-phase, all samples."""
        key = (plan.block_outputs, plan.block_inputs, 0)
        if key not in self._pairs:
            k_vectors = self._position_vectors(plan.block_outputs, of_gradient=True)
            c_vectors = self._position_vectors(plan.block_inputs, of_gradient=False)
            mean = float(np.einsum("ngp,ngp->n", k_vectors, c_vectors).mean())
            self._pairs[key] = mean * self.problem.batch_size
        return self._pairs[key]

    def _position_vectors(self, block: int, of_gradient: bool) -> Floats:
        """[n, groups, P * Q] vectors at each output position, over all blocks of channels."""
        if (block, of_gradient) not in self._vectors:
            source = self._gradient if of_gradient else self.operands.stationary
            n, channels = source.shape[:2]
            per_group = channels // self.problem.groups
            starts = [
                first
                for group in range(0, channels, per_group)
                for first in range(group, group + per_group, block)
            ]
            sums = np.add.reduceat(source, starts, axis=1, dtype=np.int32)
            pe = self.config.pe
            if of_gradient:
                vectors = -(-sums // pe.streamed_vector)
            else:
                vectors = -(-self._in_windows(sums) // pe.stationary_vector)
            grouped = vectors.reshape(n, self.problem.groups, -1, *vectors.shape[2:])
            total = grouped.sum(2, dtype=np.float64)
            self._vectors[block, of_gradient] = total.reshape(n, self.problem.groups, -1)
        return self._vectors[block, of_gradient]

    def _in_windows(self, sums: NDArray[np.int32]) -> NDArray[np.int32]:
        """[n, blocks, P, Q] non-zeros of each block of input channels in each window."""
        shape = self.problem.shape
        pad_y, pad_x = shape.padding
        padded = np.pad(sums, ((0, 0), (0, 0), (pad_y, pad_y), (pad_x, pad_x)))
        total = np.zeros((*sums.shape[:2], shape.P, shape.Q), np.int32)
        for r in range(shape.R):
            y = r * shape.dilation[0]
            rows = slice(y, y + (shape.P - 1) * shape.stride[0] + 1, shape.stride[0])
            for s in range(shape.S):
                x = s * shape.dilation[1]
                cols = slice(x, x + (shape.Q - 1) * shape.stride[1] + 1, shape.stride[1])
                total += padded[:, :, rows, cols]
        return total

    def _cartesian_steps(self, plan: Plan) -> float:
        """Steps of the whole layer-phase; redundant pairs included, skipped ones too."""
        key = (plan.block_outputs, plan.rows, -plan.cols)
        if key not in self._pairs:
            problem, pe = self.problem, self.config.pe
            gradient_ranges, input_ranges = [], []
            for axis, parts in enumerate((plan.rows, plan.cols)):
                cuts = [cut(problem, plan.tile_rule, axis, parts, i) for i in range(parts)]
                gradient_ranges.append(cuts)
                input_ranges.append([window(problem, axis, *c) for c in cuts])
            act = _region_counts(self._stationary_integral, *input_ranges)
            grad = _region_counts(self._gradient_integral, *gradient_ranges)
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

    # Counts that plans share ----------------------------------------------------------------

    @cached_property
    def _stationary_integral(self) -> NDArray[np.int32]:
        return _integral(self.operands.stationary)

    @cached_property
    def _gradient(self) -> NDArray[np.uint8]:
        """[n, K, P, Q] (wgrad only)."""
        g = self.operands.streamed  # [n, groups, P, Q, K / groups]
        n, groups, p, q, per_group = g.shape
        return g.transpose(0, 1, 4, 2, 3).reshape(n, groups * per_group, p, q)

    @cached_property
    def _gradient_integral(self) -> NDArray[np.int32]:
        return _integral(self._gradient)

    @cached_property
    def _weight_density(self) -> float:
        return float(self.operands.streamed[0].mean())

    @cached_property
    def _stationary_bytes(self) -> float:
        """Compressed stationary operand of the whole batch."""
        nonzeros = np.count_nonzero(self.operands.stationary) / self.operands.samples
        return nonzeros * self.problem.batch_size * self._entry_bytes

    @cached_property
    def _streamed_bytes(self) -> float:
        """Compressed gradient of the whole batch (wgrad only)."""
        nonzeros = np.count_nonzero(self.operands.streamed) / self.operands.samples
        return nonzeros * self.problem.batch_size * self._entry_bytes


def _integral(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    """[n, C, Y + 1, X + 1] sums over rectangles from the corner."""
    n, c, y, x = mask.shape
    out = np.zeros((n, c, y + 1, x + 1), np.int32)
    np.cumsum(mask, 2, dtype=np.int32, out=out[:, :, 1:, 1:])
    np.cumsum(out[:, :, 1:, 1:], 3, out=out[:, :, 1:, 1:])
    return out


def _region_counts(
    integral: NDArray[np.int32], rows: list[tuple[int, int]], cols: list[tuple[int, int]]
) -> Ints:
    """[n, channels, rows, cols] non-zeros in each rectangle of a grid."""
    y0, y1 = np.array(rows).T
    x0, x1 = np.array(cols).T
    low, high = integral[:, :, y0], integral[:, :, y1]
    bands = (high - low).astype(np.int64)
    return bands[..., x1] - bands[..., x0]
