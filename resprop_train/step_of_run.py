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

        def clip(*_: Any) -> None:  # what clip_grad_norm_ does on devices
            assert recipe.clip_norm is not None
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            torch._foreach_mul_(gradients, (recipe.clip_norm / (norm + 1e-6)).clamp(max=1.0))

        if recipe.clip_norm is not None:
            update.register_step_pre_hook(clip)
        return update

    channels, size, _ = trainer.dataset.shape
    return trace_step(
        trainer.model, (trainer.local_batch, channels, size, size), make, network=network
    )
