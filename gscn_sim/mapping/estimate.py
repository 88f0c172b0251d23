"""Quick estimates of a plan's time: exact vector counts, no bank conflicts.

The estimate is only used to rank legal plans; what a plan really costs is simulated.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gscn_sim.config import Config
from gscn_sim.geometry import Ints, Operands, Problem
from gscn_sim.mapping.plan import Plan
from gscn_sim.units import ceil_div


class Estimator:
    """Estimates plans of one layer-phase; counts that plans share are computed once."""

    def __init__(self, problem: Problem, operands: Operands, config: Config) -> None:
        self.problem = problem
        self.operands = operands
        self.config = config
        self._vectors: dict[tuple[int, bool], NDArray[np.float64]] = {}

    def cycles(self, plan: Plan) -> float:
        """Estimated cycles: the slowest of computing, draining, the network and DRAM."""
        if not self.problem.is_wgrad:
            return self._maps(plan)
        if plan.dataflow == "positional":
            return self._positional(plan)
        return self._wgrad_cartesian(plan)

    # Counting -------------------------------------------------------------------------------

    @cached_property
    def _stationary_integral(self) -> NDArray[np.int32]:
        """[n, C, Y + 1, X + 1] sums over rectangles from the corner."""
        return _integral(self.operands.stationary)

    @cached_property
    def _streamed_integral(self) -> NDArray[np.int32]:
        """[n, K, P + 1, Q + 1] of the gradient (wgrad only)."""
        return _integral(self._gradient)

    @cached_property
    def _gradient(self) -> NDArray[np.uint8]:
        g = self.operands.streamed  # [n, groups, P, Q, K / groups]
        n, groups, p, q, per_group = g.shape
        return g.transpose(0, 1, 4, 2, 3).reshape(n, groups * per_group, p, q)

    @cached_property
    def _weight_density(self) -> float:
        return float(self.operands.streamed[0].mean())

    def _position_vectors(self, block: int, of_gradient: bool) -> NDArray[np.float64]:
        """[n, P * Q] vectors needed at each output position, summed over blocks of channels."""
        if (block, of_gradient) not in self._vectors:
            self._vectors[block, of_gradient] = self._count_vectors(block, of_gradient)
        return self._vectors[block, of_gradient]

    def _count_vectors(self, block: int, of_gradient: bool) -> NDArray[np.float64]:
        pe = self.config.pe
        if of_gradient:
            counts = _block_sums(self._gradient, block)
            vectors = -(-counts // pe.streamed_vector)
        else:
            counts = self._window_counts(block)
            vectors = -(-counts // pe.stationary_vector)
        summed = vectors.sum(1, dtype=np.float64)
        return summed.reshape(summed.shape[0], -1)

    def _window_counts(self, block: int) -> Ints:
        """[n, blocks, P, Q] non-zeros of each block of input channels in each window."""
        shape = self.problem.shape
        sums = _block_sums(self.operands.stationary, block)
        pad_y, pad_x = shape.padding
        padded = np.pad(sums, ((0, 0), (0, 0), (pad_y, pad_y), (pad_x, pad_x)))
        total = np.zeros((*sums.shape[:2], shape.P, shape.Q), np.int64)
        for r in range(shape.R):
            y = r * shape.dilation[0]
            rows = slice(y, y + (shape.P - 1) * shape.stride[0] + 1, shape.stride[0])
            for s in range(shape.S):
                x = s * shape.dilation[1]
                cols = slice(x, x + (shape.Q - 1) * shape.stride[1] + 1, shape.stride[1])
                total += padded[:, :, rows, cols]
        return total

    # Dataflows ------------------------------------------------------------------------------

    def _maps(self, plan: Plan) -> float:
        """forward and dgrad: stationary maps, streamed weights."""
        problem, pe = self.problem, self.config.pe
        classes = int(problem.axes[0, 3] * problem.axes[1, 3])
        per_input = problem.stationary_channels // problem.groups
        counts = self._region_counts(plan, "stationary", self._stationary_integral)
        vectors = -(-counts // (pe.stationary_vector * classes)) * classes  # [n, T, C]
        kernel = problem.streamed_plane[0] * problem.streamed_plane[1]
        per_output = problem.output_channels // problem.groups
        steps_of_pe = vectors.sum(2, dtype=np.float64)  # [n, T]
        slowest = float(steps_of_pe.max(1).mean()) if steps_of_pe.size else 0.0
        waves = ceil_div(problem.batch_size, plan.samples)
        passes = plan.passes[0] * plan.passes[1]
        blocks = plan.blocks_of_split[0]
        compute = 0.0
        footprint = max(t.reached_outputs for t in plan.tiles)
        for (block,) in blocks:
            assert block is not None
            width = min(block.o1 - block.o0, per_output)
            streamed = width * kernel * self._weight_density
            share = (block.c1 - block.c0) / problem.stationary_channels
            steps = slowest * share * max(1.0, np.ceil(streamed / pe.streamed_vector))
            drain = (block.o1 - block.o0) * footprint / (self.config.drain.entries_per_cycle or 1e9)
            compute += max(steps, drain)
        compute *= waves * passes
        entry_bytes = pe.value_bytes + pe.index_bits / 8
        nonzeros = float(self.operands.stationary.sum()) / self.operands.samples
        fits = self._fits(counts.sum(2).max() * entry_bytes)
        reloads = 1 if fits else len(blocks) * plan.outputs
        maps = nonzeros * problem.batch_size * entry_bytes * reloads
        weights = problem.output_channels * per_input * kernel * self._weight_density * entry_bytes
        rereads = 1 if weights <= self.config.buffer.size_bytes else waves * passes
        outputs = problem.output_elements * pe.value_bytes
        dram = (maps + weights * rereads + outputs) / self._dram_bytes_per_cycle
        network = (maps + weights * waves * passes) / self._network_bytes_per_cycle
        return max(compute, dram, network) + 0.1 * (dram + network)

    def _positional(self, plan: Plan) -> float:
        problem = self.problem
        k_vectors = self._position_vectors(plan.block_outputs, of_gradient=True)
        c_vectors = self._position_vectors(plan.block_inputs, of_gradient=False)
        steps = float((k_vectors * c_vectors).sum(1).mean()) * problem.batch_size
        return self._wgrad_total(plan, steps / problem.groups)

    def _wgrad_cartesian(self, plan: Plan) -> float:
        problem, pe = self.problem, self.config.pe
        act = self._region_counts(plan, "stationary", self._stationary_integral)
        grad = self._region_counts(plan, "streamed", self._streamed_integral)
        a = (-(-act // pe.stationary_vector)).sum(2, dtype=np.float64)  # [n, T]
        n, t, k = grad.shape
        blocks = ceil_div(k, plan.block_outputs)
        padded = np.zeros((n, t, blocks * plan.block_outputs), np.int64)
        padded[:, :, :k] = grad
        sums = padded.reshape(n, t, blocks, plan.block_outputs).sum(3)
        b = (-(-sums // pe.streamed_vector)).sum(2, dtype=np.float64)
        steps = float((a * b).sum(1).mean()) * problem.batch_size
        return self._wgrad_total(plan, steps / problem.groups)

    def _wgrad_total(self, plan: Plan, steps: float) -> float:
        """Spread all steps over the PEs in whole blocks; add what must move."""
        problem, config = self.problem, self.config
        splits = plan.samples * plan.rows * plan.cols
        rounds = max(len(r) for r in plan.blocks_of_split)
        blocks = sum(
            sum(block is not None for block in row) for r in plan.blocks_of_split for row in r
        )
        kernel = problem.output_plane[0] * problem.output_plane[1]
        uneven = ceil_div(problem.batch_size, plan.samples) * plan.samples / problem.batch_size
        compute = steps / (blocks * splits) * rounds * uneven
        entries = plan.block_outputs * plan.block_inputs * kernel
        exchange = entries * (splits - 1) / splits / config.network.partial_sums_per_cycle
        drain = (entries / (config.drain.entries_per_cycle or 1e9) + exchange) * rounds
        entry_bytes = config.pe.value_bytes + config.pe.index_bits / 8
        samples = self.operands.samples
        acts = float(self.operands.stationary.sum()) / samples * problem.batch_size * entry_bytes
        grads = float(self.operands.streamed.sum()) / samples * problem.batch_size * entry_bytes
        k_blocks = ceil_div(problem.output_channels // plan.outputs or 1, plan.block_outputs)
        c_per = problem.stationary_channels // problem.groups
        c_blocks = ceil_div(ceil_div(c_per, plan.inputs), plan.block_inputs)
        fits = self._fits(
            acts * plan.block_inputs / (problem.stationary_channels * splits) if acts else 0.0
        )
        act_reads = 1 if fits else k_blocks * plan.outputs
        grad_reads = 1 if grads <= config.buffer.size_bytes else c_blocks
        outputs = problem.output_elements * config.pe.value_bytes
        dram = (acts * act_reads + grads * grad_reads + outputs) / self._dram_bytes_per_cycle
        network = (acts * act_reads + grads * c_blocks) / self._network_bytes_per_cycle
        return max(compute, drain, dram, network) + 0.1 * (dram + network) + entries

    # Shared ---------------------------------------------------------------------------------

    def _region_counts(self, plan: Plan, which: str, integral: NDArray[np.int32]) -> Ints:
        """[n, T, channels] non-zeros in each tile's region."""
        y0, y1, x0, x1 = np.array([getattr(t, which) for t in plan.tiles]).T
        counts = (
            integral[:, :, y1, x1]
            - integral[:, :, y0, x1]
            - integral[:, :, y1, x0]
            + integral[:, :, y0, x0]
        )
        return counts.transpose(0, 2, 1).astype(np.int64)

    def _fits(self, tile_bytes: float) -> bool:
        return tile_bytes <= self.config.pe.stationary_buffer_bytes

    @property
    def _dram_bytes_per_cycle(self) -> float:
        if self.config.dram.kind == "ideal":
            return 1e12
        return 0.9 * self.config.dram.peak_gbps / self.config.array.clock_ghz

    @property
    def _network_bytes_per_cycle(self) -> float:
        return self.config.network.operand_bytes_per_cycle or 1e12


def _integral(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    n, c, y, x = mask.shape
    out = np.zeros((n, c, y + 1, x + 1), np.int32)
    np.cumsum(mask, 2, dtype=np.int32, out=out[:, :, 1:, 1:])
    np.cumsum(out[:, :, 1:, 1:], 3, out=out[:, :, 1:, 1:])
    return out


def _block_sums(mask: NDArray[np.uint8], block: int) -> Ints:
    """[n, blocks, Y, X] non-zeros over blocks of channels."""
    starts = np.arange(0, mask.shape[1], block)
    return np.add.reduceat(mask, starts, axis=1, dtype=np.int64)
