"""What a recorder has to tell: what is in the trace, and what is not and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from resprop_train.layers import ReSpropLayer
from resprop_train.reuse import LayerStep

SHOWN = 6
"""Names or numbers in a row before the rest is counted."""
WITH_WEIGHTS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase),
)
"""Layers whose backward pass has products of matrices."""


@dataclass(kw_only=True, slots=True)
class Recorded:
    """Counts of a recorder; ``ordinary`` are the layers that were not converted, by class.

    ``batch_sizes`` has the recorded iterations; ``moved`` the iterations that were asked for and
    those recorded in their place; ``never`` those asked for that did not come; ``unreplaced`` those
    left out with none in their place; ``seen`` counts iterations with a backward pass.
    """

    path: Path
    layers: list[str]
    ordinary: dict[str, str]
    wanted: float | None
    samples: int | None
    batch_sizes: dict[int, int] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    moved: dict[int, int] = field(default_factory=dict)
    never: list[int] = field(default_factory=list)
    unreplaced: list[int] = field(default_factory=list)
    asked: list[int] | None = None
    unfit: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    passes: Counter[str] = field(default_factory=Counter)
    matmuls: Counter[str] = field(default_factory=Counter)
    elements: Counter[str] = field(default_factory=Counter)
    nonzeros: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(
        self,
        iteration: int,
        batch_size: int,
        steps: Iterable[tuple[str, LayerStep]],
        *,
        matmuls: Iterable[str] = (),
        in_place_of: int | None,
    ) -> None:
        """Count a recorded iteration."""
        self.batch_sizes[iteration] = batch_size
        if in_place_of is not None:
            self.moved[in_place_of] = iteration
        self.matmuls.update(matmuls)
        for name, step in steps:
            self.passes[name] += 1
            self.elements[name] += step.elements
            self.nonzeros[name] += step.density * step.elements

    def leave_out(self, iteration: int, because: str) -> None:
        """Note why an iteration is not in the trace."""
        self.left_out[iteration] = because

    @property
    def reuse_sparsity(self) -> float | None:
        """Zeros among all recorded gradients."""
        elements = sum(self.elements.values())
        return 1.0 - sum(self.nonzeros.values()) / elements if elements else None

    def density(self, name: str) -> float | None:
        """Density reached in one layer; None if it had no backward convolution."""
        return self.nonzeros[name] / self.elements[name] if self.elements[name] else None

    def why_nothing(self) -> str:
        """The reason why the trace would be empty."""
        if self.left_out:
            return next(reversed(self.left_out.values()))
        if self.seen:
            return f"none of the iterations asked for came in {self.seen} with a backward pass"
        return "no backward pass was seen"

    def summary(self) -> str:
        """All of it in a few lines."""
        what = "nothing recorded"
        if self.batch_sizes:
            iterations = _count(len(self.batch_sizes), "iteration")
            layers = _count(len(self.passes), "layer")
            if self.matmuls:
                layers += f" and {_count(len(self.matmuls), 'matrix product')}"
            what = f"{iterations} ({_list(self.batch_sizes)}), {layers}, {self._kept()}"
        lines = [f"{self.path}: {what}"]
        reached = self.reuse_sparsity
        if reached is not None:
            wanted = "" if self.wanted is None else f", {self.wanted:.3f} wanted"
            lines.append(f"  reuse sparsity {reached:.3f} reached{wanted}")
            densities = sorted((d, n) for n in self.passes if (d := self.density(n)) is not None)
            low, high = densities[0], densities[-1]
            lines.append(f"  density from {low[0]:.3f} ({low[1]}) to {high[0]:.3f} ({high[1]})")
        return "\n".join([*lines, *self.notes()])

    def notes(self) -> list[str]:
        """A line for each thing that is not in the trace as one might expect."""
        lines = []
        for asked, taken in self.moved.items():
            lines.append(f"  iteration {asked} was asked for: {taken} is recorded in its place")
        for asked in self.unreplaced:
            lines.append(f"  iteration {asked} was asked for: nothing is recorded in its place")
        if self.never:
            lines.append(f"  asked for, but never came: {_list(self.never)}")
        reasons: dict[str, list[int]] = defaultdict(list)
        for iteration, because in self.left_out.items():
            reasons[because].append(iteration)
        for because, numbers in reasons.items():
            count = _count(len(numbers), "iteration")
            lines.append(f"  left out, {count} ({_list(numbers)}): {because}")
        for name, because in self.unfit.items():
            lines.append(f"  not recorded, {name}: {because}")
        idle = [n for n in self.layers if n not in self.passes and n not in self.unfit]
        if idle and self.batch_sizes:
            lines.append(f"  no backward convolution: {_list(idle)}")
        if self.ordinary:
            modules = {name.rpartition("@")[0] for name in self.matmuls}
            named = [
                f"{name} ({kind}{' but for its matrix products' if name in modules else ''})"
                for name, kind in self.ordinary.items()
            ]
            lines.append(f"  ordinary layers, not recorded: {_list(named)}")
        return lines

    def _kept(self) -> str:
        sizes = sorted(set(self.batch_sizes.values()))
        batch = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        kept = str(self.samples) if self.samples is not None and self.samples < sizes[-1] else "all"
        return f"{kept} samples of a batch of {batch}"


def ordinary_layers(model: nn.Module) -> dict[str, str]:
    """Layers with weights that were not converted: their names and classes."""
    attention = [n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
    return {
        name or type(module).__name__: type(module).__name__
        for name, module in model.named_modules()
        if isinstance(module, WITH_WEIGHTS)
        and not isinstance(module, ReSpropLayer)
        and not any(name.startswith(f"{outer}.") for outer in attention)
    }


def _list(items: Iterable[object]) -> str:
    texts = [str(item) for item in items]
    if len(texts) > SHOWN:
        return ", ".join(texts[: SHOWN - 1]) + f" and {len(texts) - SHOWN + 1} more"
    return ", ".join(texts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
