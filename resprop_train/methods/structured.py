"""N:M structured deltas: in every M consecutive channels the N largest differences stay."""

from __future__ import annotations

from typing import ClassVar

from resprop_train.errors import TrainError
from resprop_train.methods.base import ExtraPhases, Operands, SparseOperands
from resprop_train.methods.delta import ThresholdedDelta, count_nonzeros
from resprop_train.scalars import fraction

GROUP = 16
"""M: channels that share a budget."""


class ReSpropStructured(ThresholdedDelta):
    """ReSprop whose delta has round(16 * density) non-zeros in every 16 consecutive channels.

    There is no threshold to steer. Where the channels are no multiple of 16 the last ones share a
    budget of the same fraction, rounded up.
    """

    name = "resprop-nm"
    extra_phases: ClassVar[ExtraPhases] = "pre"

    @staticmethod
    def check_density(density: float) -> None:
        """At least one of 16 has to be kept."""
        if round(GROUP * density) < 1:
            raise TrainError(
                f"method resprop-nm keeps at least 1 of {GROUP} elements: reuse_sparsity must be "
                f"below {1 - 0.5 / GROUP:g}, got {1 - density:g}"
            )

    def sparsify(self, operands: Operands, density: float) -> SparseOperands:
        """The difference where it is among the largest of its group."""
        gradient = operands.gradient
        self.follow_loss_scale()
        reused = self.reused(gradient)
        delta, _ = self.tools.workspace.like(gradient)
        self.difference(gradient, reused, delta)
        axis = operands.channel_axis
        kept = max(round(GROUP * density), 1)
        for part in delta.split(GROUP, axis):
            size = part.shape[axis]
            count = kept if size == GROUP else -(-kept * size // GROUP)
            if count < size:
                smallest = part.abs().topk(size - count, axis, largest=False).indices
                part.scatter_(axis, smallest, 0.0)
        flat = delta.abs().flatten()  # without negative zeros
        return SparseOperands(
            gradient=delta,
            activation=operands.activation,
            weight=operands.weight,
            shared=reused,
            density=fraction(count_nonzeros(flat), flat.numel()),
        )

    def learn(self, sparse: SparseOperands, wanted: float) -> None:
        """Nothing to steer."""
