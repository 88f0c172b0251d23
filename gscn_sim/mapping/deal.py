"""Dealing work to PEs: in order, or so that each PE gets about the same."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from gscn_sim.mapping.plan import Plan
from gscn_sim.mapping.tiles import Region
from gscn_sim.problem.geometry import Ints
from gscn_sim.problem.operands import Operands


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelOrder:
    """Which channel stands at each place after dealing: stationary and output channels."""

    stationary: Ints
    outputs: Ints

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of both orders."""
        return hashlib.sha256(self.stationary.tobytes() + self.outputs.tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Dealt:
    """How often each PE split runs each recorded sample's tile: ``times`` [splits, n, tiles]."""

    times: Ints

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex)."""
        found = hashlib.sha256(repr(self.times.shape).encode() + self.times.tobytes())
        return found.hexdigest()


def deal_order(plan: Plan, operands: Operands, load_balance: str) -> ChannelOrder:
    """The order in which a plan deals channels to PEs.

    With ``load_balance = "sorted"`` the channels of summed outputs (wgrad), whose non-zeros differ
    most, are sorted by non-zeros and dealt back and forth over the parts of the plan. Real machines
    would sort by the counts of the iteration before, which change slowly. Other phases keep the
    order: with dense weights their output channels all cost the same.
    """
    problem = plan.problem
    if load_balance == "static" or not problem.is_reduction or problem.groups > 1:
        return ChannelOrder(
            stationary=np.arange(problem.stationary_channels),
            outputs=np.arange(problem.output_channels),
        )
    return ChannelOrder(
        stationary=deal(operands.stationary_work, plan.inputs),
        outputs=deal(operands.streamed_work, plan.outputs),
    )


def deal(work: Ints, parts: int) -> Ints:
    """Channels in the order of the parts they go to, heaviest first inside a part.

    Part i takes as many channels as the i-th of ``parts`` nearly equal ranges has.
    """
    return _deal(tuple(work.tolist()), parts).copy()


@lru_cache(maxsize=512)  # every design of a sweep that splits channels alike asks for the same
def _deal(work: tuple[int, ...], parts: int) -> Ints:
    channels = len(work)
    room = [(i + 1) * channels // parts - i * channels // parts for i in range(parts)]
    hands: list[list[int]] = [[] for _ in range(parts)]
    turn, step = 0, 1
    for channel in np.argsort(-np.array(work), kind="stable").tolist():
        while len(hands[turn]) >= room[turn]:
            turn, step = _next(turn, step, parts)
        hands[turn].append(channel)
        turn, step = _next(turn, step, parts)
    return np.array([channel for hand in hands for channel in hand], np.int64)


def _next(turn: int, step: int, parts: int) -> tuple[int, int]:
    if 0 <= turn + step < parts:
        return turn + step, step
    return turn, -step


def deal_units(
    plan: Plan, operands: Operands, load_balance: str, samples: int | None = None
) -> Dealt:
    """How often each PE split runs each recorded sample's tile, where outputs are summed.

    A *unit* is one tile of one sample; which PE takes it does not matter, as the partial sums of
    all are reduced. With ``load_balance = "sorted"`` the unit with most work left goes to
    the split with least so far (longest processing time first). Work is guessed from what the
    compressor of each operand knows: gradients in the tile times activations in its window. With
    ``static`` sample n goes to sample split n modulo their number, and each tile to its own PE.
    A batch that repeats its samples so often that every split could run every unit once deals those
    rounds evenly, and only the rest by work. ``samples``: recorded ones to deal, by default those
    of ``operands``, which need not be what will run.
    """
    problem = plan.problem
    recorded, batch = samples or operands.samples, problem.batch_size
    grid = plan.rows * plan.cols
    passes = plan.passes[0] * plan.passes[1]
    splits = plan.samples * grid
    times = np.zeros((splits, recorded, grid * passes), np.int64)
    if load_balance == "static":
        numbers = np.arange(batch)
        pairs = numbers % plan.samples * recorded + numbers % recorded
        runs = np.bincount(pairs, minlength=plan.samples * recorded).reshape(-1, recorded)
        for row in range(plan.rows):
            for col in range(plan.cols):
                place = row * plan.cols + col
                for p in range(passes):
                    times[place::grid, :, plan.tile_index(row, col, p)] = runs
        return Dealt(times=times)
    period = recorded * splits
    times += batch // period
    rest = range(batch // period * period, batch)
    work = unit_work(plan, operands).tolist()
    units = [(work[n % recorded % len(work)][t], n, t) for n in rest for t in range(grid * passes)]
    loads = [(0, split) for split in range(splits)]
    for size, n, tile in sorted(units, key=lambda unit: (-unit[0], unit[1:])):
        load, taker = heapq.heappop(loads)
        times[taker, n % recorded, tile] += 1
        heapq.heappush(loads, (load + size, taker))
    return Dealt(times=times)


def unit_work(plan: Plan, operands: Operands) -> Ints:
    """[recorded, tiles] gradients in each tile times activations in its window (wgrad)."""
    gradients = _sums(operands.streamed.sum((1, 4), dtype=np.int64))
    activations = _sums(operands.stationary.sum(1, dtype=np.int64))
    return np.stack(
        [
            _inside(gradients, tile.streamed) * _inside(activations, tile.stationary)
            for tile in plan.tiles
        ],
        axis=1,
    )


def _sums(counts: Ints) -> Ints:
    """[n, Y + 1, X + 1] sums over rectangles from the corner."""
    return np.pad(counts.cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))


def _inside(sums: Ints, region: Region) -> Ints:
    y0, y1, x0, x1 = region
    return sums[:, y1, x1] - sums[:, y0, x1] - sums[:, y1, x0] + sums[:, y0, x0]
