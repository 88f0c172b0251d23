"""Schedules of phases whose outputs are maps: forward and dgrad.

A round is (wave of samples, pass, accumulator group): a *visit* of a wave and a pass fills the PEs'
stationary buffers, then all accumulator groups of a gang stream by.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gscn_sim.dataflows.base import BlockCosts
from gscn_sim.kernels.pairing import CYCLES
from gscn_sim.mapping.plan import Plan
from gscn_sim.mapping.residency import Residency, share_buffer
from gscn_sim.problem.geometry import Ints
from gscn_sim.schedule.halo import halo_sums
from gscn_sim.schedule.lists import lists_of_rounds, lockstep_cycles, resent_entries
from gscn_sim.schedule.model import Gang, Movement, Schedule, fill_owners
from gscn_sim.units import ceil_div


@dataclass(frozen=True, kw_only=True)
class Visits:
    """Which sample and tile each PE works on in each visit, the same for all gangs."""

    plan: Plan
    recorded: int

    @property
    def waves(self) -> int:
        """How often all PEs of a gang take new samples."""
        return ceil_div(self.plan.problem.batch_size, self.plan.samples)

    @property
    def passes(self) -> int:
        """Tiles of each PE, one after another."""
        return self.plan.passes[0] * self.plan.passes[1]

    @cached_property
    def live(self) -> Any:
        """[samples at once, waves] whether there is a sample: the last wave may not be full."""
        return (self._numbers < self.plan.problem.batch_size).T

    @cached_property
    def sample(self) -> Ints:
        """[samples at once, waves] the recorded sample that stands for it."""
        return (self._numbers % self.recorded).T

    @cached_property
    def tile(self) -> Ints:
        """[PEs of a sample, passes]."""
        plan = self.plan
        grid = [(row, col) for row in range(plan.rows) for col in range(plan.cols)]
        return np.array([[plan.tile_index(*at, p) for p in range(self.passes)] for at in grid])

    @cached_property
    def times(self) -> Ints:
        """[recorded] how often the batch takes each recorded sample."""
        numbers = np.arange(self.plan.problem.batch_size) % self.recorded
        return np.bincount(numbers, minlength=self.recorded)

    @property
    def _numbers(self) -> Ints:
        return np.arange(self.waves * self.plan.samples).reshape(self.waves, self.plan.samples)

    def of_pes(self, values: Ints) -> Ints:
        """[recorded, tiles, ...] values as [samples at once, PEs of a sample, waves, passes, ...].

        0 where there is no sample.
        """
        found = values[self.sample[:, None, :, None], self.tile[None, :, None, :]]
        live = self.live[:, None, :, None]
        return found * live.reshape(live.shape + (1,) * (found.ndim - live.ndim))


@dataclass(frozen=True, kw_only=True)
class _Fills:
    """The stationary operand of every visit.

    Where convolution groups differ each accumulator group has fills of its own. ``is_resident``:
    the PEs' buffers hold a visit's fill, so that all groups of outputs use it; else it is sent
    ``uses`` times. ``bytes`` [waves, passes].
    """

    is_shared: bool
    is_resident: bool
    uses: int
    largest_bytes: int
    bytes: Ints


def map_schedule(
    plan: Plan, costs: BlockCosts, machine: Movement, *, shares_inputs: bool
) -> Schedule:
    """Lay a plan's blocks out in rounds and work out what must move.

    ``shares_inputs``: tiles share inputs instead of exchanging outputs.
    """
    visits = Visits(plan=plan, recorded=costs.counters.shape[0])
    row_of = dict(zip(plan.distinct_blocks, costs.row_of.tolist(), strict=True))
    rows = [
        np.array([row_of[block] for (block,) in rounds if block is not None])
        for rounds in plan.blocks_of_split
    ]
    fills = _fills(visits, costs, machine, max(map(len, rows)))
    entries = costs.streamed_entries.max(0)[visits.tile].max(0)  # [passes, rows]
    stream_bytes = machine.entry_bytes(entries)
    kept = _residency(visits, costs, machine, fills, stream_bytes, rows)
    halo = 0 if shares_inputs else halo_sums(plan, machine.tile_rule)
    resent = [resent_entries(costs, r, visits.sample, visits.live, visits.tile) for r in rows]
    gangs: list[Gang] = []
    own_fills: list[Ints] = []
    for split, of_split in enumerate(rows):
        fill = _fill_numbers(visits, costs, machine, fills, of_split, own_fills)
        again = (
            machine.entry_bytes(entries[:, of_split] + resent[split]) - stream_bytes[:, of_split]
        )
        gangs.append(
            _gang(visits, costs, machine, split, of_split, fill, stream_bytes, again, kept, halo)
        )
    sent = np.repeat(fills.bytes[..., None], fills.uses, 2)
    from_dram = sent.copy()
    if kept.fills_stay:
        from_dram[..., 1:] = 0
    own = np.concatenate(own_fills) if own_fills else None
    counters, stationary_reads, streamed_reads = _totals(visits, costs, rows, entries, resent)
    fill_bytes = sent.reshape(-1) if own is None else own
    capacity = machine.stationary_buffer_bytes // max(fills.largest_bytes, 1)
    return Schedule(
        gangs=gangs,
        fill_bytes=fill_bytes,
        fill_dram_bytes=from_dram.reshape(-1) if own is None else own,
        fill_owner=fill_owners(gangs, len(fill_bytes)),
        fills_held=capacity if fills.is_resident else 1,
        rounds_ahead=kept.rounds_ahead,
        buffer_bytes=kept.held_bytes,
        counters=counters,
        stationary_reads=stationary_reads,
        streamed_reads=streamed_reads,
    )


def _fills(visits: Visits, costs: BlockCosts, machine: Movement, most_rounds: int) -> _Fills:
    """Stationary entries do not depend on the block where every block meets all channels."""
    is_shared = visits.plan.problem.groups == 1
    tile_bytes = machine.entry_bytes(costs.stationary_entries.max(2))
    largest = int(tile_bytes.max())
    is_resident = is_shared and largest <= machine.stationary_buffer_bytes
    return _Fills(
        is_shared=is_shared,
        is_resident=is_resident,
        uses=most_rounds if is_shared and not is_resident else 1,
        largest_bytes=largest,
        bytes=visits.of_pes(tile_bytes).sum((0, 1)),
    )


def _residency(
    visits: Visits,
    costs: BlockCosts,
    machine: Movement,
    fills: _Fills,
    stream_bytes: Ints,
    rows: list[Ints],
) -> Residency:
    """What the global buffer keeps: weights from visit to visit, fills from round to round."""
    weights = costs.streamed_entries[0].max(0)
    return share_buffer(
        size_bytes=machine.buffer_bytes,
        most_ahead=machine.rounds_ahead,
        streams=[int(stream_bytes[:, of_split].max()) for of_split in rows],
        streamed_bytes=int(machine.entry_bytes(sum(int(weights[r].sum()) for r in rows))),
        streamed_uses=visits.waves * visits.passes,
        fill_bytes=int(fills.bytes.max()),
        fills_bytes=int(fills.bytes.sum()),
        fill_uses=fills.uses,
    )


def _fill_numbers(
    visits: Visits,
    costs: BlockCosts,
    machine: Movement,
    fills: _Fills,
    rows: Ints,
    own_fills: list[Ints],
) -> Ints:
    """[waves, passes, rounds] the fill of each round; a gang's own are added to ``own_fills``."""
    shape = (visits.waves, visits.passes, len(rows))
    visit = np.arange(shape[0] * shape[1]).reshape(*shape[:2], 1)
    if fills.is_shared:
        return visit if fills.is_resident else visit * fills.uses + np.arange(len(rows))
    first = sum(map(len, own_fills))
    entries = visits.of_pes(costs.stationary_entries[:, :, rows]).sum((0, 1))
    own_fills.append(machine.entry_bytes(entries).reshape(-1))
    return first + np.arange(np.prod(shape)).reshape(shape)


def _gang(
    visits: Visits,
    costs: BlockCosts,
    machine: Movement,
    split: int,
    rows: Ints,
    fill: Ints,
    stream_bytes: Ints,
    again: Ints,
    kept: Residency,
    halo: int,
) -> Gang:
    """The rounds of one output split, whose blocks have ``rows`` of the costs.

    ``again``: [waves, passes, rounds] bytes of lists that are sent more than once.
    """
    plan, tile = visits.plan, visits.tile
    pes = plan.samples * plan.rows * plan.cols
    blocks = [block for (block,) in plan.blocks_of_split[split] if block is not None]
    outputs = np.array([block.o1 - block.o0 for block in blocks])
    shape = (visits.waves, visits.passes, len(rows))

    def per_round(values: Any) -> Ints:
        return np.broadcast_to(values, shape).reshape(-1).astype(np.int64)

    from_dram = np.broadcast_to(stream_bytes[:, rows], shape).copy()
    if kept.streams_stay:
        from_dram.reshape(-1, len(rows))[1:] = 0
    meets = machine.barrier == "input_channel"
    drifts = not meets and pes > 1 and bool(costs.channel_cycles)
    channel_args = (costs, rows, visits.sample, visits.live, tile)
    word = machine.dispatch_latency
    lockstep: Any = lockstep_cycles(*channel_args, word) if meets else -1
    owned = np.array([t.owned_outputs for t in plan.tiles])[tile]  # [PEs of a sample, passes]
    reached = np.array([t.reached_outputs for t in plan.tiles])[tile]
    samples = visits.live.sum(0)[:, None, None]  # [waves, 1, 1]
    held = reached.max(0)[:, None] * outputs
    spilt = (reached - owned).clip(0).sum(0)[:, None]
    return Gang(
        pes=np.arange(split * pes, (split + 1) * pes),
        busy_cycles=visits.of_pes(costs.counters[..., CYCLES][:, :, rows]).reshape(pes, -1),
        lockstep_cycles=per_round(lockstep),
        fill=per_round(fill),
        stream_bytes=per_round(stream_bytes[:, rows] + again),
        stream_dram_bytes=per_round(from_dram),
        exchange_cycles=per_round(-(-outputs * halo // machine.partial_sums_per_cycle)),
        drain_cycles=per_round(machine.drain_cycles(held)),
        output_bytes=per_round(owned.sum(0)[:, None] * outputs * samples * machine.value_bytes),
        exchanged_sums=per_round(spilt * outputs * samples),
        drained_entries=per_round(reached.sum(0)[:, None] * outputs * samples),
        lists=lists_of_rounds(*channel_args) if drifts else None,
    )


def _totals(
    visits: Visits,
    costs: BlockCosts,
    rows: list[Ints],
    stream_entries: Ints,
    resent: list[Ints],
) -> tuple[Ints, int, int]:
    """Kernel counters of the whole layer-phase; stationary and streamed entries that PEs read."""
    plan = visits.plan
    counters: Ints = np.zeros(costs.counters.shape[-1], np.int64)
    stationary_reads = streamed_reads = 0
    samples = visits.live.sum(0)[:, None, None]
    for of_split, again in zip(rows, resent, strict=True):
        for row, count in zip(*np.unique(of_split, return_counts=True), strict=True):
            counters += visits.times @ costs.counters[:, :, row].sum(1) * count
            entries = visits.times @ costs.stationary_entries[:, :, row].sum(1)
            stationary_reads += int(entries * count)
        sent = (stream_entries[:, of_split] + again) * samples
        streamed_reads += int(sent.sum()) * plan.rows * plan.cols
    return counters, stationary_reads, streamed_reads
