"""A small model, and what tests ask of its step."""

from __future__ import annotations

from typing import Any

from torch import nn

from workloads import Step


def small(bias: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=bias),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, stride=2, bias=bias),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1, bias=bias),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 10),
    )


PICTURES = (4, 3, 10, 10)


def phases(step: Step) -> list[tuple[str, str]]:
    """Module and phase of each operation of a layer."""
    return [(o.module, str(o.layer_phase)) for o in step.operations if o.layer_phase is not None]


def macs(step: Step, **wanted: Any) -> int:
    return sum(
        o.macs for o in step.operations if all(getattr(o, k) == v for k, v in wanted.items())
    )
