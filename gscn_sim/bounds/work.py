"""What a layer-phase makes every machine do, whatever its plan: counted from the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gscn_sim.dataflows.base import Dataflow
from gscn_sim.mapping.counts import Counts, classes
from gscn_sim.mapping.tiles import reach, window
from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.problem.operands import Operands, count_useful

Vectors = tuple[int, int]
"""Lengths of the streamed and the stationary vector."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """A layer-phase as one dataflow sees it; counts are of the whole batch.

    Attributes:
        useful: useful products.
        stationary_entries, streamed_entries: non-zeros that must reach the PEs, each once. Weights
            that stream count once, gradients with every sample.
        drained_sums: outputs that some product may reach.
        unit_steps: steps of the largest part that no plan splits.
        reads_first: whether every PE waits for memory before its first step, whatever the plan.
        steps: [streamed, stationary] fewest steps with vectors of these lengths; 0 where nobody
            asked.
    """

    problem: Problem
    dataflow: Dataflow
    useful: int
    stationary_entries: int
    streamed_entries: int
    drained_sums: int
    unit_steps: int
    reads_first: bool
    steps: Ints


def work_of(
    problem: Problem, operands: Operands, dataflow: Dataflow, vectors: Sequence[Vectors]
) -> Work:
    """What a dataflow has to do in a layer-phase, for machines with any of these vectors."""
    seen = dataflow.operands(operands)
    counts = Counts(problem, seen)
    times = np.bincount(np.arange(problem.batch_size) % seen.samples, minlength=seen.samples)
    steps = np.zeros(np.max(vectors, axis=0) + 1, np.int64)
    for lengths in vectors:
        steps[lengths] = dataflow.fewest_steps(counts, *lengths) @ times
    streamed = gradients_sent(counts) @ times if problem.is_reduction else weights_sent(counts)
    return Work(
        problem=problem,
        dataflow=dataflow,
        useful=int(count_useful(problem, seen) @ times),
        stationary_entries=int(stationary_sent(counts) @ times),
        streamed_entries=int(streamed),
        drained_sums=_drained(problem),
        unit_steps=dataflow.largest_unit(counts),
        reads_first=problem.groups == 1 and reads_first(counts),
        steps=steps,
    )


def stationary_sent(counts: Counts) -> Ints:
    """[samples] stationary non-zeros that must reach PEs; of summed outputs those in any window."""
    problem, mask = counts.problem, counts.operands.stationary
    if problem.is_reduction:
        rows, cols = (_in_windows(problem, axis) for axis in range(2))
        mask = mask[:, :, rows][..., cols]
    found: Ints = mask.sum((1, 2, 3), dtype=np.int64)
    return found


def reads_first(counts: Counts) -> bool:
    """Whether the first fill of every plan has entries, without convolution groups.

    All PEs that share a stream share it: of maps it has the first position of the first sample, of
    summed outputs all that is in any window of some channels.
    """
    problem, mask = counts.problem, counts.operands.stationary
    if not problem.is_reduction:
        return classes(problem) == 1 and bool(mask[0, :, 0, 0].any())
    rows, cols = (_in_windows(problem, axis) for axis in range(2))
    return bool(mask[:, :, rows][..., cols].any((0, 2, 3)).all())


def gradients_sent(counts: Counts) -> Ints:
    """[samples] non-zeros of a streamed gradient whose windows are not all padding."""
    rows, cols = (
        np.array([low < high for low, high in _windows(counts.problem, axis)]) for axis in range(2)
    )
    mask = counts.operands.streamed[:, :, rows][:, :, :, cols]
    found: Ints = mask.sum((1, 2, 3, 4), dtype=np.int64)
    return found


def weights_sent(counts: Counts) -> int:
    """Non-zeros of streamed weights: of each stationary channel's own list."""
    of_list = counts.operands.streamed[0].sum((1, 2, 3), dtype=np.int64)
    return int(of_list[counts.operands.list_of_channel].sum())


def _drained(problem: Problem) -> int:
    """Outputs that any position of the stationary operand reaches; all of them where summed."""
    if problem.is_reduction:
        return problem.output_elements
    covered = [
        _covered(
            problem.output_plane[axis],
            [reach(problem, axis, y, y + 1) for y in range(problem.stationary_plane[axis])],
        ).sum()
        for axis in range(2)
    ]
    return problem.batch_size * problem.output_channels * int(covered[0] * covered[1])


def _windows(problem: Problem, axis: int) -> list[tuple[int, int]]:
    """The window of each gradient position along an axis."""
    return [window(problem, axis, p, p + 1) for p in range(problem.streamed_plane[axis])]


def _in_windows(problem: Problem, axis: int) -> NDArray[np.bool_]:
    """Which activations along an axis lie in a window."""
    return _covered(problem.stationary_plane[axis], _windows(problem, axis))


def _covered(size: int, spans: list[tuple[int, int]]) -> NDArray[np.bool_]:
    found = np.zeros(size, np.bool_)
    for low, high in spans:
        found[low:high] = True
    return found
