"""The phases of training that run on a convolution, each as one line of description."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, get_args

Operand = Literal["activation", "gradient", "weight"]
OPERANDS: tuple[Operand, ...] = get_args(Operand)


class Phase(StrEnum):
    """One pass over a layer: two of its three tensors meet and make the third.

    ``stationary`` is the tensor that stands still in the PEs, ``streamed`` the one that passes by,
    ``result`` the one whose shape comes out (the forward pass makes what has the gradient's shape).
    ``one_sample`` tells that the phase runs on one dense sample of feature maps, whatever the
    batch: ReSprop's extra convolutions of the reused gradient.
    """

    stationary: Operand
    streamed: Operand
    result: Operand
    one_sample: bool

    FORWARD = "forward", "activation", "weight", "gradient", False
    DGRAD = "dgrad", "gradient", "weight", "activation", False
    WGRAD = "wgrad", "activation", "gradient", "weight", False
    PRE_DGRAD = "pre_dgrad", "gradient", "weight", "activation", True
    PRE_WGRAD = "pre_wgrad", "activation", "gradient", "weight", True

    def __new__(cls, name: str, *description: Any) -> Phase:
        phase = str.__new__(cls, name)
        phase._value_ = name
        phase.stationary, phase.streamed, phase.result, phase.one_sample = description
        return phase

    @property
    def is_pre_phase(self) -> bool:
        """Whether this is one of ReSprop's dense one-sample phases."""
        return self.one_sample

    @property
    def sums_samples(self) -> bool:
        """Whether the result is summed over samples and positions (it is no map of a sample)."""
        return self.result == "weight"

    @property
    def whole_batch(self) -> Phase:
        """The phase that does the same with all samples: itself unless it is a one-sample phase."""
        return next(p for p in Phase if not p.one_sample and p.result == self.result)
