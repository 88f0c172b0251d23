"""What a model says of one pass over many layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gscn_sim.gpu.layers import Array

BOUNDS = ("compute", "memory", "launch")
"""What can take the largest part of a time."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Estimate:
    """Times of one pass, one entry a layer, with the algorithm chosen and what bounds it."""

    time_ms: Array
    algorithm: NDArray[np.object_]
    bound: NDArray[np.object_]
