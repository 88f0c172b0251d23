"""What the fabric executes: for each gang of PEs, rounds of computing, loading and draining.

A *gang* is a set of PEs that share one stream of operands. A *round* is one accumulator group on
each of the gang's PEs. Rounds with the same *fill* work on the same stationary operand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gscn_sim.config import Config
from gscn_sim.costs import BlockCosts
from gscn_sim.geometry import Ints
from gscn_sim.kernels.pairing import CYCLES, N_COUNTERS
from gscn_sim.mapping.plan import Plan, padded_tile_size
from gscn_sim.units import ceil_div


@dataclass(frozen=True, kw_only=True)
class Gang:
    """The rounds of one gang; all arrays are per round, ``cycles`` per (PE, round).

    Attributes:
        pes: PE numbers. busy_cycles: [pes, rounds] cycles of the multiplier arrays.
        lockstep_cycles: cycles of the whole gang where it meets after every channel, else -1.
        fill: index of the stationary fill a round needs.
        stream_bytes: streamed operand sent over the network for the round.
        stream_dram_bytes: part of it that must first come from DRAM.
        exchange_cycles, drain_cycles: halo exchange or reduction, and post-processing, of one PE.
        output_bytes: bytes written to DRAM at the end of the round.
    """

    pes: Ints
    busy_cycles: Ints
    lockstep_cycles: Ints
    fill: Ints
    stream_bytes: Ints
    stream_dram_bytes: Ints
    exchange_cycles: Ints
    drain_cycles: Ints
    output_bytes: Ints
    exchanged_sums: Ints
    drained_entries: Ints

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return len(self.fill)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """All gangs, and the stationary fills that they share.

    ``fill_bytes`` [fills] come from DRAM over the network, in order for each ``fill_owner`` (a
    gang, or -1 if several use it); the buffers hold ``fills_held`` of them at a time, so that the
    next ones can be loaded while the present one is used.
    ``counters`` are the kernels' totals over the whole layer-phase.
    """

    gangs: list[Gang]
    fill_bytes: Ints
    fill_owner: Ints
    fills_held: int
    counters: Ints
    stationary_reads: int
    streamed_reads: int


def make_schedule(plan: Plan, costs: BlockCosts, config: Config) -> Schedule:
    """Lay a plan's blocks out in rounds and work out what must move."""
    if plan.problem.is_wgrad:
        return _wgrad_schedule(plan, costs, config)
    return _maps_schedule(plan, costs, config)


def _entry_bytes(config: Config, entries: Any) -> Any:
    """Bytes of compressed entries: a value and a zero-run length each."""
    bits = 8 * config.pe.value_bytes + config.pe.index_bits
    return -(-entries * bits // 8)


def _maps_schedule(plan: Plan, costs: BlockCosts, config: Config) -> Schedule:
    """forward and dgrad: rounds are (wave of samples, pass, accumulator group)."""
    problem = plan.problem
    recorded = costs.counters.shape[0]
    waves = ceil_div(problem.batch_size, plan.samples)
    passes = plan.passes[0] * plan.passes[1]
    tiles = plan.tiles
    # Stationary entries do not depend on the block where every block meets all channels.
    shared = problem.groups == 1
    any_entries = costs.stationary_entries  # [n, T, B]
    tile_bytes = _entry_bytes(config, any_entries.max(2) if any_entries.size else any_entries)
    capacity = config.pe.stationary_buffer_bytes
    largest = int(tile_bytes.max()) if tile_bytes.size else 0
    resident = shared and largest <= capacity
    total_weights = _weights_bytes(plan, costs, config)
    weights_stay = total_weights <= config.buffer.size_bytes

    sample_of = [
        [(wave * plan.samples + ns) for ns in range(plan.samples)] for wave in range(waves)
    ]
    gangs = []
    fills: list[int] = []
    totals = np.zeros(N_COUNTERS, np.int64)
    stationary_reads = streamed_reads = 0
    halo = _halo(plan, config)
    grid = plan.rows * plan.cols
    # PE (ns, row, col) of a gang works on tile_of[grid position, pass].
    tile_of = np.array(
        [
            [plan.tile_index(r, c, p) for p in range(passes)]
            for r in range(plan.rows)
            for c in range(plan.cols)
        ]
    )
    if resident:
        for wave in range(waves):
            for p in range(passes):
                live = [n % recorded for n in sample_of[wave] if n < problem.batch_size]
                fills.append(int(sum(tile_bytes[s, tile_of[:, p]].sum() for s in live)))
    owned = np.array([t.owned_outputs for t in tiles])
    reached = np.array([t.reached_outputs for t in tiles])
    for split in range(plan.outputs):
        blocks = [row[0] for row in plan.blocks_of_split[split]]
        rounds = waves * passes * len(blocks)
        pes = plan.samples * grid
        busy = np.zeros((pes, rounds), np.int64)
        lockstep = np.full(rounds, -1, np.int64)
        per_round: dict[str, list[int]] = {
            key: []
            for key in (
                "fill", "stream_bytes", "stream_dram_bytes", "exchange_cycles", "drain_cycles",
                "output_bytes", "exchanged_sums", "drained_entries",
            )
        }  # fmt: skip
        r = 0
        for wave in range(waves):
            live = [n % recorded for n in sample_of[wave] if n < problem.batch_size]
            rows = len(live) * grid
            for p in range(passes):
                where = tile_of[:, p]
                for block in blocks:
                    assert block is not None
                    b = costs.index[block]
                    picked = costs.counters[live][:, where, b]  # [live, grid, counters]
                    busy[:rows, r] = picked[..., CYCLES].reshape(-1)
                    totals += picked.sum((0, 1))
                    if costs.channel_cycles:
                        chosen = costs.channel_cycles[b][live][:, where]
                        lockstep[r] = int(chosen.max((0, 1)).sum()) if chosen.size else 0
                    entries = costs.stationary_entries[live][:, where, b]
                    stationary_reads += int(entries.sum())
                    stream_entries = int(costs.streamed_entries[:, where, b].max(initial=0))
                    stream_bytes = int(_entry_bytes(config, stream_entries))
                    streamed_reads += stream_entries * rows
                    first_use = wave == 0 and p == 0
                    outputs = block.o1 - block.o0
                    if resident:
                        per_round["fill"].append(wave * passes + p)
                    else:
                        per_round["fill"].append(len(fills))
                        fills.append(int(_entry_bytes(config, entries).sum()))
                    per_round["stream_bytes"].append(stream_bytes)
                    per_round["stream_dram_bytes"].append(
                        stream_bytes if first_use or not weights_stay else 0
                    )
                    reach = int(reached[where].max(initial=0)) * outputs
                    per_round["exchange_cycles"].append(
                        ceil_div(outputs * halo, config.network.partial_sums_per_cycle)
                    )
                    per_round["drain_cycles"].append(_drain_cycles(config, reach))
                    per_round["output_bytes"].append(
                        int(owned[where].sum()) * len(live) * outputs * config.pe.value_bytes
                    )
                    spill = int((reached[where] - owned[where]).clip(0).sum())
                    per_round["exchanged_sums"].append(spill * outputs * len(live))
                    per_round["drained_entries"].append(
                        int(reached[where].sum()) * outputs * len(live)
                    )
                    r += 1
        first_pe = split * pes
        gangs.append(
            Gang(
                pes=np.arange(first_pe, first_pe + pes),
                busy_cycles=busy,
                lockstep_cycles=lockstep,
                **{key: np.array(values, np.int64) for key, values in per_round.items()},
            )
        )
    return Schedule(
        gangs=gangs,
        fill_bytes=np.array(fills, np.int64),
        fill_owner=_owners(gangs, len(fills)),
        fills_held=max(1, capacity // max(largest, 1)) if resident else 2,
        counters=totals,
        stationary_reads=stationary_reads,
        streamed_reads=streamed_reads,
    )


def _weights_bytes(plan: Plan, costs: BlockCosts, config: Config) -> int:
    total = 0
    for split in plan.blocks_of_split:
        for (block,) in split:
            assert block is not None
            total += int(costs.streamed_entries[0, :, costs.index[block]].max(initial=0))
    return int(_entry_bytes(config, total))


def _wgrad_schedule(plan: Plan, costs: BlockCosts, config: Config) -> Schedule:
    """wgrad: rounds are accumulator groups, each over all of a PE's samples and its tile."""
    problem = plan.problem
    recorded = costs.counters.shape[0]
    # How often each sample split runs each recorded sample.
    times = np.zeros((plan.samples, recorded), np.int64)
    for n in range(problem.batch_size):
        times[n % plan.samples, n % recorded] += 1
    grid = plan.rows * plan.cols
    splits = plan.samples * grid
    cycles = np.einsum("sn,ntb->stb", times, costs.counters[..., CYCLES])
    stationary = np.einsum("sn,ntb->stb", times, costs.stationary_entries)
    streamed = np.einsum("sn,ntb->stb", times, costs.streamed_entries)
    sums = np.einsum("sn,ntbk->bk", times, costs.counters)
    kernel = problem.output_plane[0] * problem.output_plane[1]
    capacity = config.pe.stationary_buffer_bytes
    resident = int(_entry_bytes(config, stationary).max(initial=0)) <= capacity
    gradient_bytes = _gradient_bytes(plan, streamed, costs, config)
    gradients_stay = gradient_bytes <= config.buffer.size_bytes
    fills: list[int] = []
    fill_key: dict[tuple[object, ...], int] = {}
    seen: set[tuple[int, int]] = set()
    gangs = []
    totals = np.zeros(N_COUNTERS, np.int64)
    stationary_reads = streamed_reads = 0
    for split in range(plan.outputs):
        rounds = plan.blocks_of_split[split]
        pes = splits * plan.inputs
        busy = np.zeros((plan.samples, grid, plan.inputs, len(rounds)), np.int64)
        rows: list[tuple[int, ...]] = []
        for r, row in enumerate(rounds):
            here = [(i, b) for i, b in enumerate(row) if b is not None]
            fill_bytes = entries_out = written = 0
            for i, block in here:
                b = costs.index[block]
                busy[:, :, i, r] = cycles[:, :, b]
                totals += sums[b]
                stationary_reads += int(stationary[:, :, b].sum())
                streamed_reads += int(streamed[:, :, b].sum())
                own = int(_entry_bytes(config, stationary[:, :, b]).sum())
                # Windows of neighbouring tiles overlap: shared values are read and sent once.
                plane = int(_entry_bytes(config, costs.plane_entries[:, b] @ times.sum(0)))
                fill_bytes += min(own, plane)
                held = (block.o1 - block.o0) * (block.c1 - block.c0) * kernel
                entries_out = max(entries_out, held)
                written += held
            first = here[0][1]
            stream = int(_entry_bytes(config, streamed[:, :, costs.index[first]]).sum())
            key: tuple[object, ...] = tuple((b.c0, b.c1) for _, b in here)
            if not resident:
                key = (split, r)
            if key not in fill_key:
                fill_key[key] = len(fills)
                fills.append(fill_bytes)
            again = (first.o0, first.o1) in seen
            seen.add((first.o0, first.o1))
            exchange = ceil_div(
                entries_out * (splits - 1), splits * config.network.partial_sums_per_cycle
            )
            rows.append(
                (
                    fill_key[key],
                    stream,
                    0 if again and gradients_stay else stream,
                    exchange,
                    _drain_cycles(config, entries_out),
                    written * config.pe.value_bytes,
                    written * (splits - 1),
                    written * splits,
                )
            )
        columns = np.array(rows, np.int64).T
        gangs.append(
            Gang(
                pes=np.arange(split * pes, (split + 1) * pes),
                busy_cycles=busy.reshape(pes, len(rounds)),
                lockstep_cycles=np.full(len(rounds), -1, np.int64),
                fill=columns[0],
                stream_bytes=columns[1],
                stream_dram_bytes=columns[2],
                exchange_cycles=columns[3],
                drain_cycles=columns[4],
                output_bytes=columns[5],
                exchanged_sums=columns[6],
                drained_entries=columns[7],
            )
        )
    largest = int(_entry_bytes(config, stationary).max(initial=0))
    return Schedule(
        gangs=gangs,
        fill_bytes=np.array(fills, np.int64),
        fill_owner=_owners(gangs, len(fills)),
        fills_held=max(1, capacity // max(largest, 1)) if resident else 2,
        counters=totals,
        stationary_reads=stationary_reads,
        streamed_reads=streamed_reads,
    )


def _owners(gangs: list[Gang], fills: int) -> Ints:
    owners = np.full(fills, -2, np.int64)  # -2: nobody yet
    for number, gang in enumerate(gangs):
        for fill in np.unique(gang.fill):
            owners[fill] = number if owners[fill] == -2 else -1
    return owners


def _gradient_bytes(plan: Plan, streamed: Ints, costs: BlockCosts, config: Config) -> int:
    """Compressed bytes of the whole gradient, once."""
    rows: dict[tuple[int, int], int] = {}
    for split in plan.blocks_of_split:
        for row in split:
            for block in row:
                if block is not None:
                    rows[block.o0, block.o1] = costs.index[block]
    return sum(int(_entry_bytes(config, streamed[:, :, b]).sum()) for b in rows.values())


def _drain_cycles(config: Config, entries: int) -> int:
    rate = config.drain.entries_per_cycle
    return ceil_div(entries, rate) if rate else 0


def _halo(plan: Plan, config: Config) -> int:
    """Partial sums one output channel exchanges over the busiest of the eight neighbour links."""
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
        sides.append((max(low, 0), middle, max(high, 0)))
    ys, xs = sides
    return max(ys[i] * xs[j] for i in range(3) for j in range(3) if (i, j) != (1, 1))


def _axis(region: tuple[int, int, int, int], axis: int) -> tuple[int, int]:
    return region[2 * axis], region[2 * axis + 1]
