"""meProp (Sun et al., ICML 2017): the k largest elements of each sample's output gradient."""

from __future__ import annotations

from torch import Tensor

from resprop_train.methods.base import Operands, SparseOperands, Sparsifier
from resprop_train.methods.delta import count_nonzeros
from resprop_train.scalars import fraction
from resprop_train.threshold import order_statistic_per_sample


class MeProp(Sparsifier):
    """Exactly the wanted density in every sample; the rest is dropped, nothing is carried."""

    name = "meprop"

    def sparsify(self, operands: Operands, density: float) -> SparseOperands:
        """The gradient without its smaller elements."""
        gradient = operands.gradient
        threshold: Tensor = order_statistic_per_sample(gradient, density)
        sparse, flat = self.tools.workspace.like(gradient)
        sparse.copy_(gradient).masked_fill_(gradient.abs() <= threshold, 0)
        mean = threshold.mean()
        return SparseOperands(
            gradient=sparse,
            activation=operands.activation,
            weight=operands.weight,
            density=fraction(count_nonzeros(flat), flat.numel()),
            threshold=mean,
        )
