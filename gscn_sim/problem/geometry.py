"""One geometry for all phases: which tensor stands still, which streams by, where products land.

Along each axis a stationary coordinate y and a streamed coordinate r meet at the output coordinate
(alpha * y + beta + gamma * r) / div, which counts only if it is whole and inside the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workloads import LayerShape, Operand, Phase

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A layer-phase in the machine's terms; two are equal if phase, shape and batch size are.

    ``shape`` is that of an ordinary convolution of ``batch_size`` samples, and computes ``samples``
    of the training batch: matmuls, whose samples have filters of their own, are groups of one.
    ``axes`` [2, 5] holds alpha, beta, gamma, div and output size for y and x. ``is_reduction``
    tells whether the outputs are summed over samples and positions (a gradient of weights); else
    they are maps of each sample.
    """

    phase: Phase
    shape: LayerShape
    batch_size: int
    samples: int
    axes: Ints
    stationary_channels: int
    stationary_plane: tuple[int, int]
    streamed_plane: tuple[int, int]
    output_channels: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> str:
        """All that a problem is made of."""
        return repr((self.phase.value, self.shape, self.batch_size))

    @property
    def is_reduction(self) -> bool:
        """Whether outputs are summed over samples and positions."""
        return self.phase.sums_samples

    @property
    def groups(self) -> int:
        """Convolution groups."""
        return self.shape.groups

    @property
    def output_plane(self) -> tuple[int, int]:
        """Height and width of the output."""
        return int(self.axes[0, 4]), int(self.axes[1, 4])

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of the dense convolution, all samples."""
        return self.batch_size * self.shape.dense_macs

    @property
    def output_elements(self) -> int:
        """Values this phase writes."""
        y, x = self.output_plane
        if self.is_reduction:
            return self.output_channels * (self.shape.C // self.groups) * y * x
        return self.batch_size * self.output_channels * y * x


def make_problem(shape: LayerShape, phase: Phase, batch_size: int) -> Problem:
    """Describe a phase of a layer; a one-sample phase runs on one whatever the batch."""
    samples = 1 if phase.one_sample else batch_size
    shape, batch_size = shape.for_batch(samples)
    planes: dict[Operand, tuple[int, int]] = {
        "activation": (shape.H, shape.W),
        "gradient": (shape.P, shape.Q),
        "weight": (shape.R, shape.S),
    }
    channels: dict[Operand, int] = {"activation": shape.C, "gradient": shape.K}
    # What products are summed into has the channels of a map, or (a filter) of the gradient.
    of_output: Operand = "gradient" if phase.result == "weight" else phase.result
    axes = [(*_meeting(shape, phase, axis), planes[phase.result][axis]) for axis in range(2)]
    return Problem(
        phase=phase,
        shape=shape,
        batch_size=batch_size,
        samples=samples,
        axes=np.array(axes, np.int64),
        stationary_channels=channels[phase.stationary],
        stationary_plane=planes[phase.stationary],
        streamed_plane=planes[phase.streamed],
        output_channels=channels[of_output],
    )


def _meeting(shape: LayerShape, phase: Phase, axis: int) -> tuple[int, int, int, int]:
    """alpha, beta, gamma and div along an axis.

    An activation at h, a gradient at p and a weight at r meet where h - stride p - dilation r +
    padding = 0: solved for the coordinate of the result.
    """
    factor: dict[Operand, int] = {
        "activation": 1,
        "gradient": -shape.stride[axis],
        "weight": -shape.dilation[axis],
    }
    div = factor[phase.result]
    sign = -1 if div > 0 else 1
    return (
        sign * factor[phase.stationary],
        sign * shape.padding[axis],
        sign * factor[phase.streamed],
        abs(div),
    )
