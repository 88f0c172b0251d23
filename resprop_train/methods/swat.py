"""The backward pass of SWAT (Raihan and Aamodt, NeurIPS 2020): top-k weights and activations."""

from __future__ import annotations

from resprop_train.methods.base import Operands, SparseOperands, Sparsifier, largest
from resprop_train.methods.delta import count_nonzeros
from resprop_train.scalars import fraction


class Swat(Sparsifier):
    """dgrad sees the largest weights, wgrad the largest activations; the gradient stays dense."""

    name = "swat"

    def sparsify(self, operands: Operands, density: float) -> SparseOperands:
        """Weights and activations without their smaller elements, each chosen over the layer."""
        weight = operands.weight * largest(operands.weight, density)
        activation = operands.activation * largest(operands.activation, density)
        of_weight, of_activation = (
            fraction(count_nonzeros(t.abs().flatten()), t.numel()) for t in (weight, activation)
        )
        return SparseOperands(
            gradient=operands.gradient,
            activation=activation,
            weight=weight,
            density=(of_weight + of_activation) / 2,
            work=(of_weight, of_activation),
        )
