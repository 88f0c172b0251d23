"""Rules that choose the threshold under which an element of the gradient difference is dropped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from resprop_train.errors import TrainError
from resprop_train.scalars import (
    Number,
    assign,
    choose,
    clamp,
    exp,
    on_host,
    power_of_two,
    read,
)

INITIAL_THRESHOLD = 1e-7
"""Where the published controller starts."""
LOWEST, HIGHEST = 1e-30, 1e30
"""Bounds of a carried-over threshold, so that a layer without gradients can recover."""
MEAN_GAIN = 0.05
"""Feedback of the mean-density rule. A higher gain follows the gradients from step to step, which
costs accuracy just as the exact quantile does."""

STEERING_GAIN = 0.02
"""Feedback of the steered rule: slow against halving and doubling, fast against a training run."""
LOWEST_FALL, HIGHEST_FALL = 0.02, 4.0
"""Bounds of the steered rule's fall after too sparse a step, in powers of two."""


class ThresholdRule(Protocol):
    """The rule of one use of a layer. Densities are fractions of elements kept, in (0, 1].

    Numbers are floats where the difference is in the host's memory; elsewhere they are
    0-dimensional tensors that no rule reads.
    """

    def threshold(self, difference: Tensor, density: float) -> Number:
        """Elements with a magnitude above the result are kept.

        It may hold one threshold a sample, shaped to broadcast over ``difference`` [N, ...].
        """
        ...

    def known(self) -> Number | None:
        """The next threshold, if it does not depend on the difference."""
        ...

    def observe(self, reached: Number, wanted: float) -> None:
        """Learn the density that the last threshold gave."""
        ...

    def rescale(self, ratio: Number) -> None:
        """From now on all gradients are ``ratio`` times as large (another loss scale)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything the rule carries from step to step."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        ...


class HalveDouble:
    """The published rule: halved after too sparse a step, doubled after too dense a one.

    Carried over from step to step it never settles, so the mean density ends above the wanted one;
    in return a step with large differences keeps more than one with small ones, which is what keeps
    the accuracy.
    """

    def __init__(self) -> None:
        self.value: Number = INITIAL_THRESHOLD

    def threshold(self, difference: Tensor, density: float) -> Number:
        """The carried-over threshold."""
        return self.value

    def known(self) -> Number | None:
        """The carried-over threshold."""
        return self.value

    def observe(self, reached: Number, wanted: float) -> None:
        """Halve or double."""
        self._move(reached, wanted, 0.5)

    def rescale(self, ratio: Number) -> None:
        """The threshold follows the gradients."""
        self.value = assign(self.value, clamp(self.value * ratio, LOWEST, HIGHEST))

    def state_dict(self) -> dict[str, Any]:
        """The threshold."""
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved threshold."""
        self.value = state["value"]

    def _move(self, reached: Number, wanted: float, fall: Number) -> None:
        factor = choose(reached < wanted, fall, choose(reached > wanted, 2.0, 1.0))
        self.value = assign(self.value, clamp(self.value * factor, LOWEST, HIGHEST))


class SteeredHalveDouble(HalveDouble):
    """Halves and doubles as published, but falls by less than half: what holds the *mean* density.

    Halving and doubling puts as many steps above the wanted density as below, so the mean, which
    the few steps far above dominate, ends higher. Here the threshold doubles after too dense a step
    and falls by a factor 2 ** ``fall`` after too sparse a one, so a fraction fall / (1 + fall) of
    the steps is too dense. After a step of density d ``fall`` is multiplied by
    exp(-gain * (d / wanted - 1)): its logarithm sums up the errors, so while it stays bounded the
    mean error of n steps falls like 1 / (gain * n).
    """

    def __init__(self, *, gain: float = STEERING_GAIN) -> None:
        super().__init__()
        self.gain = gain
        self.fall: Number = 1.0

    def observe(self, reached: Number, wanted: float) -> None:
        """Move the threshold, then how far it falls next time."""
        self._move(reached, wanted, power_of_two(-self.fall))
        fall = self.fall * exp(-self.gain * (reached / wanted - 1.0))
        self.fall = assign(self.fall, clamp(fall, LOWEST_FALL, HIGHEST_FALL))

    def state_dict(self) -> dict[str, Any]:
        """The threshold and how far it falls."""
        return {"value": self.value, "fall": self.fall}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        super().load_state_dict(state)
        self.fall = state.get("fall", 1.0)


class MeanDensity:
    """Holds the *mean* density at the wanted one, with a threshold carried over like the published.

    After a step of density d the threshold is multiplied by exp(gain * (d / wanted - 1)). The
    logarithm of the threshold is the sum of the errors, so while it stays bounded the mean error
    of n steps is bounded by its range / (gain * n): the bias of halving and doubling cannot build
    up, whatever the distribution of the steps. The first threshold is the exact order statistic.
    """

    def __init__(self, *, gain: float = MEAN_GAIN) -> None:
        self.gain = gain
        self.value: Number | None = None

    def threshold(self, difference: Tensor, density: float) -> Number:
        """The carried-over threshold."""
        if self.value is None:
            first = _order_statistic(difference, density)
            if on_host(difference) and not math.isfinite(read(difference.sum())):
                return LOWEST  # an overflow is no step to start from
            self.value = clamp(first, LOWEST, HIGHEST)
        return self.value

    def known(self) -> Number | None:
        """The carried-over threshold, if there is one yet."""
        return self.value

    def observe(self, reached: Number, wanted: float) -> None:
        """Integrate the relative error."""
        if self.value is not None:
            value = self.value * exp(self.gain * (reached / wanted - 1.0))
            self.value = assign(self.value, clamp(value, LOWEST, HIGHEST))

    def rescale(self, ratio: Number) -> None:
        """The threshold follows the gradients."""
        if self.value is not None:
            self.value = assign(self.value, clamp(self.value * ratio, LOWEST, HIGHEST))

    def state_dict(self) -> dict[str, Any]:
        """The threshold, if there is one yet."""
        return {} if self.value is None else {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved threshold."""
        self.value = state.get("value")


class Quantile:
    """Exactly the wanted density in every step: the threshold is an order statistic.

    With ``per_sample`` every sample of the batch has the wanted density by itself. Nothing is
    carried over, which costs points of accuracy: for controlled hardware studies.
    """

    def __init__(self, *, per_sample: bool = False) -> None:
        self.per_sample = per_sample

    def threshold(self, difference: Tensor, density: float) -> Number:
        """The largest magnitude that is dropped; elements equal to it are dropped too."""
        if self.per_sample:
            return order_statistic_per_sample(difference, density)
        return _order_statistic(difference, density)

    def known(self) -> Number | None:
        """Never."""
        return None

    def observe(self, reached: Number, wanted: float) -> None:
        """Nothing to learn."""

    def rescale(self, ratio: Number) -> None:
        """Nothing to follow."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to carry."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to continue from."""


def _order_statistic(difference: Tensor, density: float) -> Number:
    """The magnitude that a fraction ``density`` of the elements exceeds, up to ties.

    It is 0, so that nothing is dropped, where it is not finite: an overflow must stay visible.
    """
    dropped = difference.numel() - round(density * difference.numel())
    if dropped == 0:
        return 0.0
    value = torch.kthvalue(difference.abs().flatten(), dropped).values
    if on_host(difference):
        return number if math.isfinite(number := read(value)) else 0.0
    return value.nan_to_num(nan=0.0, posinf=0.0)


def order_statistic_per_sample(difference: Tensor, density: float) -> Tensor:
    """The same for each sample of ``difference`` [N, ...], shaped to broadcast over it."""
    samples = difference.abs().reshape(len(difference), -1)
    size = samples.shape[1]
    dropped = size - round(density * size)
    if dropped == 0:
        values = samples.new_zeros(len(samples))
    else:
        values = torch.kthvalue(samples, dropped, dim=1).values.nan_to_num(nan=0.0, posinf=0.0)
    return values.reshape(-1, *[1] * (difference.dim() - 1))


RULES: dict[str, Callable[[], ThresholdRule]] = {
    "halve-double": HalveDouble,
    "halve-double-steered": SteeredHalveDouble,
    "mean-density": MeanDensity,
    "quantile": Quantile,
    "quantile-per-sample": lambda: Quantile(per_sample=True),
}
"""Names under which the rules are offered."""


STEERED: dict[str, Callable[..., ThresholdRule]] = {
    "halve-double-steered": SteeredHalveDouble,
    "mean-density": MeanDensity,
}
"""Rules that take a gain."""


def make_rule(name: str) -> ThresholdRule:
    """Return a new rule of that name; ``mean-density:0.2`` sets the gain of a rule that has one.

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
    if base not in STEERED or not 0 < gain <= 1:
        raise TrainError(f"only {' and '.join(STEERED)} take a gain, in (0, 1], got {name!r}")
    return STEERED[base](gain=gain)
