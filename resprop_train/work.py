"""How sparse the gradients really were, and how much backward work that saved."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from resprop_train.reuse import LayerStep


@dataclass(slots=True)
class WorkMeter:
    """Sums over the backward passes of the converted layers, dense ones included.

    Densities are weighted by elements, work by multiply-accumulates; the work of a ReSprop step
    contains its two dense one-sample phases.
    """

    elements: int = 0
    nonzeros: float = 0.0
    dense_work: int = 0
    work: float = 0.0
    steps: int = 0
    dense_passes: Counter[str] = field(default_factory=Counter)
    step_densities: list[float] = field(default_factory=list)

    def add(self, layers: Iterable[LayerStep]) -> float:
        """Add one training step; returns its density."""
        elements, nonzeros = 0, 0.0
        for layer in layers:
            elements += layer.elements
            nonzeros += layer.density * layer.elements
            self.dense_work += layer.dense_work
            self.work += layer.work
            if layer.dense_because is not None:
                self.dense_passes[layer.dense_because] += 1
        self.elements += elements
        self.nonzeros += nonzeros
        self.steps += 1
        density = nonzeros / elements if elements else 1.0
        self.step_densities.append(density)
        return density

    @property
    def mean_density(self) -> float:
        """Non-zeros of all gradients over their elements."""
        return self.nonzeros / self.elements if self.elements else 1.0

    @property
    def median_density(self) -> float:
        """Median of the steps' densities."""
        return statistics.median(self.step_densities) if self.step_densities else 1.0

    @property
    def work_reduction(self) -> float:
        """Dense backward work over the work with the zeros left out, pre-phases included."""
        return self.dense_work / self.work if self.work else 1.0

    def summary(self) -> dict[str, Any]:
        """The figures by name."""
        return {
            "steps": self.steps,
            "mean_density": self.mean_density,
            "median_step_density": self.median_density,
            "reuse_sparsity": 1.0 - self.mean_density,
            "backward_work_reduction": self.work_reduction,
            "dense_layer_passes": dict(self.dense_passes),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "dense_passes": dict(self.dense_passes)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        for name in self.__slots__:
            setattr(self, name, state[name])
        self.dense_passes = Counter(state["dense_passes"])
        self.step_densities = list(state["step_densities"])
