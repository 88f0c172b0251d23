"""Schedules of phases whose outputs are summed over samples and positions: wgrad.

Rounds are accumulator groups, each over all units (a tile of a sample) that its PEs were dealt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gscn_sim.dataflows.base import BlockCosts
from gscn_sim.kernels.pairing import CYCLES
from gscn_sim.mapping.deal import Dealt
from gscn_sim.mapping.plan import Plan
from gscn_sim.mapping.residency import Residency, share_buffer
from gscn_sim.problem.geometry import Ints
from gscn_sim.schedule.model import Gang, Movement, Schedule, fill_owners
from gscn_sim.units import ceil_div

FillKey = tuple[int, int]
"""First stationary channel of a fill, and which time it is sent (0 if it stays)."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What each PE split does in each block, by the units it was dealt.

    cycles, stationary, reads, streamed: [splits, rows]; counters [rows, N_COUNTERS]; sent_bytes,
    dram_bytes, stream_bytes, again_bytes [rows]: activations over the network and from memory,
    gradients, and those that are sent again.
    """

    cycles: Ints
    stationary: Ints
    reads: Ints
    streamed: Ints
    counters: Ints
    sent_bytes: Ints
    dram_bytes: Ints
    stream_bytes: Ints
    again_bytes: Ints


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The rounds of one output split.

    rows: [rounds, inputs] rows of the costs, -1 where an input split has nothing to do.
    held: [rounds, inputs] sums in the accumulators. fills: [rounds]. is_again: [rounds] whether the
    gradients of the round's output channels have streamed by before.
    """

    rows: Ints
    held: Ints
    fills: list[FillKey]
    is_again: NDArray[np.bool_]

    @property
    def first_rows(self) -> Ints:
        """[rounds] row of the first block of each round: all have the same output channels."""
        return self.rows[np.arange(len(self.rows)), (self.rows >= 0).argmax(1)]


def reduction_schedule(plan: Plan, costs: BlockCosts, machine: Movement, dealt: Dealt) -> Schedule:
    """Lay a plan's blocks out in rounds and work out what must move."""
    work = _work(plan, costs, machine, dealt)
    largest = int(machine.entry_bytes(work.stationary).max())
    is_resident = largest <= machine.stationary_buffer_bytes
    splits = [_split(plan, split, costs.row_of, is_resident) for split in range(plan.outputs)]
    fills = _fill_bytes(splits, work)
    kept = _residency(machine, splits, work, fills)
    order = sorted(fills)
    number = {key: i for i, key in enumerate(order)}
    gangs = [
        _gang(machine, work, kept, split, i, [number[key] for key in split.fills])
        for i, split in enumerate(splits)
    ]
    done = [split.rows[split.rows >= 0] for split in splits]
    counters: Ints = np.sum([work.counters[rows].sum(0) for rows in done], 0)
    from_dram = [
        0 if turn > 0 and kept.fills_stay else fills[first, turn][1] for first, turn in order
    ]
    return Schedule(
        gangs=gangs,
        fill_bytes=np.array([fills[key][0] for key in order], np.int64),
        fill_dram_bytes=np.array(from_dram, np.int64),
        fill_owner=fill_owners(gangs, len(order)),
        fills_held=machine.stationary_buffer_bytes // max(largest, 1) if is_resident else 1,
        rounds_ahead=kept.rounds_ahead,
        buffer_bytes=kept.held_bytes,
        counters=counters,
        stationary_reads=sum(int(work.reads[:, rows].sum()) for rows in done),
        streamed_reads=sum(int(work.streamed[:, rows].sum()) for rows in done),
    )


def _work(plan: Plan, costs: BlockCosts, machine: Movement, dealt: Dealt) -> _Work:
    times = dealt.times
    stationary = np.einsum("unt,ntb->ub", times, costs.stationary_entries)
    streamed = np.einsum("unt,ntb->ub", times, costs.streamed_entries)
    reads = costs.stationary_reads
    again = np.zeros_like(streamed)
    if costs.resent_entries:
        resent = np.concatenate([costs.resent_entries[row] for row in range(again.shape[1])], -1)
        again = np.einsum("unt,ntb->ub", times, resent)
    # Windows of neighbouring tiles overlap: PEs are sent both, DRAM is read once.
    sent = machine.entry_bytes(stationary).sum(0)
    samples = times.sum(0).sum(1) // len(plan.tiles)
    plane = machine.entry_bytes(samples @ costs.plane_entries)
    return _Work(
        cycles=np.einsum("unt,ntb->ub", times, costs.counters[..., CYCLES]),
        stationary=stationary,
        reads=stationary if reads is None else np.einsum("unt,ntb->ub", times, reads),
        streamed=streamed + again,
        counters=np.einsum("nt,ntbk->bk", times.sum(0), costs.counters),
        sent_bytes=sent,
        dram_bytes=np.minimum(sent, plane),
        stream_bytes=machine.entry_bytes(streamed).sum(0),
        again_bytes=(machine.entry_bytes(streamed + again) - machine.entry_bytes(streamed)).sum(0),
    )


def _split(plan: Plan, split: int, row_of: Ints, is_resident: bool) -> _Split:
    """Rounds with the same first stationary channel use the same fill, one after the other.

    ``row_of``: [blocks] the row of the costs of each of the plan's ``distinct_blocks``, which stand
    in the order (convolution group, input range, output range).
    """
    kernel = plan.problem.output_plane[0] * plan.problem.output_plane[1]
    ranges_of = [len(plan.output_ranges(group)) for group in range(plan.groups_of(split).stop)]
    rows, held, again = [], [], []
    fills: list[FillKey] = []
    for group in plan.groups_of(split):
        inputs = plan.input_ranges(group)
        first_block = sum(ranges_of[:group]) * len(inputs)
        of_split = plan.output_ranges(group, split)
        first_output = plan.output_ranges(group).index(of_split[0])
        outputs = np.arange(first_output, first_output + len(of_split))
        at = plan.input_range_of_step(group)  # [steps, inputs]
        block = first_block + at[:, None] * ranges_of[group] + outputs[:, None]
        here = np.broadcast_to((at >= 0)[:, None], block.shape)
        rows.append(np.where(here, row_of[block * here], -1).reshape(-1, plan.inputs))
        widths = np.array([c1 - c0 for c0, c1 in inputs])[at] * (at >= 0)
        heights = np.array([o1 - o0 for o0, o1 in of_split])
        held.append((widths[:, None] * heights[:, None] * kernel).reshape(-1, plan.inputs))
        again.append(np.repeat(np.arange(len(at)) > 0, len(of_split)))
        for step in at:
            first = inputs[step[step >= 0].min()][0]
            fills += [(first, 0 if is_resident else turn) for turn in range(len(of_split))]
    return _Split(
        rows=np.concatenate(rows),
        held=np.concatenate(held),
        fills=fills,
        is_again=np.concatenate(again),
    )


def _fill_bytes(splits: list[_Split], work: _Work) -> dict[FillKey, tuple[int, int]]:
    """Bytes of each fill over the network, and from memory if the buffer does not have it."""
    found: dict[FillKey, tuple[int, int]] = {}
    for split in splits:
        for r, key in enumerate(split.fills):
            if key not in found:
                rows = split.rows[r][split.rows[r] >= 0]
                sent, from_dram = work.sent_bytes[rows].sum(), work.dram_bytes[rows].sum()
                found[key] = int(sent), int(from_dram)
    return found


def _residency(
    machine: Movement,
    splits: list[_Split],
    work: _Work,
    fills: dict[FillKey, tuple[int, int]],
) -> Residency:
    """What the global buffer keeps: gradients, or activations from round to round."""
    streams = [int(row) for split in splits for row in split.first_rows[~split.is_again]]
    rounds = sum(len(split.rows) for split in splits)
    once = [from_dram for (_, turn), (_, from_dram) in fills.items() if turn == 0]
    return share_buffer(
        size_bytes=machine.buffer_bytes,
        most_ahead=machine.rounds_ahead,
        streams=[int(work.stream_bytes[split.first_rows].max()) for split in splits],
        streamed_bytes=int(work.stream_bytes[streams].sum()),
        streamed_uses=ceil_div(rounds, len(streams)),
        fill_bytes=max(once),
        fills_bytes=sum(once),
        fill_uses=ceil_div(len(fills), len(once)),
    )


def _gang(
    machine: Movement, work: _Work, kept: Residency, split: _Split, number: int, fill: list[int]
) -> Gang:
    rounds, inputs = split.rows.shape
    pe_splits = len(work.cycles)
    pes = pe_splits * inputs
    busy = work.cycles[:, split.rows.T] * (split.rows.T >= 0)  # [splits, inputs, rounds]
    stream = work.stream_bytes[split.first_rows]
    most, written = split.held.max(1), split.held.sum(1)
    exchange = pe_splits * machine.partial_sums_per_cycle
    return Gang(
        pes=np.arange(number * pes, (number + 1) * pes),
        busy_cycles=busy.reshape(pes, rounds),
        lockstep_cycles=np.full(rounds, -1, np.int64),
        fill=np.array(fill, np.int64),
        stream_bytes=stream + work.again_bytes[split.first_rows],
        stream_dram_bytes=np.where(split.is_again & kept.streams_stay, 0, stream),
        exchange_cycles=-(-most * (pe_splits - 1) // exchange),
        drain_cycles=machine.drain_cycles(most),
        output_bytes=written * machine.value_bytes,
        exchanged_sums=written * (pe_splits - 1),
        drained_entries=written * pe_splits,
    )
