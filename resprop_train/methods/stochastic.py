"""Thresholding without bias: a small element is kept as the threshold with fitting probability.

The rule of activation-gradient pruning (Ye et al., ECCV 2020): an element d with |d| > t stays;
another becomes t * sign(d) with probability |d| / t and zero otherwise, so that its mean is d.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from resprop_train.methods.base import ExtraPhases
from resprop_train.methods.delta import ThresholdedDelta
from resprop_train.scalars import Number


class Stochastic(ThresholdedDelta):
    """The gradient itself, thresholded without bias: nothing is reused, no phases are added."""

    name = "stochastic"
    reuses = False
    drops_plainly = False

    def drop(self, delta: Tensor, threshold: Number) -> None:
        """What exceeds t * u, u uniform in [0, 1), is kept, and is at least t then."""
        magnitude = delta.abs()
        dropped = magnitude <= self.tools.noise.like(delta) * threshold  # not what is no number
        magnitude.clamp_(min=threshold)
        delta.copy_(magnitude.copysign_(delta)).masked_fill_(dropped, 0)


class ReSpropStochastic(Stochastic):
    """ReSprop with a threshold without bias."""

    name = "resprop-stochastic"
    extra_phases: ClassVar[ExtraPhases] = "pre"
    reuses = True
