"""What each accumulator group of a plan costs on each tile: the compiled kernels' answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.config import Config
from gscn_sim.dataflows.dense import dense_counters, dense_entries
from gscn_sim.kernels.banks import BANK_HASHES
from gscn_sim.kernels.cartesian import cartesian_tiles
from gscn_sim.kernels.pairing import N_COUNTERS
from gscn_sim.kernels.positional import pixel_entries, positional_tiles
from gscn_sim.mapping.balance import ChannelOrder, deal_order, dealt
from gscn_sim.mapping.plan import Block, Plan, tile_array
from gscn_sim.problem.geometry import Ints, Operands
from gscn_sim.results.provenance import code_digest
from gscn_sim.run.memo import Cache

NO_VALUES = np.empty(0, np.float64)
_COST_FREE = ("problem", "kind", "samples", "reason")
"""Fields of a plan that block costs do not depend on (of the problem: phase and shape count)."""


@dataclass(frozen=True, kw_only=True)
class BlockCosts:
    """Costs of every distinct block on every tile for each recorded sample.

    Attributes:
        index: block -> row of the arrays; equal blocks share a row.
        counters: [samples, T, B, N_COUNTERS].
        stationary_entries, streamed_entries: [samples, T, B] list entries, placeholders counted.
        plane_entries: [samples, B] stationary entries of the whole plane (wgrad), where tiles with
            overlapping windows are counted once.
        channel_cycles, channel_entries: block row -> [samples, T, channels] cycles of each channel
            and [channels] streamed entries that it meets, where PEs wait between channels.
    """

    index: dict[Block, int]
    counters: Ints
    stationary_entries: Ints
    streamed_entries: Ints
    plane_entries: Ints
    channel_cycles: dict[int, Ints]
    channel_entries: dict[int, Ints]


def machine_array(config: Config, dataflow: str) -> Ints:
    """The machine as the kernels read it (MACHINE_FIELDS)."""
    pe = config.pe
    return np.array(
        [
            pe.stationary_vector,
            pe.streamed_vector,
            pe.bank_queue_depth,
            pe.accumulator_banks,
            BANK_HASHES[pe.bank_hash],
            1 << pe.index_bits,
            dataflow == "anticipated",
            pe.anticipator_vectors,
        ],
        np.int64,
    )


@dataclass(frozen=True, kw_only=True)
class CostQuestion:
    """What the costs of a plan's blocks depend on, and the way to them."""

    plan: Plan
    operands: Operands
    config: Config

    @cached_property
    def order(self) -> ChannelOrder:
        """Channels as they are dealt to the PEs."""
        return deal_order(self.plan, self.operands, self.config)

    @cached_property
    def digest(self) -> str:
        """Digest of all of it: code, masks, tiles and blocks, the PE."""
        plan, config = self.plan, self.config
        facts = (
            code_digest(),
            self.operands.digest,
            *(plan.problem.phase, plan.problem.shape),
            *(getattr(plan, field.name) for field in fields(plan) if field.name not in _COST_FREE),
            *machine_array(config, plan.dataflow).tolist(),
            *(config.pe.bank_hash, _by_channel(config)),
        )
        digest = hashlib.sha256(repr(facts).encode())
        digest.update(self.order.stationary.tobytes() + self.order.outputs.tobytes())
        return digest.hexdigest()

    def answer(self, cache: Cache) -> BlockCosts:
        """The costs, from the cache where known."""
        blocks = self.plan.distinct_blocks

        def compute() -> tuple[Ints, BlockCosts]:
            costs = block_costs(self.plan, dealt(self.operands, self.order), self.config)
            rows = np.array([costs.index[block] for block in blocks])
            return rows, replace(costs, index={})  # thousands of blocks are slow to pickle

        def restore(kept: tuple[Ints, BlockCosts]) -> BlockCosts:
            rows, costs = kept
            return replace(costs, index=dict(zip(blocks, rows.tolist(), strict=True)))

        costs: BlockCosts = cache.get_on_disk(self.digest, compute, restore)
        return costs


def block_costs(plan: Plan, operands: Operands, config: Config) -> BlockCosts:
    """Run the kernels for every distinct block of a plan."""
    index: dict[Block, int] = {}
    representatives: list[Block] = []
    rows: dict[object, int] = {}
    for block in plan.distinct_blocks:
        key = _content_key(plan, operands, config, block)
        if key not in rows:
            rows[key] = len(representatives)
            representatives.append(block)
        index[block] = rows[key]
    if plan.dataflow == "dense":
        return _dense_costs(plan, config, index, representatives)
    if plan.dataflow == "positional":
        return _positional_costs(plan, operands, config, index, representatives)
    return _cartesian_costs(plan, operands, config, index, representatives)


def _by_channel(config: Config) -> bool:
    """Whether PEs wait for each other between the channels of an accumulator group."""
    return config.policy.barrier == "input_channel" or config.policy.drift == "fifo"


def _content_key(plan: Plan, operands: Operands, config: Config, block: Block) -> object:
    """Blocks with equal keys see the same patterns and cost the same.

    With one convolution group every block of forward and dgrad meets the same stationary operand,
    so equal weights (dense ones above all) mean equal cost; in wgrad only dense operands repeat.
    """
    problem = plan.problem
    absolute = block.o0 % 8 if config.pe.bank_hash == "dnnsim" else 0
    if problem.groups > 1:
        return block
    if problem.is_wgrad:
        if not operands.is_dense:
            return block
        return (block.o1 - block.o0, block.c1 - block.c0, absolute)
    weights = operands.streamed[0, :, :, :, block.o0 : block.o1]
    digest = hashlib.sha256(np.ascontiguousarray(weights).tobytes()).digest()
    return (block.o1 - block.o0, absolute, digest)


def _dense_costs(
    plan: Plan, config: Config, index: dict[Block, int], blocks: list[Block]
) -> BlockCosts:
    stationary, streamed = dense_entries(plan, blocks)
    plane = plan.problem.stationary_plane
    channels = np.array([[block.c1 - block.c0 for block in blocks]], np.int64)
    return BlockCosts(
        index=index,
        counters=dense_counters(plan, blocks, config),
        stationary_entries=stationary,
        streamed_entries=streamed,
        plane_entries=channels * plane[0] * plane[1] * plan.problem.is_wgrad,
        channel_cycles={},
        channel_entries={},
    )


def _cartesian_costs(
    plan: Plan, operands: Operands, config: Config, index: dict[Block, int], blocks: list[Block]
) -> BlockCosts:
    problem = plan.problem
    tiles = tile_array(plan.tiles)
    machine = machine_array(config, plan.dataflow)
    n, t, b = operands.samples, len(tiles), len(blocks)
    counters = np.zeros((n, b, t, N_COUNTERS), np.int64)
    entries = np.zeros((n, b, t, 2), np.int64)
    by_channel = _by_channel(config) and not problem.is_wgrad
    channels: dict[int, Ints] = {}
    lengths: dict[int, Ints] = {}
    busy = np.array([not tile.is_empty for tile in plan.tiles])
    live = np.ascontiguousarray(tiles[busy])
    for row, block in enumerate(blocks):
        width = block.c1 - block.c0 if by_channel else 0
        channels[row] = np.zeros((n, t, width), np.int32)
        lengths[row] = np.zeros(width, np.int64)
        for sample in range(n):
            part_counters = np.zeros((len(live), N_COUNTERS), np.int64)
            part_entries = np.zeros((len(live), 2), np.int64)
            part_channels = np.zeros((len(live) if by_channel else 0, width), np.int64)
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
                live,
                problem.axes,
                machine,
                part_counters,
                part_entries,
                part_channels,
                lengths[row],
                NO_VALUES,
            )
            counters[sample, row, busy] = part_counters
            entries[sample, row, busy] = part_entries
            if by_channel:
                channels[row][sample, busy] = part_channels
    if operands.dense_weights and not problem.is_wgrad:
        # One list stands for all channels of a convolution group; each streams weights of its own.
        entries[..., 1] *= problem.stationary_channels // problem.groups
    return BlockCosts(
        index=index,
        counters=counters.transpose(0, 2, 1, 3),
        stationary_entries=entries[..., 0].transpose(0, 2, 1),
        streamed_entries=entries[..., 1].transpose(0, 2, 1),
        plane_entries=_plane_entries(plan, operands, config, blocks),
        channel_cycles=channels if by_channel else {},
        channel_entries=lengths if by_channel else {},
    )


def _plane_entries(plan: Plan, operands: Operands, config: Config, blocks: list[Block]) -> Ints:
    """[samples, B] entries of each block's channels over the whole stationary plane (wgrad)."""
    out = np.zeros((operands.samples, len(blocks)), np.int64)
    if not plan.problem.is_wgrad:
        return out
    height, width = plan.problem.stationary_plane
    run_limit = 1 << config.pe.index_bits
    for sample in range(operands.samples):
        mask = np.ascontiguousarray(operands.stationary[sample].transpose(1, 2, 0))
        known: dict[tuple[int, int], int] = {}
        for row, block in enumerate(blocks):
            key = (block.c0, block.c1)
            if key not in known:
                known[key] = pixel_entries(mask, 0, height, 0, width, *key, run_limit)
            out[sample, row] = known[key]
    return out


def positional_arguments(
    plan: Plan, blocks: list[Block]
) -> tuple[Ints, Ints, Ints, tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Tiles, blocks and geometry as :func:`positional_tiles` reads them."""
    shape = plan.problem.shape
    ranges = sorted({(block.c0, block.c1) for block in blocks})
    place = {c_range: i for i, c_range in enumerate(ranges)}
    rows = [(block.o0, block.o1, place[block.c0, block.c1]) for block in blocks]
    tiles = np.array([(*tile.streamed, *tile.stationary) for tile in plan.tiles], np.int64)
    return (
        tiles,
        np.array(rows, np.int64),
        np.array(ranges, np.int64),
        (shape.R, shape.S),
        shape.stride,
        shape.padding,
        shape.dilation,
    )


def channels_last(
    stationary: NDArray[Any], streamed: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """One sample's [C, H, W] and [groups, P, Q, K / groups] as [H, W, C] and [P, Q, K]."""
    groups, p, q, per_group = streamed.shape
    gradient = np.ascontiguousarray(streamed.transpose(1, 2, 0, 3))
    activation = np.ascontiguousarray(stationary.transpose(1, 2, 0))
    return activation, gradient.reshape(p, q, groups * per_group)


def _positional_costs(
    plan: Plan, operands: Operands, config: Config, index: dict[Block, int], blocks: list[Block]
) -> BlockCosts:
    where = positional_arguments(plan, blocks)
    machine = machine_array(config, plan.dataflow)
    n, t, b = operands.samples, len(plan.tiles), len(blocks)
    counters = np.zeros((n, t, b, N_COUNTERS), np.int64)
    entries = np.zeros((n, t, b, 2), np.int64)
    nothing = np.empty((0, 0, 0), np.float64)
    sums = np.empty((0, 0, 0, 0), np.float64)
    for sample in range(n):
        activation, gradient = channels_last(operands.stationary[sample], operands.streamed[sample])
        positional_tiles(
            activation,
            gradient,
            nothing,
            nothing,
            *where,
            machine,
            counters[sample],
            entries[sample],
            sums,
        )
    return BlockCosts(
        index=index,
        counters=counters,
        stationary_entries=entries[..., 0],
        streamed_entries=entries[..., 1],
        plane_entries=_plane_entries(plan, operands, config, blocks),
        channel_cycles={},
        channel_entries={},
    )
