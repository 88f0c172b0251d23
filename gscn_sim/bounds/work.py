"""What a layer-phase makes every machine do, whatever its plan: counted from the masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gscn_sim.dataflows.base import Dataflow
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.tiles import reach, window
from gscn_sim.problem.geometry import Ints, Problem
from gscn_sim.problem.operands import Operands, count_useful
from gscn_sim.stages import Caller, call


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """A layer-phase as one dataflow sees it; counts are of the whole batch.

    Attributes:
        useful: useful products.
        stationary_entries, streamed_entries: non-zeros that must reach the PEs, each once. Weights
            that stream count once, gradients with every sample.
        drained_sums: outputs that some product may reach.
        unit_steps: steps of the largest part that no plan splits.
    """

    problem: Problem
    dataflow: Dataflow
    useful: int
    stationary_entries: int
    streamed_entries: int
    drained_sums: int
    unit_steps: int
    _counts: Counts
    _times: Ints

    def steps(self, streamed_vector: int, stationary_vector: int) -> int:
        """Steps of the whole batch, at least, with vectors of these lengths."""
        of_sample = self._counts.of(fewest_steps, self.dataflow, streamed_vector, stationary_vector)
        return int(of_sample @ self._times[: len(of_sample)])


def work_of(
    problem: Problem, operands: Operands, dataflow: Dataflow, caller: Caller = call
) -> Work:
    """What a dataflow has to do in a layer-phase."""
    seen = dataflow.operands(operands)
    counts = Counts(problem, seen, caller)
    times = np.bincount(np.arange(problem.batch_size) % seen.samples, minlength=seen.samples)

    def whole(of_samples: Callable[[Counts], Ints]) -> int:
        return int(counts.of(of_samples) @ times)

    return Work(
        problem=problem,
        dataflow=dataflow,
        useful=whole(useful_products),
        stationary_entries=whole(stationary_sent),
        streamed_entries=whole(gradients_sent) if problem.is_reduction else counts.of(weights_sent),
        drained_sums=_drained(problem),
        unit_steps=dataflow.largest_unit(counts),
        _counts=counts,
        _times=times,
    )


def fewest_steps(counts: Counts, dataflow: Dataflow, streamed: int, stationary: int) -> Ints:
    """[samples] :meth:`Dataflow.fewest_steps`."""
    return dataflow.fewest_steps(counts, streamed, stationary)


def useful_products(counts: Counts) -> Ints:
    """[samples] useful products."""
    return count_useful(counts.problem, counts.operands)


def stationary_sent(counts: Counts) -> Ints:
    """[samples] stationary non-zeros that must reach PEs; of summed outputs those in any window."""
    problem, mask = counts.problem, counts.operands.stationary
    if problem.is_reduction:
        rows, cols = (_in_windows(problem, axis) for axis in range(2))
        mask = mask[:, :, rows][..., cols]
    found: Ints = mask.sum((1, 2, 3), dtype=np.int64)
    return found


def gradients_sent(counts: Counts) -> Ints:
    """[samples] non-zeros of a streamed gradient whose windows are not all padding."""
    rows, cols = (
        np.array([low < high for low, high in _windows(counts.problem, axis)])
        for axis in range(2)
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


def works_of(
    problem: Problem, operands: Operands, dataflows: Sequence[Dataflow], caller: Caller = call
) -> tuple[Work, ...]:
    """What each dataflow has to do in a layer-phase."""
    return tuple(work_of(problem, operands, dataflow, caller) for dataflow in dataflows)
