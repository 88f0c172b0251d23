"""Tiles: how the plane of a layer-phase is cut, what each tile needs and what it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.units import ceil_div

Region = tuple[int, int, int, int]
"""y0, y1, x0, x1 of a rectangle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One tile: regions of the stationary and streamed operands and the output.

    ``reached`` are the outputs that the tile's products can reach; ``owned`` the part of the output
    plane that it writes back. What is reached but not owned is halo.
    """

    stationary: Region
    streamed: Region
    reached: Region
    owned: Region

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to multiply."""
        return area(self.stationary) == 0 or area(self.streamed) == 0

    @property
    def reached_outputs(self) -> int:
        """Output positions held in the accumulators."""
        return area(self.reached)

    @property
    def owned_outputs(self) -> int:
        """Output positions written back."""
        return area(self.owned)


def make_tile(problem: Problem, rule: str, rows: int, cols: int, i: int, j: int) -> Tile:
    """Tile (i, j) of a rows x cols grid over the plane that is split.

    That plane is the stationary one, or the gradient's where outputs are summed. With rule
    ``exact`` it is cut into parts that differ by at most one position; with ``padded`` the padded
    plane is cut into equal parts, rounded up (only where the plane is the input).
    """
    stationary: list[int] = []
    streamed: list[int] = []
    reached: list[int] = []
    owned: list[int] = []
    for axis, (parts, index) in enumerate(((rows, i), (cols, j))):
        low, high = cut(problem, rule, axis, parts, index)
        output = problem.output_plane[axis]
        if problem.is_reduction:
            streamed += [low, high]
            stationary += window(problem, axis, low, high)
            reached += [0, output]
            owned += [0, output]
        else:
            stationary += [low, high]
            streamed += [0, problem.streamed_plane[axis]]
            reached += reach(problem, axis, low, high)
            owned += [index * output // parts, (index + 1) * output // parts]
    return Tile(
        stationary=_region(stationary),
        streamed=_region(streamed),
        reached=_region(reached),
        owned=_region(owned),
    )


def tile_array(tiles: list[Tile]) -> Ints:
    """[T, 12] stationary, streamed and reached regions, as the kernels read them."""
    rows = [(*t.stationary, *t.streamed, *t.reached) for t in tiles]
    return np.array(rows, np.int64).reshape(-1, 12)


def padded_tile_size(problem: Problem, axis: int, parts: int) -> int:
    """Side of a tile of the padded plane."""
    pad = problem.shape.padding[axis]
    return ceil_div(problem.stationary_plane[axis] + 2 * pad, parts)


def cut(problem: Problem, rule: str, axis: int, parts: int, index: int) -> tuple[int, int]:
    """Part ``index`` of ``parts`` of the plane that is split, along one axis."""
    size = problem.streamed_plane[axis] if problem.is_reduction else problem.stationary_plane[axis]
    if rule == "padded" and not problem.is_reduction:
        side, pad = padded_tile_size(problem, axis, parts), problem.shape.padding[axis]
        low = min(max(index * side - pad, 0), size)
        return low, max(low, min((index + 1) * side - pad, size))
    return index * size // parts, (index + 1) * size // parts


def window(problem: Problem, axis: int, low: int, high: int) -> tuple[int, int]:
    """Input positions that gradients low..high can meet (where outputs are summed)."""
    shape = problem.shape
    kernel = (shape.R, shape.S)[axis]
    size = problem.stationary_plane[axis]
    first = low * shape.stride[axis] - shape.padding[axis]
    last = (high - 1) * shape.stride[axis] - shape.padding[axis]
    last += (kernel - 1) * shape.dilation[axis]
    if high <= low:
        return 0, 0
    start = min(max(first, 0), size)
    return start, max(start, min(last + 1, size))


def reach(problem: Problem, axis: int, low: int, high: int) -> tuple[int, int]:
    """Outputs that stationary positions low..high can reach, clipped to the output."""
    if high <= low:
        return 0, 0
    alpha, beta, gamma, div, output = (int(v) for v in problem.axes[axis])
    ends = [gamma * r for r in (0, problem.streamed_plane[axis] - 1)]
    first = -(-(alpha * low + beta + min(ends)) // div)
    last = (alpha * (high - 1) + beta + max(ends)) // div
    start = min(max(first, 0), output)
    return start, max(start, min(last + 1, output))


def held_outputs(problem: Problem, rule: str, rows: int, cols: int) -> int:
    """Accumulator entries that one output channel needs in the largest tile of a grid.

    Summed outputs are held whole whatever the grid.
    """
    if problem.is_reduction:
        return problem.output_plane[0] * problem.output_plane[1]
    tall, wide = (
        _held_side(
            tuple(problem.axes[axis].tolist()),
            problem.stationary_plane[axis],
            problem.streamed_plane[axis],
            rule,
            parts,
        )
        for axis, parts in enumerate((rows, cols))
    )
    return tall * wide


@lru_cache(maxsize=1 << 14)
def _held_side(axis: tuple[int, ...], stationary: int, streamed: int, rule: str, parts: int) -> int:
    """The part of :func:`held_outputs` along one axis."""
    alpha, beta, gamma, div, output = axis
    if rule == "padded":
        return ceil_div(output, parts)
    lows = np.arange(parts) * stationary // parts
    highs = np.arange(1, parts + 1) * stationary // parts
    ends = (0, gamma * (streamed - 1))
    first = -(-(alpha * lows + beta + min(ends)) // div)
    last = (alpha * (highs - 1) + beta + max(ends)) // div
    start = first.clip(0, output)
    spans = np.where(highs > lows, np.maximum(start, (last + 1).clip(max=output)) - start, 0)
    return max(1, int(spans.max()))


def reached_span(problem: Problem, tile: Tile) -> int:
    """Relative output positions, inside the output or not, that products of a tile can land on."""
    span = 1
    for axis in range(2):
        alpha, beta, gamma, div, _ = (int(v) for v in problem.axes[axis])
        y0, y1 = tile.stationary[2 * axis : 2 * axis + 2]
        r0, r1 = tile.streamed[2 * axis : 2 * axis + 2]
        own = (alpha * (y1 - 1) + beta) // div - (alpha * y0 + beta) // div
        other = abs(ceil_div(gamma * (r1 - 1), div) - ceil_div(gamma * r0, div))
        span *= own + other + 1
    return span


def area(region: Region) -> int:
    """Positions of a region y0, y1, x0, x1."""
    return max(0, region[1] - region[0]) * max(0, region[3] - region[2])


def _region(values: list[int]) -> Region:
    y0, y1, x0, x1 = values
    return (y0, y1, x0, x1)
