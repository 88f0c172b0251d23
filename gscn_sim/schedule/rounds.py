"""From a plan and what its blocks cost to the schedule that the fabric executes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gscn_sim.config import Config
from gscn_sim.dataflows.costs import BlockCosts
from gscn_sim.kernels.pairing import CYCLES
from gscn_sim.mapping.plan import Plan, padded_tile_size
from gscn_sim.problem.geometry import Ints
from gscn_sim.schedule.model import Gang, Lists, Schedule
from gscn_sim.schedule.residency import entry_bytes, share_buffer
from gscn_sim.units import ceil_div

# Configuration that no schedule depends on: what the fabric does with it in time.
SCHEDULE_FREE = ("array.clock_ghz", "dram", "drain.overlap", "drain.staging_rounds")


def make_schedule(plan: Plan, costs: BlockCosts, config: Config, times: Ints) -> Schedule:
    """Lay a plan's blocks out in rounds and work out what must move.

    ``times`` is what :func:`gscn_sim.mapping.balance.deal_units` dealt (used by wgrad).
    """
    if plan.problem.is_wgrad:
        return _wgrad_schedule(plan, costs, config, times)
    return _maps_schedule(plan, costs, config)


def _maps_schedule(plan: Plan, costs: BlockCosts, config: Config) -> Schedule:
    """forward and dgrad: rounds are (wave of samples, pass, accumulator group)."""
    problem = plan.problem
    recorded = costs.counters.shape[0]
    waves = ceil_div(problem.batch_size, plan.samples)
    passes = plan.passes[0] * plan.passes[1]
    numbers = np.arange(waves * plan.samples).reshape(waves, plan.samples)
    live = (numbers < problem.batch_size).T  # [samples at once, waves]
    sample = (numbers % recorded).T
    tile = np.array(
        [
            [plan.tile_index(r, c, p) for p in range(passes)]
            for r in range(plan.rows)
            for c in range(plan.cols)
        ]
    )  # [PEs of a sample, passes]
    at = (sample[:, None, :, None], tile[None, :, None, :])  # [samples, tiles, waves, passes]
    at_live = live[:, None, :, None]
    times = np.bincount(np.arange(problem.batch_size) % recorded, minlength=recorded)

    # Stationary entries do not depend on the block where every block meets all channels.
    shared = problem.groups == 1
    tile_bytes = entry_bytes(config, costs.stationary_entries.max(2))
    fill_bytes = (tile_bytes[at] * at_live).sum((0, 1))  # [waves, passes]
    capacity = config.pe.stationary_buffer_bytes
    largest = int(tile_bytes.max())
    resident = shared and largest <= capacity
    indices = [
        np.array([costs.index[row[0]] for row in split if row[0] is not None])
        for split in plan.blocks_of_split
    ]
    most_blocks = max(len(index) for index in indices)
    uses = most_blocks if shared and not resident else 1
    stream_entries = costs.streamed_entries.max(0)[tile].max(0)  # [passes, B]
    stream_bytes = entry_bytes(config, stream_entries)
    reuse = share_buffer(
        config,
        streams=[int(stream_bytes[:, index].max()) for index in indices],
        streamed_bytes=_weights_bytes(indices, costs, config),
        streamed_uses=waves * passes,
        fill_bytes=int(fill_bytes.max()),
        fills_bytes=int(fill_bytes.sum()),
        fill_uses=uses,
    )
    fills = np.repeat(fill_bytes[..., None], uses, 2)
    fills_from_dram = fills.copy()
    if reuse.fills_stay:
        fills_from_dram[..., 1:] = 0
    visit = np.arange(waves * passes).reshape(waves, passes, 1)
    own_fills: list[Ints] = []

    owned = np.array([t.owned_outputs for t in plan.tiles])
    reached = np.array([t.reached_outputs for t in plan.tiles])
    alive = live.sum(0)[:, None, None]  # [waves, 1, 1]
    halo = _halo(plan, config)
    gangs = []
    counters: Ints = np.zeros(costs.counters.shape[-1], np.int64)
    stationary_reads = streamed_reads = 0
    pes = plan.samples * plan.rows * plan.cols
    met = config.policy.barrier == "input_channel"
    limited = not met and pes > 1 and bool(costs.channel_cycles)
    for split, index in enumerate(indices):
        blocks = [row[0] for row in plan.blocks_of_split[split]]
        outputs = np.array([b.o1 - b.o0 for b in blocks if b is not None])
        shape = (waves, passes, len(index))

        def per_round(values: Any, shape: tuple[int, ...] = shape) -> Ints:
            return np.broadcast_to(values, shape).reshape(-1).astype(np.int64)

        cycles = costs.counters[..., CYCLES][:, :, index][at]  # [samples, tiles, *shape]
        busy = (cycles * at_live[..., None]).reshape(pes, -1)
        for row, count in zip(*np.unique(index, return_counts=True), strict=True):
            counters += times @ costs.counters[:, :, row].sum(1) * count
            stationary_reads += int(times @ costs.stationary_entries[:, :, row].sum(1) * count)
        streamed_reads += int((stream_entries[:, index] * alive).sum()) * plan.rows * plan.cols
        if shared:
            fill = visit if resident else visit * uses + np.arange(len(index))
        else:
            entries = costs.stationary_entries[:, :, index][at] * at_live[..., None]
            first = sum(len(f) for f in own_fills)
            own_fills.append(entry_bytes(config, entries.sum((0, 1))).reshape(-1))
            fill = first + np.arange(waves * passes * len(index)).reshape(shape)
        from_dram = np.broadcast_to(stream_bytes[:, index], shape).copy()
        if reuse.streams_stay:
            from_dram.reshape(-1, len(index))[1:] = 0
        spill = (reached - owned).clip(0)[tile].sum(0)[:, None]  # [passes, 1]
        held = reached[tile].max(0)[:, None] * outputs
        gangs.append(
            Gang(
                pes=np.arange(split * pes, (split + 1) * pes),
                busy_cycles=busy,
                lockstep_cycles=per_round(
                    _lockstep(costs, index, sample, live, tile) if met else -1
                ),
                fill=per_round(fill),
                stream_bytes=per_round(stream_bytes[:, index]),
                stream_dram_bytes=per_round(from_dram),
                exchange_cycles=per_round(
                    -(-outputs * halo // config.network.partial_sums_per_cycle)
                ),
                drain_cycles=per_round(_drain_cycles(config, held)),
                output_bytes=per_round(
                    owned[tile].sum(0)[:, None] * outputs * alive * config.pe.value_bytes
                ),
                exchanged_sums=per_round(spill * outputs * alive),
                drained_entries=per_round(reached[tile].sum(0)[:, None] * outputs * alive),
                lists=_lists(costs, index, sample, live, tile) if limited else None,
            )
        )
    sent = fills.reshape(-1) if shared else np.concatenate(own_fills)
    return Schedule(
        gangs=gangs,
        fill_bytes=sent,
        fill_dram_bytes=fills_from_dram.reshape(-1) if shared else sent,
        fill_owner=_owners(gangs, len(sent)),
        fills_held=capacity // max(largest, 1) if resident else 1,
        rounds_ahead=reuse.rounds_ahead,
        counters=counters,
        stationary_reads=stationary_reads,
        streamed_reads=streamed_reads,
    )


def _lockstep(costs: BlockCosts, index: Ints, sample: Ints, live: Any, tile: Ints) -> Ints:
    """[waves, passes, blocks] cycles of PEs that meet after every channel; -1 if they do not."""
    waves, passes = sample.shape[1], tile.shape[1]
    found = np.full((waves, passes, len(index)), -1, np.int64)
    if not costs.channel_cycles:
        return found
    known: dict[tuple[object, ...], int] = {}
    for wave in range(waves):
        samples = np.unique(sample[live[:, wave], wave])
        for p in range(passes):
            for i, row in enumerate(index.tolist()):
                key = (samples.tobytes(), p, row)
                if key not in known:
                    chosen = costs.channel_cycles[row][samples][:, tile[:, p]]
                    known[key] = int(chosen.max((0, 1)).sum())
                found[wave, p, i] = known[key]
    return found


def _lists(costs: BlockCosts, index: Ints, sample: Ints, live: Any, tile: Ints) -> Lists:
    """The streamed lists of a gang's rounds (wave, pass, block)."""
    pattern: list[int] = []
    cycles: list[Ints] = []
    entries: list[Ints] = []
    known: dict[tuple[object, ...], int] = {}
    for wave in range(sample.shape[1]):
        samples, there = sample[:, wave], live[:, wave]
        for p in range(tile.shape[1]):
            for row in index.tolist():
                key = (samples.tobytes(), there.tobytes(), p, row)
                if key not in known:
                    known[key] = len(cycles)
                    own = costs.channel_cycles[row][samples][:, tile[:, p]]
                    own = own * there[:, None, None]  # [samples, tiles, lists]
                    cycles.append(own.reshape(-1, own.shape[-1]).astype(np.int64))
                    entries.append(costs.channel_entries[row])
                pattern.append(known[key])
    return Lists(pattern=pattern, cycles=cycles, entries=entries)


def _weights_bytes(indices: list[Ints], costs: BlockCosts, config: Config) -> int:
    """Compressed bytes of all weights, once."""
    entries = costs.streamed_entries[0].max(0)  # [B]
    return int(entry_bytes(config, sum(int(entries[index].sum()) for index in indices)))


def _wgrad_schedule(plan: Plan, costs: BlockCosts, config: Config, times: Ints) -> Schedule:
    """wgrad: rounds are accumulator groups, each over all units (sample, tile) of its PEs."""
    problem = plan.problem
    splits = len(times)
    cycles = np.einsum("unt,ntb->ub", times, costs.counters[..., CYCLES])
    stationary = np.einsum("unt,ntb->ub", times, costs.stationary_entries)
    streamed = np.einsum("unt,ntb->ub", times, costs.streamed_entries)
    totals = np.einsum("nt,ntbk->bk", times.sum(0), costs.counters)
    # Windows of neighbouring tiles overlap: PEs are sent both, DRAM is read once.
    sent = entry_bytes(config, stationary).sum(0)
    plane = entry_bytes(config, times.sum(0).sum(1) // len(plan.tiles) @ costs.plane_entries)
    from_dram = np.minimum(sent, plane)
    stream_of = entry_bytes(config, streamed).sum(0)
    kernel = problem.output_plane[0] * problem.output_plane[1]
    capacity = config.pe.stationary_buffer_bytes
    largest = int(entry_bytes(config, stationary).max())
    resident = largest <= capacity

    # Rounds with the same first stationary channel use the same fill, one after the other.
    keys: list[list[tuple[int, int]]] = []
    index_of: list[Ints] = []  # per output split [rounds, inputs], -1 where there is no block
    held_of: list[Ints] = []
    fill_at: dict[tuple[int, int], tuple[int, int]] = {}
    for rounds in plan.blocks_of_split:
        uses: dict[int, int] = {}
        mine = []
        rows = np.full((len(rounds), plan.inputs), -1, np.int64)
        held = np.zeros((len(rounds), plan.inputs), np.int64)
        for r, row in enumerate(rounds):
            for i, block in enumerate(row):
                if block is not None:
                    rows[r, i] = costs.index[block]
                    held[r, i] = (block.o1 - block.o0) * (block.c1 - block.c0) * kernel
            first = min(block.c0 for block in row if block is not None)
            turn = uses.get(first, 0)
            uses[first] = turn + 1
            key = (first, 0 if resident else turn)
            mine.append(key)
            if key not in fill_at:
                here = rows[r][rows[r] >= 0]
                fill_at[key] = int(sent[here].sum()), int(from_dram[here].sum())
        keys.append(mine)
        index_of.append(rows)
        held_of.append(held)
    order = sorted(fill_at)
    number = {key: i for i, key in enumerate(order)}
    once = [key for key in order if key[1] == 0]
    first_blocks = [rows[np.arange(len(rows)), (rows >= 0).argmax(1)] for rows in index_of]
    gradient_bytes, steps = _gradient_bytes(plan, stream_of, costs)
    reuse = share_buffer(
        config,
        streams=[int(stream_of[first].max()) for first in first_blocks],
        streamed_bytes=gradient_bytes,
        streamed_uses=steps,
        fill_bytes=max(fill_at[key][1] for key in once),
        fills_bytes=sum(fill_at[key][1] for key in once),
        fill_uses=ceil_div(len(order), len(once)),
    )
    fills_from_dram = [
        0 if turn > 0 and reuse.fills_stay else fill_at[first, turn][1] for first, turn in order
    ]

    gangs = []
    counters: Ints = np.zeros(costs.counters.shape[-1], np.int64)
    stationary_reads = streamed_reads = 0
    pes = splits * plan.inputs
    for split, rounds in enumerate(plan.blocks_of_split):
        rows, first = index_of[split], first_blocks[split]
        there = rows[rows >= 0]
        counters += totals[there].sum(0)
        stationary_reads += int(stationary[:, there].sum())
        streamed_reads += int(streamed[:, there].sum())
        busy = cycles[:, rows.T] * (rows.T >= 0)  # [splits, inputs, rounds]
        stream = stream_of[first]
        seen: set[tuple[int, int]] = set()
        again = np.zeros(len(rounds), np.bool_)
        for r, row in enumerate(rounds):
            outputs = next((b.o0, b.o1) for b in row if b is not None)
            again[r] = outputs in seen
            seen.add(outputs)
        most, written = held_of[split].max(1), held_of[split].sum(1)
        exchange = splits * config.network.partial_sums_per_cycle
        gangs.append(
            Gang(
                pes=np.arange(split * pes, (split + 1) * pes),
                busy_cycles=busy.reshape(pes, len(rounds)),
                lockstep_cycles=np.full(len(rounds), -1, np.int64),
                fill=np.array([number[key] for key in keys[split]], np.int64),
                stream_bytes=stream,
                stream_dram_bytes=np.where(again & reuse.streams_stay, 0, stream),
                exchange_cycles=-(-most * (splits - 1) // exchange),
                drain_cycles=_drain_cycles(config, most),
                output_bytes=written * config.pe.value_bytes,
                exchanged_sums=written * (splits - 1),
                drained_entries=written * splits,
            )
        )
    return Schedule(
        gangs=gangs,
        fill_bytes=np.array([fill_at[key][0] for key in order], np.int64),
        fill_dram_bytes=np.array(fills_from_dram, np.int64),
        fill_owner=_owners(gangs, len(order)),
        fills_held=capacity // max(largest, 1) if resident else 1,
        rounds_ahead=reuse.rounds_ahead,
        counters=counters,
        stationary_reads=stationary_reads,
        streamed_reads=streamed_reads,
    )


def _gradient_bytes(plan: Plan, stream_of: Ints, costs: BlockCosts) -> tuple[int, int]:
    """Compressed bytes of the whole gradient, once; and how often it streams by."""
    row_of: dict[tuple[int, int], int] = {}
    rounds = 0
    for split in plan.blocks_of_split:
        rounds += len(split)
        for row in split:
            for block in row:
                if block is not None:
                    row_of[block.o0, block.o1] = costs.index[block]
    return int(stream_of[list(row_of.values())].sum()), ceil_div(rounds, len(row_of))


def _owners(gangs: list[Gang], fills: int) -> Ints:
    owners = np.full(fills, -2, np.int64)  # -2: nobody yet
    for number, gang in enumerate(gangs):
        used = np.unique(gang.fill)
        owners[used] = np.where(owners[used] == -2, number, -1)
    return owners


def _drain_cycles(config: Config, entries: Ints) -> Ints:
    rate = config.drain.entries_per_cycle
    return -(-entries // rate) if rate else np.zeros_like(entries)


def _halo(plan: Plan, config: Config) -> int:
    """Partial sums one output channel exchanges over the busiest of the eight neighbour links."""
    if plan.dataflow == "dense":  # its tiles share inputs instead
        return 0
    rows, cols = plan.rows * plan.passes[0], plan.cols * plan.passes[1]
    sides = []
    for axis, parts in enumerate((rows, cols)):
        if config.mapping.tile_rule == "padded":
            shape = plan.problem.shape
            pad, kernel = shape.padding[axis], (shape.R, shape.S)[axis]
            side = padded_tile_size(plan.problem, axis, parts)
            sides.append((max(0, kernel - 1 - pad), side, pad))
            continue
        low = high = middle = 0
        for tile in plan.tiles:
            if tile.is_empty:
                continue
            reached, owned = _axis(tile.reached, axis), _axis(tile.owned, axis)
            low = max(low, owned[0] - reached[0])
            high = max(high, reached[1] - owned[1])
            middle = max(middle, owned[1] - owned[0])
        sides.append((low, middle, high))
    ys, xs = sides
    return max(ys[i] * xs[j] for i in range(3) for j in range(3) if (i, j) != (1, 1))


def _axis(region: tuple[int, int, int, int], axis: int) -> tuple[int, int]:
    return region[2 * axis], region[2 * axis + 1]
