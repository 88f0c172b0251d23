"""Thresholding that keeps the sum over the batch: the dropped part is shared by all samples.

An element that a threshold drops is an error of one sample. Errors of one sign in all samples add
up in the gradient of the weights. With R the sum over the batch of what was dropped, adding R / N
to every sample's gradient makes the errors of each element sum to zero over the batch; that costs
the one-sample convolutions that ReSprop's reused gradient costs, but after thresholding.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from resprop_train.grouping import group_sums
from resprop_train.methods.base import ExtraPhases
from resprop_train.methods.delta import ThresholdedDelta


class BatchSum(ThresholdedDelta):
    """Nothing is reused; the mean of what is dropped is shared."""

    name = "batch-sum"
    extra_phases: ClassVar[ExtraPhases] = "post"
    reuses = False

    def shared(self, gradient: Tensor, delta: Tensor, reused: Tensor | None) -> Tensor:
        """P + R / N, which is the mean of gradient minus delta whatever P is."""
        groups = 1 if reused is None else len(reused)
        left = group_sums(gradient, groups) - group_sums(delta, groups)
        part = -(-len(gradient) // groups)
        if len(gradient) % part == 0:
            return left / part
        sizes = [part] * (groups - 1) + [len(gradient) - part * (groups - 1)]
        return torch.cat([total / size for total, size in zip(left.split(1), sizes, strict=True)])


class ReSpropBatchSum(BatchSum):
    """ReSprop with the mean of what is dropped added to the reused sample."""

    name = "resprop-batch-sum"
    reuses = True
