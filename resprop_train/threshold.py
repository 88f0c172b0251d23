"""Rules that choose the threshold under which an element of the gradient difference is dropped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from resprop_train.errors import TrainError

INITIAL_THRESHOLD = 1e-7
"""Where the published controller starts."""
LOWEST, HIGHEST = 1e-30, 1e30
"""Bounds of a carried-over threshold, so that a layer without gradients can recover."""
MEAN_GAIN = 0.05
"""Feedback of the mean-density rule. A higher gain follows the gradients from step to step, which
costs accuracy just as the exact quantile does."""


class ThresholdRule(Protocol):
    """One layer's rule. Densities are fractions of elements kept, in (0, 1]."""

    def threshold(self, difference: Tensor, density: float) -> float | Tensor:
        """Elements with a magnitude above the result are kept.

        A tensor holds one threshold a sample, shaped to broadcast over ``difference`` [N, ...].
        """
        ...

    def observe(self, reached: float, wanted: float) -> None:
        """Learn the density that the last threshold gave."""
        ...

    def state_dict(self) -> dict[str, float]:
        """Everything the rule carries from step to step."""
        ...

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continue from a saved state."""
        ...


class HalveDouble:
    """The published rule: halved after too sparse a step, doubled after too dense a one.

    Carried over from step to step it never settles, so the mean density ends above the wanted one;
    in return a step with large differences keeps more than one with small ones, which is what keeps
    the accuracy.
    """

    def __init__(self) -> None:
        self.value = INITIAL_THRESHOLD

    def threshold(self, difference: Tensor, density: float) -> float:
        """The carried-over threshold."""
        return self.value

    def observe(self, reached: float, wanted: float) -> None:
        """Halve or double."""
        if reached < wanted:
            self.value = max(self.value / 2, LOWEST)
        elif reached > wanted:
            self.value = min(self.value * 2, HIGHEST)

    def state_dict(self) -> dict[str, float]:
        """The threshold."""
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continue from a saved threshold."""
        self.value = float(state["value"])


class MeanDensity:
    """Holds the *mean* density at the wanted one, with a threshold carried over like the published.

    After a step of density d the threshold is multiplied by exp(gain * (d / wanted - 1)). The
    logarithm of the threshold is the sum of the errors, so while it stays bounded the mean error
    of n steps is bounded by its range / (gain * n): the bias of halving and doubling cannot build
    up, whatever the distribution of the steps. The first threshold is the exact order statistic.
    """

    def __init__(self, *, gain: float = MEAN_GAIN) -> None:
        self.gain = gain
        self.value: float | None = None

    def threshold(self, difference: Tensor, density: float) -> float:
        """The carried-over threshold."""
        if self.value is None:
            self.value = min(max(_order_statistic(difference, density), LOWEST), HIGHEST)
        return self.value

    def observe(self, reached: float, wanted: float) -> None:
        """Integrate the relative error."""
        if self.value is not None:
            value = self.value * math.exp(self.gain * (reached / wanted - 1.0))
            self.value = min(max(value, LOWEST), HIGHEST)

    def state_dict(self) -> dict[str, float]:
        """The threshold, if there is one yet."""
        return {} if self.value is None else {"value": self.value}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continue from a saved threshold."""
        self.value = state.get("value")


class Quantile:
    """Exactly the wanted density in every step: the threshold is an order statistic.

    With ``per_sample`` every sample of the batch has the wanted density by itself. Nothing is
    carried over, which costs points of accuracy: for controlled hardware studies.
    """

    def __init__(self, *, per_sample: bool = False) -> None:
        self.per_sample = per_sample

    def threshold(self, difference: Tensor, density: float) -> float | Tensor:
        """The largest magnitude that is dropped; elements equal to it are dropped too."""
        if not self.per_sample:
            return _order_statistic(difference, density)
        thresholds = [_order_statistic(sample, density) for sample in difference]
        return difference.new_tensor(thresholds).reshape(-1, *[1] * (difference.dim() - 1))

    def observe(self, reached: float, wanted: float) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, float]:
        """Nothing to carry."""
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Nothing to continue from."""


def _order_statistic(difference: Tensor, density: float) -> float:
    """The magnitude that a fraction ``density`` of the elements exceeds, up to ties."""
    dropped = difference.numel() - round(density * difference.numel())
    if dropped == 0:
        return 0.0
    return float(torch.kthvalue(difference.abs().flatten(), dropped).values)


RULES: dict[str, Callable[[], ThresholdRule]] = {
    "halve-double": HalveDouble,
    "mean-density": MeanDensity,
    "quantile": Quantile,
    "quantile-per-sample": lambda: Quantile(per_sample=True),
}
"""Names under which the rules are offered."""


def make_rule(name: str) -> ThresholdRule:
    """Return a new rule of that name; ``mean-density:0.2`` sets the gain of that rule.

    Raises:
        TrainError: there is none.
    """
    base, colon, text = name.partition(":")
    if base not in RULES:
        raise TrainError(f"rule must be one of {', '.join(RULES)}, got {name!r}")
    if not colon:
        return RULES[base]()
    try:
        gain = float(text)
    except ValueError:
        gain = math.nan
    if base != "mean-density" or not 0 < gain <= 1:
        raise TrainError(f"only mean-density takes a gain, in (0, 1], got {name!r}")
    return MeanDensity(gain=gain)
