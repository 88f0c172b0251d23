"""ReSprop (Goli and Aamodt, CVPR 2020): what is dropped of the gradient is reused."""

from __future__ import annotations

from typing import ClassVar

from resprop_train.methods.base import ExtraPhases
from resprop_train.methods.delta import ThresholdedDelta


class ReSprop(ThresholdedDelta):
    """Dropped elements keep the value of the reused sample: the published method."""

    name = "resprop"
    extra_phases: ClassVar[ExtraPhases] = "pre"


class Threshold(ThresholdedDelta):
    """The gradient itself, thresholded: what is left of ReSprop if nothing is reused."""

    name = "threshold"
    reuses = False
