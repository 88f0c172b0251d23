"""What a method that makes training sparse is: the contract, method by method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from resprop_train.randomness import Draws, Noise
from resprop_train.scalars import Number
from resprop_train.threshold import ThresholdRule
from resprop_train.workspace import Workspace

ExtraPhases = Literal["none", "pre", "post"]
"""The dense one-sample convolutions that a method adds to each layer and iteration.

``pre``: they need only what the forward pass has, and can run beside it. ``post``: they need the
whole gradient, and come after it was thresholded.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What a method may use: the same for all uses of a layer.

    ``groups`` is the number of parts of a batch that have a reused sample of their own.
    """

    make_rule: Callable[[], ThresholdRule]
    workspace: Workspace
    draws: Draws
    noise: Noise
    groups: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Operands:
    """The dense operands of one backward pass: gradient [N, ...], activation [N, ...], weight.

    ``channel_axis`` is where the gradient has the layer's output channels.
    """

    gradient: Tensor
    activation: Tensor
    weight: Tensor
    channel_axis: int


@dataclass(kw_only=True, slots=True)
class SparseOperands:
    """What the backward convolutions work on instead.

    ``shared`` [groups, ...] is added to the gradient of every sample of its group, by convolutions
    of one sample a group. ``density`` is that of the sparse operand; ``work`` are the fractions of
    dgrad's and wgrad's products that are left, where they differ from it. ``valid`` is 0 where the
    step turned out to be an ordinary one after all.
    """

    gradient: Tensor
    activation: Tensor
    weight: Tensor
    shared: Tensor | None = None
    density: Number
    work: tuple[Number, Number] | None = None
    threshold: Number = 0.0
    valid: Number = 1.0


class Sparsifier:
    """One use of one layer: what it carries from step to step, what it makes of the operands.

    A method is a subclass with a ``name``, in a file of its own in this folder. Numbers on a device
    are never read.
    """

    name: ClassVar[str]
    extra_phases: ClassVar[ExtraPhases] = "none"
    reuses: ClassVar[bool] = False
    """Whether a gradient of the step before is needed, so that the first step is ordinary."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    @staticmethod
    def check_density(density: float) -> None:
        """Raise TrainError for a wanted density that the method cannot give."""

    @staticmethod
    def forward_weight(weight: Tensor, density: float) -> Tensor:
        """The weights that all passes use, differentiable in ``weight``; by default the dense."""
        return weight

    def ready(self, batch_size: int) -> str | None:
        """None if the method can be used on a batch, else why the step has to be ordinary."""
        return None

    def sparsify(self, operands: Operands, density: float) -> SparseOperands:
        """What the backward convolutions use; ``density`` of the sparse operand is wanted."""
        raise NotImplementedError

    def learn(self, sparse: SparseOperands, wanted: float) -> None:
        """Note what came out of ``sparsify``."""

    def keep(self, gradient: Tensor) -> None:
        """Keep for the next step what is needed of this step's dense gradient; N is not 0."""

    def forget(self) -> None:
        """Drop what ``keep`` kept."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that is carried, as plain values and tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""


def largest(tensor: Tensor, density: float) -> Tensor:
    """Where the elements of largest magnitude are, a fraction ``density`` of all, ties dropped."""
    dropped = tensor.numel() - max(round(density * tensor.numel()), 1)
    if dropped == 0:
        return torch.ones_like(tensor, dtype=torch.bool)
    magnitude = tensor.detach().abs()
    return magnitude > torch.kthvalue(magnitude.flatten(), dropped).values
