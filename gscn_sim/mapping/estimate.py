"""Quick estimates of a plan's time: counts of vectors, no bank conflicts.

The estimate is only used to rank legal plans; what a plan really costs is simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np

from gscn_sim.config.view import key
from gscn_sim.mapping import counts as count
from gscn_sim.mapping.counts import Counts, Floats
from gscn_sim.mapping.plan import Plan
from gscn_sim.mapping.residency import what_stays
from gscn_sim.mapping.tiles import cut, window
from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.units import ceil_div

EVEN_FILLS, UNEVEN_FILLS = 1.1, 2.0  # largest fill of a PE over the mean one; rank plans only
ROUND_WAIT = 0.2  # from runs of VGG-16; ranks plans only
NEVER_LIMITS = 1e12


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimatedMachine:
    """All of a machine's configuration that estimates depend on."""

    pe_rows: int = key("array.pe_rows")
    pe_cols: int = key("array.pe_cols")
    clock_ghz: float = key("array.clock_ghz")
    streamed_vector: int = key("pe.streamed_vector")
    stationary_vector: int = key("pe.stationary_vector")
    value_bytes: int = key("pe.value_bytes")
    index_bits: int = key("pe.index_bits")
    stationary_buffer_bytes: int = key("pe.stationary_buffer_bytes")
    streamed_fifo_entries: int = key("pe.streamed_fifo_entries")
    buffer_bytes: int = key("buffer.size_bytes")
    operand_bytes_per_cycle: int = key("network.operand_bytes_per_cycle")
    partial_sums_per_cycle: int = key("network.partial_sums_per_cycle")
    drain_entries_per_cycle: int = key("drain.entries_per_cycle")
    gather_fragments: int = key("pe.gather_fragments")
    visits_per_cycle: int = key("pe.visits_per_cycle")
    group_bubble: int = key("pe.group_bubble")
    round_latency: int = key("pe.round_latency")
    dispatch_latency: int = key("network.dispatch_latency")
    dram_kind: str = key("dram.kind")
    dram_peak_gbps: float = key("dram.peak_gbps")
    dram_controller_ns: float = key("dram.controller_ns")
    dram_row_activate_ns: float = key("dram.row_activate_ns")
    dram_column_ns: float = key("dram.column_ns")
    tile_rule: str = key("mapping.tile_rule")
    barrier: str = key("policy.barrier")
    drift: str = key("policy.drift")
    load_balance: str = key("policy.load_balance")

    @property
    def slots(self) -> int:
        """Multipliers of the whole array."""
        return self.pe_rows * self.pe_cols * self.streamed_vector * self.stationary_vector

    @property
    def entry_bytes(self) -> float:
        """Bytes of a compressed entry."""
        return self.value_bytes + self.index_bits / 8

    @property
    def looked_past(self) -> float:
        """Cycles to look at a pairing group that has no pairs."""
        return 1 / self.visits_per_cycle if self.visits_per_cycle else 0.0

    @property
    def group_wait(self) -> float:
        """Cycles that a pairing group takes about, beside its steps."""
        return max(self.group_bubble, self.looked_past)

    @property
    def round_wait(self) -> int:
        """Cycles that a round takes beside computing: fill the pipeline, hear of its end."""
        return self.round_latency + (self.dispatch_latency if self.barrier != "none" else 0)

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Bytes that memory is taken to move a cycle."""
        if self.dram_kind == "ideal":
            return NEVER_LIMITS
        return 0.9 * self.dram_peak_gbps / self.clock_ghz

    @property
    def latency_cycles(self) -> int:
        """Cycles from a request to its first data."""
        if self.dram_kind == "ideal":
            return 0
        wait_ns = self.dram_controller_ns + self.dram_row_activate_ns + self.dram_column_ns
        return -int(-wait_ns * self.clock_ghz // 1)

    @property
    def network_bytes_per_cycle(self) -> float:
        """Bytes that the broadcast network moves a cycle."""
        return self.operand_bytes_per_cycle or NEVER_LIMITS

    @property
    def drain_rate(self) -> float:
        """Partial sums that a PE's drain takes a cycle."""
        return self.drain_entries_per_cycle or 1e9


def map_cycles(plan: Plan, counts: Counts, machine: EstimatedMachine) -> float:
    """Estimated cycles of a phase whose outputs are maps (forward, dgrad)."""
    met = _channels_met(plan, counts, machine)
    rows, cols = plan.rows * plan.passes[0], plan.cols * plan.passes[1]
    vectors, entries = counts.of(
        count.tile_vectors, rows, cols, met, machine.stationary_vector, machine.tile_rule
    )
    n, meetings = vectors.shape[:2]
    work = vectors.reshape(n, meetings, plan.rows, plan.passes[0], plan.cols, plan.passes[1])
    waves = ceil_div(plan.problem.batch_size, plan.samples)
    # PEs that share a stream are at most a round apart: the slowest of each visit counts where a
    # visit has several rounds, and part of that where it has one.
    each = work.max((2, 4)).reshape(n, -1)  # [n, meetings and passes]
    whole = work.sum((1, 3, 5)).reshape(n, -1).max(1)  # [n]
    together = plan.samples >= n
    by_visit = float(each.max(0).sum() if together else each.sum(1).mean()) * waves
    by_pe = float(whole.max() if together else whole.mean()) * waves
    rounds = ceil_div(ceil_div(plan.problem.output_channels, plan.outputs), plan.block_outputs)
    slowest = by_visit if rounds * meetings > 1 else (by_visit + by_pe) / 2
    return _map_time(plan, counts, machine, slowest, float(entries.max()))


def rough_map_cycles(plan: Plan, counts: Counts, machine: EstimatedMachine) -> float:
    """What forward or dgrad would take if all tiles were equal, without looking at the tiles.

    A channel's entries in a tile leave half a vector empty on average.
    """
    passes = plan.passes[0] * plan.passes[1]
    waves = ceil_div(plan.problem.batch_size, plan.samples)
    entries = counts.of(count.stationary_entries) / (plan.rows * plan.cols * passes)
    vector = machine.stationary_vector
    held = min(entries, plan.problem.stationary_channels)  # channels with any entry, at most
    vectors = entries / vector + 0.5 * held * (1 - 1 / vector)
    return _map_time(plan, counts, machine, vectors * passes * waves, entries)


def _channels_met(plan: Plan, counts: Counts, machine: EstimatedMachine) -> int:
    """After how many channels the PEs of a gang have to meet.

    PEs that may be w lists apart wait about as much as if they met after every 2 w - 1: the list
    that a PE waits for lies w behind it, here on average too.
    """
    problem = plan.problem
    channels = problem.stationary_channels
    if machine.barrier == "input_channel":
        return 1
    if machine.drift == "round":
        return channels
    outputs = min(plan.block_outputs, problem.output_channels // problem.groups)
    kernel = problem.streamed_plane[0] * problem.streamed_plane[1]
    entries = max(1.0, outputs * kernel * counts.of(count.weight_density))
    lists = max(1, int(machine.streamed_fifo_entries / entries))
    return min(2 * lists - 1, channels)


def _map_time(
    plan: Plan, counts: Counts, machine: EstimatedMachine, vectors: float, tile_entries: float
) -> float:
    """Cycles when the slowest PE has ``vectors`` stationary vectors in all its visits."""
    problem, density = plan.problem, counts.of(count.weight_density)
    visits = ceil_div(problem.batch_size, plan.samples) * plan.passes[0] * plan.passes[1]
    kernel = problem.streamed_plane[0] * problem.streamed_plane[1]
    own = ceil_div(problem.output_channels, plan.outputs)
    footprint = plan.held_outputs
    compute, blocks = _map_compute(plan, machine, vectors, visits, density)
    tile_bytes = tile_entries * machine.entry_bytes
    fits = tile_bytes <= machine.stationary_buffer_bytes and problem.groups == 1
    parts = plan.samples * plan.rows * plan.cols
    stays = problem.groups == 1 and tile_bytes * parts <= machine.buffer_bytes
    sends = 1 if fits else blocks * (1 if problem.groups == 1 else plan.outputs)
    maps = _stationary_bytes(problem, counts, machine)
    per_input = problem.stationary_channels // problem.groups
    weights = problem.output_channels * per_input * kernel * density
    weights *= machine.entry_bytes
    rereads = 1 if weights <= machine.buffer_bytes else visits
    outputs_bytes = problem.output_elements * machine.value_bytes
    dram = maps * (1 if stays else sends) + weights * rereads + outputs_bytes
    dram /= machine.dram_bytes_per_cycle
    network = (maps * sends + weights * visits) / machine.network_bytes_per_cycle
    first = maps / visits / machine.dram_bytes_per_cycle
    held = max(1.0, machine.stationary_buffer_bytes / max(tile_bytes, 1.0))
    latency = machine.latency_cycles * visits / held
    last = min(blocks, 2) * min(plan.block_outputs, own) * footprint / machine.drain_rate
    return max(compute, dram, network, latency) + first + last


def _map_compute(
    plan: Plan, machine: EstimatedMachine, vectors: float, visits: int, density: float
) -> tuple[float, int]:
    """Cycles of computing or draining, whichever is slower; and rounds a visit."""
    problem = plan.problem
    kernel = problem.streamed_plane[0] * problem.streamed_plane[1]
    per_output = problem.output_channels // problem.groups
    full, rest = divmod(ceil_div(problem.output_channels, plan.outputs), plan.block_outputs)
    compute = 0.0
    for outputs, times in ((plan.block_outputs, full), (rest, min(rest, 1))):
        if not times:
            continue
        groups = ceil_div(outputs, per_output)  # convolution groups in one accumulator group
        streamed = min(outputs, per_output) * kernel * density
        share = groups / problem.groups
        steps = vectors * share * max(1, ceil(streamed / machine.streamed_vector))
        lists = problem.stationary_channels * share * count.classes(problem)
        steps += visits * (lists * machine.group_wait + machine.round_wait)
        drain = outputs * plan.held_outputs / machine.drain_rate * visits
        compute += times * max(steps, drain)
    return compute, full + (rest > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class SummedCycles:
    """Estimated cycles [plans] if the largest fill of a PE is about the mean one, and if not."""

    if_even: Floats
    if_uneven: Floats


def evenly_shared(
    plans: Sequence[Plan], counts: Counts, machine: EstimatedMachine, steps: Floats
) -> Floats:
    """[plans] steps of the PEs with most channels, of ``steps`` in all, if rounds are alike."""
    return steps * _largest_share(_columns(plans), counts, machine)


def summed_cycles(
    plans: Sequence[Plan], counts: Counts, machine: EstimatedMachine, steps: Floats
) -> SummedCycles:
    """Estimated cycles of plans with summed outputs (wgrad).

    ``steps`` [plans]: of all PEs that share their channels with the slowest one.
    """
    problem = plans[0].problem
    at = _columns(plans)
    splits = at.samples * at.rows * at.cols
    per_output = problem.output_channels // problem.groups
    per_input = problem.stationary_channels // problem.groups
    own_outputs = _ceil_div(problem.output_channels, at.outputs)
    own_inputs = _ceil_div(per_input, at.inputs)
    units = problem.batch_size * splits * at.pass_rows * at.pass_cols // at.samples
    uneven = _ceil_div(units, splits) * splits / units
    compute = steps * uneven / splits
    k_blocks = _ceil_div(own_outputs, np.minimum(at.block_outputs, per_output))
    c_blocks = _ceil_div(own_inputs, at.block_inputs)
    rounds = k_blocks * c_blocks
    compute += rounds * machine.round_wait
    # In each round PEs wait for the slowest of those with other units: the more of these, and the
    # fewer units each has, the longer.
    wait = ROUND_WAIT * np.sqrt(2 * np.log(splits) * splits / units)
    compute *= np.where(rounds > 1, 1 + wait, 1)
    entries = at.block_outputs * at.block_inputs * at.held_outputs
    exchange = entries * (splits - 1) / splits / machine.partial_sums_per_cycle
    drain = (entries / machine.drain_rate + exchange) * rounds
    acts = _stationary_bytes(problem, counts, machine)
    grads = counts.of(count.gradient_entries) * problem.batch_size * machine.entry_bytes
    sent = acts * _overlap(at, problem)  # PEs are sent their whole windows
    read = np.minimum(acts, sent)  # memory is read once
    largest_share = np.minimum(1.0, at.block_inputs / per_input) / problem.groups
    bandwidth = machine.dram_bytes_per_cycle
    written = problem.output_elements * machine.value_bytes / bandwidth
    tail = entries / machine.drain_rate + exchange + written / rounds + machine.latency_cycles

    def cycles(largest_over_mean: float) -> Floats:
        fill = largest_over_mean * sent / splits * largest_share  # of a PE
        fits = fill <= machine.stationary_buffer_bytes
        uses = np.where(fits, 1, k_blocks)
        streams_stay, fills_stay = what_stays(
            machine.buffer_bytes,
            (grads * (c_blocks - 1), grads),
            (read * (uses - 1), read * np.minimum(1.0, largest_over_mean / c_blocks)),
        )
        fills = read * np.where(fills_stay, 1, uses) / bandwidth
        streams = grads * np.where(streams_stay, 1, c_blocks) / bandwidth
        network = (sent * uses + grads * c_blocks) / machine.network_bytes_per_cycle
        # PEs wait for the first fill, and for each to arrive if they have no room for the next one.
        alone = 2 * fill > machine.stationary_buffer_bytes
        waits = read / c_blocks / bandwidth
        waits += alone * sent * (uses - 1 / c_blocks) / machine.network_bytes_per_cycle
        found: Floats = np.maximum(
            waits + np.maximum(compute, drain), np.maximum(fills + streams + written, network)
        )
        return found + tail

    return SummedCycles(if_even=cycles(EVEN_FILLS), if_uneven=cycles(UNEVEN_FILLS))


class _Columns(NamedTuple):
    """What :func:`summed_cycles` reads of plans, one array each."""

    samples: Ints
    rows: Ints
    cols: Ints
    outputs: Ints
    inputs: Ints
    pass_rows: Ints
    pass_cols: Ints
    block_outputs: Ints
    block_inputs: Ints
    held_outputs: int


def _columns(plans: Sequence[Plan]) -> _Columns:
    n, y, x, o, i, pass_y, pass_x, k, c = np.array([p.shape_of_work for p in plans], np.int64).T
    return _Columns(n, y, x, o, i, pass_y, pass_x, k, c, plans[0].held_outputs)


def _overlap(at: _Columns, problem: Problem) -> Floats:
    """[plans] positions in the windows of all tiles over those of the input."""
    found = np.ones(len(at.rows))
    for axis, parts in enumerate((at.rows * at.pass_rows, at.cols * at.pass_cols)):
        wanted, of_plan = np.unique(parts, return_inverse=True)
        covered = [_covered(problem, axis, each) for each in wanted.tolist()]
        found *= np.array(covered)[of_plan] / problem.stationary_plane[axis]
    return found


def _covered(problem: Problem, axis: int, parts: int) -> int:
    """Positions along an axis in the windows of all tiles, those in several counted each time."""
    windows = [window(problem, axis, *cut(problem, "exact", axis, parts, i)) for i in range(parts)]
    return sum(high - low for low, high in windows)


def _largest_share(at: _Columns, counts: Counts, machine: EstimatedMachine) -> Floats:
    """[plans] share of all (output, input) channel pairs' work that the PE with most of it has."""
    problem = counts.problem
    if problem.groups > 1:
        per_input = problem.stationary_channels // problem.groups
        own_outputs = _ceil_div(problem.output_channels, at.outputs)
        own_inputs = _ceil_div(per_input, at.inputs)
        return own_outputs / problem.output_channels * own_inputs / per_input
    is_sorted = machine.load_balance == "sorted"

    def share(parts: Ints, of_gradient: bool) -> Floats:
        wanted, of_plan = np.unique(parts, return_inverse=True)
        found = [
            counts.of(count.largest_share, each, of_gradient, is_sorted) for each in wanted.tolist()
        ]
        return np.array(found)[of_plan]

    return share(at.outputs, True) * share(at.inputs, False)


def _ceil_div(numerator: Ints | int, denominator: Ints) -> Ints:
    found: Ints = -(-numerator // denominator)
    return found


def _stationary_bytes(problem: Problem, counts: Counts, machine: EstimatedMachine) -> float:
    """Compressed stationary operand of the whole batch."""
    return counts.of(count.stationary_entries) * problem.batch_size * machine.entry_bytes
