"""How the wanted density and the learning rate change over a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from resprop_train.errors import TrainError

WARM_UP_DENSITIES = (1.0, 1.0, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Fractions of non-zeros in the warm-up epochs of the authors' code (W-ReSprop)."""
LEARNING_RATES = ("constant", "cosine", "step")


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """Dense first, then sparser step by step, then the target.

    ``epochs`` 9 is the published schedule, one density an epoch; other lengths stretch it over
    that many epochs (fractions allowed, 0 for none).
    """

    epochs: float = 9.0

    def __post_init__(self) -> None:
        if not (isinstance(self.epochs, (int, float)) and 0 <= self.epochs < math.inf):
            raise TrainError(f"warmup_epochs must be at least 0, got {self.epochs!r}")

    def density(self, epoch: float, target: float) -> float:
        """Fraction of non-zeros wanted at a moment of training; 1 means ordinary back-propagation.

        ``epoch`` counts from 0 and has a fraction within an epoch.
        """
        if epoch >= self.epochs:
            return target
        position = int(epoch / self.epochs * len(WARM_UP_DENSITIES))
        return max(target, WARM_UP_DENSITIES[min(position, len(WARM_UP_DENSITIES) - 1)])


def learning_rate(
    kind: str,
    *,
    base: float,
    epoch: float,
    epochs: float,
    step_epochs: float = 30.0,
    boost: float = 1.0,
    boost_epochs: float = 0.0,
) -> float:
    """Learning rate at a moment of training.

    ``cosine`` falls to 0 at ``epochs``; ``step`` divides by 10 every ``step_epochs``. In the first
    ``boost_epochs`` the rate is multiplied by ``boost`` (the authors' code: 4 for 7 epochs).
    """
    if kind == "constant":
        rate = base
    elif kind == "cosine":
        rate = base * 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1.0)))
    elif kind == "step":
        rate = base * 0.1 ** int(epoch / step_epochs)
    else:
        raise TrainError(f"lr_schedule must be one of {', '.join(LEARNING_RATES)}, got {kind!r}")
    return rate * boost if epoch < boost_epochs else rate
