"""Feature maps as kernels of positions read them: one pixel is one run of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def channels_last(
    stationary: NDArray[Any], streamed: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """One sample's [C, H, W] and [groups, P, Q, K / groups] as [H, W, C] and [P, Q, K]."""
    groups, p, q, per_group = streamed.shape
    gradient = np.ascontiguousarray(streamed.transpose(1, 2, 0, 3))
    activation = np.ascontiguousarray(stationary.transpose(1, 2, 0))
    return activation, gradient.reshape(p, q, groups * per_group)
