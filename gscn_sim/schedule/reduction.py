"""Schedules of phases whose outputs are summed over samples and positions: wgrad.

Rounds are accumulator groups, each over all units (a tile of a sample) that its PEs were dealt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gscn_sim.dataflows.base import BlockCosts
from gscn_sim.kernels.pairing import CYCLES
from gscn_sim.mapping.deal import Dealt
from gscn_sim.mapping.plan import Block, Plan
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
    dram_bytes, stream_bytes [rows]: activations over the network and from memory, gradients.
    """

    cycles: Ints
    stationary: Ints
    reads: Ints
    streamed: Ints
    counters: Ints
    sent_bytes: Ints
    dram_bytes: Ints
    stream_bytes: Ints


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The rounds of one output split.

    rows: [rounds, inputs] rows of the costs, -1 where an input split has nothing to do.
    held: [rounds, inputs] sums in the accumulators. fills: [rounds].
    """

    rounds: list[list[Block | None]]
    rows: Ints
    held: Ints
    fills: list[FillKey]

    @property
    def first_rows(self) -> Ints:
        """[rounds] row of the first block of each round: all have the same output channels."""
        return self.rows[np.arange(len(self.rows)), (self.rows >= 0).argmax(1)]


def reduction_schedule(plan: Plan, costs: BlockCosts, machine: Movement, dealt: Dealt) -> Schedule:
    """Lay a plan's blocks out in rounds and work out what must move."""
    work = _work(plan, costs, machine, dealt)
    largest = int(machine.entry_bytes(work.stationary).max())
    is_resident = largest <= machine.stationary_buffer_bytes
    row_of = dict(zip(plan.distinct_blocks, costs.row_of.tolist(), strict=True))
    splits = [_split(plan, rounds, row_of, is_resident) for rounds in plan.blocks_of_split]
    fills = _fill_bytes(splits, work)
    kept = _residency(plan, machine, splits, work, fills)
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
    # Windows of neighbouring tiles overlap: PEs are sent both, DRAM is read once.
    sent = machine.entry_bytes(stationary).sum(0)
    samples = times.sum(0).sum(1) // len(plan.tiles)
    plane = machine.entry_bytes(samples @ costs.plane_entries)
    return _Work(
        cycles=np.einsum("unt,ntb->ub", times, costs.counters[..., CYCLES]),
        stationary=stationary,
        reads=stationary if reads is None else np.einsum("unt,ntb->ub", times, reads),
        streamed=streamed,
        counters=np.einsum("nt,ntbk->bk", times.sum(0), costs.counters),
        sent_bytes=sent,
        dram_bytes=np.minimum(sent, plane),
        stream_bytes=machine.entry_bytes(streamed).sum(0),
    )


def _split(
    plan: Plan, rounds: list[list[Block | None]], row_of: dict[Block, int], is_resident: bool
) -> _Split:
    """Rounds with the same first stationary channel use the same fill, one after the other."""
    kernel = plan.problem.output_plane[0] * plan.problem.output_plane[1]
    uses: dict[int, int] = {}
    fills: list[FillKey] = []
    rows = np.full((len(rounds), plan.inputs), -1, np.int64)
    held = np.zeros((len(rounds), plan.inputs), np.int64)
    for r, blocks in enumerate(rounds):
        for i, block in enumerate(blocks):
            if block is not None:
                rows[r, i] = row_of[block]
                held[r, i] = (block.o1 - block.o0) * (block.c1 - block.c0) * kernel
        first = min(block.c0 for block in blocks if block is not None)
        turn = uses.get(first, 0)
        uses[first] = turn + 1
        fills.append((first, 0 if is_resident else turn))
    return _Split(rounds=rounds, rows=rows, held=held, fills=fills)


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
    plan: Plan,
    machine: Movement,
    splits: list[_Split],
    work: _Work,
    fills: dict[FillKey, tuple[int, int]],
) -> Residency:
    """What the global buffer keeps: gradients, or activations from round to round."""
    row_of_outputs: dict[tuple[int, int], int] = {}
    rounds = 0
    for split in splits:
        rounds += len(split.rounds)
        for blocks, rows in zip(split.rounds, split.rows.tolist(), strict=True):
            for block, row in zip(blocks, rows, strict=True):
                if block is not None:
                    row_of_outputs[block.o0, block.o1] = row
    once = [from_dram for (_, turn), (_, from_dram) in fills.items() if turn == 0]
    return share_buffer(
        size_bytes=machine.buffer_bytes,
        most_ahead=machine.rounds_ahead,
        streams=[int(work.stream_bytes[split.first_rows].max()) for split in splits],
        streamed_bytes=int(work.stream_bytes[list(row_of_outputs.values())].sum()),
        streamed_uses=ceil_div(rounds, len(row_of_outputs)),
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
        stream_bytes=stream,
        stream_dram_bytes=np.where(_streamed_before(split) & kept.streams_stay, 0, stream),
        exchange_cycles=-(-most * (pe_splits - 1) // exchange),
        drain_cycles=machine.drain_cycles(most),
        output_bytes=written * machine.value_bytes,
        exchanged_sums=written * (pe_splits - 1),
        drained_entries=written * pe_splits,
    )


def _streamed_before(split: _Split) -> np.ndarray:
    """[rounds] whether the gradients of a round's output channels have streamed by before."""
    seen: set[tuple[int, int]] = set()
    found = np.zeros(len(split.rounds), np.bool_)
    for r, blocks in enumerate(split.rounds):
        outputs = next((b.o0, b.o1) for b in blocks if b is not None)
        found[r] = outputs in seen
        seen.add(outputs)
    return found
