"""All settings of a training run, checked in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from resprop_train.errors import TrainError, check_reuse_sparsity
from resprop_train.methods import DEFAULT, find_method
from resprop_train.schedule import LEARNING_RATES, WarmUp
from resprop_train.threshold import make_rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How to train. Rates follow the schedules of ``resprop_train.schedule``.

    ``reuse_sparsity`` None trains with ordinary back-propagation. ``method`` is what is made sparse
    and how (``resprop_train.methods``). ``density_margin`` is added to every wanted density below
    1, and ``sample_groups`` is the number of equal parts of a batch with a reused sample each; the
    authors' code adds 0.05 and has a group for each GPU. ``max_steps`` ends training
    early without changing the schedules. ``warmup_epochs`` None is the published 9 epochs, but at
    most a third of the run. ``dense_edges`` makes the first and last step of every
    epoch ordinary ones, as the authors' code does. ``clip_norm`` is the largest norm that the
    gradient of all weights together may have; a longer one is shortened to it (None: never).
    ``accumulate`` is the number of batches whose gradients are summed for one update.
    ``recalibrate`` is the number of training batches from which batch normalisation's statistics
    are taken anew before each evaluation (0: none).

    Raises:
        TrainError: a value that is not allowed.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 0.1
    lr_schedule: str = "cosine"
    lr_step_epochs: float = 30.0
    lr_boost: float = 1.0
    lr_boost_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    reuse_sparsity: float | None = 0.9
    method: str = DEFAULT
    rule: str = "halve-double"
    density_margin: float = 0.0
    sample_groups: int = 1
    per_layer: dict[str, float] = field(default_factory=dict)
    warmup_epochs: float | None = None
    dense_edges: bool = False
    linear: bool = False
    accumulate: int = 1
    amp: bool = False
    channels_last: bool = False
    recalibrate: int = 0
    evaluate_every: int = 1
    max_steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, minimum in (
            ("epochs", 1),
            ("batch_size", 1),
            ("accumulate", 1),
            ("recalibrate", 0),
            ("evaluate_every", 0),
            ("sample_groups", 1),
            ("seed", 0),
        ):
            self._check_int(name, minimum)
        if self.max_steps is not None:
            self._check_int("max_steps", 1)
        if self.batch_size < 2 and self.reuse_sparsity is not None:
            raise TrainError(
                "batch_size must be at least 2, got 1: with one sample the dense pre-phases cost "
                "as much as the ordinary backward pass"
            )
        for name in ("learning_rate", "lr_step_epochs", "lr_boost"):
            self._check_number(name, positive=True)
        for name in ("momentum", "weight_decay", "lr_boost_epochs"):
            self._check_number(name, positive=False)
        if self.clip_norm is not None:
            self._check_number("clip_norm", positive=True)
        if self.lr_schedule not in LEARNING_RATES:
            raise TrainError(
                f"lr_schedule must be one of {', '.join(LEARNING_RATES)}, got {self.lr_schedule!r}"
            )
        make_rule(self.rule)
        method = find_method(self.method)
        if not 0 <= self.density_margin < 1:
            raise TrainError(f"density_margin must be in [0, 1), got {self.density_margin!r}")
        self.warm_up()
        if self.reuse_sparsity is not None:
            method.check_density(1 - check_reuse_sparsity(self.reuse_sparsity))
        for layer, value in self.per_layer.items():
            method.check_density(1 - check_reuse_sparsity(value, f"per_layer[{layer!r}]"))

    def warm_up(self) -> WarmUp:
        """The schedule of the wanted density."""
        if self.warmup_epochs is None:
            return WarmUp(epochs=min(9.0, self.epochs / 3))
        return WarmUp(epochs=self.warmup_epochs)

    def _check_int(self, name: str, minimum: int) -> None:
        value: Any = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise TrainError(f"{name} must be an int of at least {minimum}, got {value!r}")

    def _check_number(self, name: str, *, positive: bool) -> None:
        value: Any = getattr(self, name)
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0 or (
            positive and value == 0
        ):  # fmt: skip
            kind = "positive" if positive else "non-negative"
            raise TrainError(f"{name} must be a {kind} number, got {value!r}")


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "epochs": 90,
        "batch_size": 256,
        "learning_rate": 0.1,
        "lr_schedule": "step",
        "lr_step_epochs": 30.0,
        "lr_boost": 4.0,
        "lr_boost_epochs": 7.0,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "warmup_epochs": 9.0,
        "dense_edges": True,
        "density_margin": 0.05,
    },
}
"""Named settings; ``paper`` is the SGD recipe in the authors' code (negargoli/ReSprop).

Their ``--sparsity 10`` steers to 15 % non-zeros, so that a reuse sparsity of 0.9 is that here too.
"""
