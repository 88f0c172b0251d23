"""The step of a training run, for its trace."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from resprop_train.step import trace_step
from resprop_train.trainer import Trainer
from workloads import Step


def step_of_run(trainer: Trainer, network: str) -> Step:
    """List the operations of a step of a trainer's process, with its clipping of gradients."""
    recipe = trainer.recipe

    def make(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        update = torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            foreach=True,
        )

        def clip(*_: Any) -> None:
            assert recipe.clip_norm is not None
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)

        if recipe.clip_norm is not None:
            update.register_step_pre_hook(clip)
        return update

    channels, size, _ = trainer.dataset.shape
    return trace_step(
        trainer.model, (trainer.local_batch, channels, size, size), make, network=network
    )
