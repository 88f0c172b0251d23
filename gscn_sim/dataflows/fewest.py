"""Fewest steps of a layer-phase whatever the plan, for bounds: lists as long as they can be.

Plans cut lists into shorter ones, whose last vectors are less full: a list of n entries takes at
least ceil(n / length) vectors however it is cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.mapping.counts import Counts
from gscn_sim.problem.geometry import Ints, Problem


def fewest_of_maps(counts: Counts, streamed: int, stationary: int) -> Ints:
    """[samples] steps of all pairs where outputs are maps: list by list of a channel and class."""
    lists = counts.of(entries_of_lists)
    found = np.zeros(counts.operands.samples, np.int64)
    for of_channel, of_list in lists:
        vectors = -(-of_list[counts.operands.list_of_channel] // streamed)
        found += -(-of_channel // stationary) @ vectors
    return found


def entries_of_lists(counts: Counts) -> list[tuple[Ints, Ints]]:
    """For each class that both operands have: [n, C] stationary and [J] streamed non-zeros."""
    problem, operands = counts.problem, counts.operands
    found = []
    for y, r in _classes(problem, 0):
        for x, s in _classes(problem, 1):
            of_channel = operands.stationary[:, :, y][..., x].sum((2, 3), dtype=np.int64)
            of_list = operands.streamed[0][:, r][:, :, s].sum((1, 2, 3), dtype=np.int64)
            found.append((of_channel, of_list))
    return found


def _classes(problem: Problem, axis: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Stationary and streamed coordinates of each class along an axis that both have."""
    alpha, beta, gamma, div, _ = (int(v) for v in problem.axes[axis])
    y = (alpha * np.arange(problem.stationary_plane[axis]) + beta) % div
    r = -gamma * np.arange(problem.streamed_plane[axis]) % div
    return [(y == each, r == each) for each in np.intersect1d(y, r)]


def stationary_by_class(counts: Counts) -> list[tuple[tuple[Any, Any], int]]:
    """For each class that both operands have: which rows and columns, and filter positions."""
    return [
        ((y, x), int(r.sum() * s.sum()))
        for y, r in _classes(counts.problem, 0)
        for x, s in _classes(counts.problem, 1)
    ]


def most_at_a_position(counts: Counts) -> int:
    """Most stationary channels that are not zero at one position of a map, of any sample.

    A PE that has the position takes a step for each, if each meets some weight of every output.
    """
    problem, operands = counts.problem, counts.operands
    if problem.groups > 1 or not operands.streamed.all():
        return 0
    most = 0
    for y, _ in _classes(problem, 0):
        for x, _ in _classes(problem, 1):
            at = operands.stationary[:, :, y][..., x].sum(1, dtype=np.int64)
            most = max(most, int(at.max(initial=0)))
    return most


def fewest_positional(counts: Counts, streamed: int, stationary: int) -> Ints:
    """[samples] steps if each position's gradients and its whole window are a list each."""
    gradients, windows = counts.of(gradients_at), counts.of(window_of_groups)
    steps = -(-gradients // streamed) * -(-windows // stationary)
    found: Ints = steps.reshape(len(steps), -1).sum(1)
    return found


def fewest_of_sums(counts: Counts, streamed: int, stationary: int) -> Ints:
    """[samples] steps of all pairs where outputs are summed.

    Each gradient of a tile takes part in ``1 / streamed`` of a step, at least, with each vector of
    the tile's activations, of which there are no fewer than of those in its own window alone.
    """
    gradients, vectors = counts.of(gradients_at), counts.of(window_vectors, stationary)
    pairs = np.broadcast_to(
        gradients * vectors, np.broadcast_shapes(gradients.shape, vectors.shape)
    )
    found: Ints = -(-pairs.reshape(len(pairs), -1).sum(1) // streamed)
    return found


def gradients_at(counts: Counts) -> Ints:
    """[n, groups, P, Q] gradients of a convolution group at each position."""
    found: Ints = counts.operands.streamed.sum(4, dtype=np.int64)
    return found


def window_of_groups(counts: Counts) -> Ints:
    """[n, groups, P, Q] activations of a convolution group in each position's window."""
    return windows_of(counts.problem, _grouped(counts).sum(2, dtype=np.int32)).astype(np.int64)


def window_sums(counts: Counts) -> NDArray[Any]:
    """[n, C, P, Q] activations of a channel in each position's window."""
    return windows_of(counts.problem, counts.operands.stationary.astype(np.uint16))


def window_vectors(counts: Counts, vector: int) -> Ints:
    """[n, groups, P, Q] vectors of the activations in each window, channel by channel."""
    of_channel = windows_of(counts.problem, _grouped(counts).astype(np.uint16))
    found: Ints = (-(-of_channel.astype(np.int32) // vector)).sum(2, dtype=np.int64)
    return found


def _grouped(counts: Counts) -> NDArray[Any]:
    """[n, groups, C / groups, H, W] activations."""
    found, groups = counts.operands.stationary, counts.problem.groups
    return found.reshape(len(found), groups, -1, *found.shape[2:])


def windows_of(problem: Problem, activations: NDArray[Any]) -> NDArray[Any]:
    """[..., P, Q] sums of [..., H, W] over the filter positions of each window."""
    shape = problem.shape
    total = np.zeros((*activations.shape[:-2], shape.P, shape.Q), activations.dtype)
    for r in range(shape.R):
        h = np.arange(shape.P) * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
        rows = np.flatnonzero((h >= 0) & (h < shape.H))
        for s in range(shape.S):
            w = np.arange(shape.Q) * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
            cols = np.flatnonzero((w >= 0) & (w < shape.W))
            if len(rows) and len(cols):
                inside = activations[..., h[rows], :][..., w[cols]]
                total[..., rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] += inside
    return total
