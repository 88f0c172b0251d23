"""Counts of non-zeros that estimates of plans are made of, each counted once a layer-phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gscn_sim.mapping.tiles import cut
from gscn_sim.problem.geometry import Ints, Problem, make_problem
from gscn_sim.problem.operands import Operands
from gscn_sim.stages import Caller, call

Floats = NDArray[np.float64]
Result = TypeVar("Result")


class Counts:
    """The operands of a layer-phase, and what has been counted of them.

    A *count* is a function of a ``Counts`` and plain values: ``counts.of(tile_entries, 2, 7)``. It
    may ask for other counts. ``caller`` may remember them beyond the life of this object.
    """

    def __init__(self, problem: Problem, operands: Operands, caller: Caller = call) -> None:
        self.problem = make_problem(problem.shape, problem.phase, 1)
        self.operands = operands
        self.digest = operands.digest
        self._caller = caller
        self._known: dict[tuple[object, ...], Any] = {}

    def of(self, count: Callable[..., Result], *arguments: object) -> Result:
        """What a count says, from memory where it was asked for before."""
        key = (count, *arguments)
        if key not in self._known:
            self._known[key] = self._caller(count, self, *arguments)
        found: Result = self._known[key]
        return found


def integral(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    """[n, C, Y + 1, X + 1] sums over rectangles from the corner."""
    n, c, y, x = mask.shape
    out = np.zeros((n, c, y + 1, x + 1), np.int32)
    np.cumsum(mask, 2, dtype=np.int32, out=out[:, :, 1:, 1:])
    np.cumsum(out[:, :, 1:, 1:], 3, out=out[:, :, 1:, 1:])
    return out


def prefix(counts: NDArray[Any]) -> NDArray[np.int32]:
    """[n, channels, rows, cols] to [n, channels + 1, rows * cols] sums over the channels below."""
    flat = counts.reshape(*counts.shape[:2], -1)
    return np.pad(np.cumsum(flat, 1, dtype=np.int32), ((0, 0), (1, 0), (0, 0)))


def region_counts(
    sums: NDArray[np.int32], rows: list[tuple[int, int]], cols: list[tuple[int, int]]
) -> Ints:
    """[n, channels, rows, cols] non-zeros in each rectangle of a grid, from :func:`integral`."""
    y0, y1 = np.array(rows).T
    x0, x1 = np.array(cols).T
    low, high = sums[:, :, y0], sums[:, :, y1]
    bands = (high - low).astype(np.int64)
    return bands[..., x1] - bands[..., x0]


def gradient_maps(operands: Operands) -> NDArray[np.uint8]:
    """[n, K, P, Q] of a streamed gradient."""
    g = operands.streamed  # [n, groups, P, Q, K / groups]
    n, groups, p, q, per_group = g.shape
    return g.transpose(0, 1, 4, 2, 3).reshape(n, groups * per_group, p, q)


def stationary_integral(counts: Counts) -> NDArray[np.int32]:
    """:func:`integral` of the stationary operand."""
    return integral(counts.operands.stationary)


def gradient_integral(counts: Counts) -> NDArray[np.int32]:
    """:func:`integral` of a streamed gradient."""
    return integral(gradient_maps(counts.operands))


def stationary_totals(counts: Counts) -> Ints:
    """[C] non-zeros of each stationary channel, all samples."""
    return counts.operands.stationary.sum((0, 2, 3), dtype=np.int64)


def gradient_totals(counts: Counts) -> Ints:
    """[K] non-zeros of each channel of a streamed gradient, all samples."""
    return counts.operands.streamed.sum((0, 2, 3), dtype=np.int64).reshape(-1)


def stationary_entries(counts: Counts) -> float:
    """Stationary non-zeros of a sample."""
    return np.count_nonzero(counts.operands.stationary) / counts.operands.samples


def gradient_entries(counts: Counts) -> float:
    """Non-zeros of a sample of a streamed gradient."""
    return np.count_nonzero(counts.operands.streamed) / counts.operands.samples


def weight_density(counts: Counts) -> float:
    """Density of the streamed weights."""
    return float(counts.operands.streamed[0].mean())


def largest_share(counts: Counts, parts: int, of_gradient: bool, is_sorted: bool) -> float:
    """Share of all non-zeros that the part with most channels' work is dealt (summed outputs).

    ``is_sorted``: channels are dealt back and forth by their non-zeros, else in order.
    """
    totals = counts.of(gradient_totals if of_gradient else stationary_totals)
    if is_sorted:
        hands = np.pad(np.sort(totals)[::-1], (0, -len(totals) % parts)).reshape(-1, parts)
        hands[1::2] = hands[1::2, ::-1]
        dealt = hands.sum(0)
    else:
        dealt = np.add.reduceat(totals, np.arange(parts) * len(totals) // parts)
    return float(dealt.max() / max(1, totals.sum()))


def classes(problem: Problem) -> int:
    """Pairing groups of a stationary channel, about: classes of coordinates by strides."""
    height, width = problem.stationary_plane
    return min(int(problem.axes[0, 3]), height) * min(int(problem.axes[1, 3]), width)


def tile_vectors(
    counts: Counts, rows: int, cols: int, met: int, vector: int, rule: str
) -> tuple[Floats, Floats]:
    """Vectors of every ``met`` stationary channels, and all entries, of each tile of a grid.

    Returns:
        [n, ceil(C / met), rows, cols] and [n, rows, cols].
    """
    problem = counts.problem
    ranges = [
        [cut(problem, rule, axis, parts, i) for i in range(parts)]
        for axis, parts in enumerate((rows, cols))
    ]
    entries = region_counts(counts.of(stationary_integral), *ranges)
    channels = range(0, entries.shape[1], met)
    each = classes(problem)
    steps = np.add.reduceat(-(-entries // (vector * each)) * each, channels, 1, np.float64)
    return steps, entries.sum(1, dtype=np.float64)
