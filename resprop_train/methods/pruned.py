"""Magnitude-pruned weights (Zhu and Gupta, 2017): the smallest take no part in any pass."""

from __future__ import annotations

from torch import Tensor

from resprop_train.methods.base import Operands, SparseOperands, Sparsifier, largest
from resprop_train.methods.delta import count_nonzeros
from resprop_train.scalars import fraction


class Pruned(Sparsifier):
    """The largest weights stay, chosen anew in every pass; the others get no gradient.

    The warm-up makes it gradual pruning. What is pruned takes part in no forward pass either, in
    evaluation too.
    """

    name = "pruned"

    @staticmethod
    def forward_weight(weight: Tensor, density: float) -> Tensor:
        """The weights without the smaller ones."""
        return weight if density >= 1 else weight * largest(weight, density)

    def sparsify(self, operands: Operands, density: float) -> SparseOperands:
        """The operands as they are: the weights are pruned already; wgrad has no sparse operand."""
        flat = operands.weight.abs().flatten()
        density_reached = fraction(count_nonzeros(flat), flat.numel())
        return SparseOperands(
            gradient=operands.gradient,
            activation=operands.activation,
            weight=operands.weight,
            density=density_reached,
            work=(density_reached, 1.0),
        )
