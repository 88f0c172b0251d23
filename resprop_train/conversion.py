"""Turn the convolutions of any model into ReSprop ones, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resprop_train.errors import TrainError, check_reuse_sparsity
from resprop_train.function import Conv2dOperator, LinearOperator, ReSprop
from resprop_train.reuse import Reuse, Workspace
from resprop_train.threshold import make_rule


class ReSpropLayer(nn.Module):
    """Mixed into a layer's own class: same parameters and names, another backward pass.

    The reuse state travels in the metadata of ``state_dict()``, so that the keys stay those of the
    original model and weights can be exchanged with it in both directions.
    """

    reuse: Reuse

    def _reuses(self) -> bool:
        return self.training and torch.is_grad_enabled()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {})
        metadata.setdefault(prefix[:-1], {})["reuse"] = self.reuse.state_dict()

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)
        if "reuse" in local_metadata:
            self.reuse.load_state_dict(local_metadata["reuse"])


class ReSpropConv2d(ReSpropLayer, nn.Conv2d):
    """A Conv2d that trains with ReSprop; in evaluation mode it is an ordinary one."""

    # Autograd functions with a memory are not traced: torch.compile breaks the graph here.
    @torch.compiler.disable
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self._reuses() or input.dim() != 4:
            return super()._conv_forward(input, weight, bias)
        input, weight, bias = _autocast(input, weight, bias)
        input, padding = self._pad(input)
        operator = Conv2dOperator(
            stride=_pair(self.stride),
            padding=padding,
            dilation=_pair(self.dilation),
            groups=self.groups,
        )
        output: Tensor = ReSprop.apply(input, weight, bias, operator, self.reuse)
        return output

    def _pad(self, input: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Pad the input where equal zero padding will not do; return the padding still to apply."""
        sides = self._reversed_padding_repeated_twice  # (left, right, top, bottom)
        if self.padding_mode != "zeros":
            return functional.pad(input, sides, mode=self.padding_mode), (0, 0)
        left, right, top, bottom = sides
        if left != right or top != bottom:  # "same" with an even kernel
            input = functional.pad(input, (0, right - left, 0, bottom - top))
        return input, (top, left)


class ReSpropLinear(ReSpropLayer, nn.Linear):
    """A Linear that trains with ReSprop; in evaluation mode it is an ordinary one."""

    @torch.compiler.disable
    def forward(self, input: Tensor) -> Tensor:
        """Input [N, ..., C] to output [N, ..., K]."""
        if not self._reuses() or input.dim() < 2:
            return super().forward(input)
        arguments = _autocast(input, self.weight, self.bias)
        output: Tensor = ReSprop.apply(*arguments, LinearOperator(), self.reuse)
        return output


def convert(
    model: nn.Module,
    reuse_sparsity: float = 0.9,
    *,
    rule: str = "halve-double",
    linear: bool = False,
    per_layer: Mapping[str, float] | None = None,
    skip: Collection[str] = (),
    seed: int = 0,
) -> nn.Module:
    """Make every Conv2d (and, if asked, every Linear) of a model train with ReSprop, in place.

    Names, parameters, hooks and state-dict keys stay; an optimizer made before stays valid.

    Args:
        model: any module; returned again.
        reuse_sparsity: wanted fraction of zeros in the gradient delta, in [0, 1).
        rule: threshold rule, one of ``resprop_train.threshold.RULES``.
        linear: convert fully connected layers too.
        per_layer: other reuse sparsities for layers of these names.
        skip: names of layers that stay ordinary.
        seed: decides which samples are reused.

    Raises:
        TrainError: a bad setting, an unknown layer name, or nothing to convert.
    """
    density = 1.0 - check_reuse_sparsity(reuse_sparsity)
    make_rule(rule)
    wanted = {
        name: 1.0 - check_reuse_sparsity(value, f"per_layer[{name!r}]")
        for name, value in (per_layer or {}).items()
    }
    found = dict(_convertible(model, linear=linear))
    for name in [*wanted, *skip]:
        if name not in found:
            raise TrainError(f"no layer {name!r} to convert; there are {_shorten(list(found))}")
    chosen = {name: module for name, module in found.items() if name not in set(skip)}
    if not chosen:
        kinds = "Conv2d or Linear" if linear else "Conv2d"
        raise TrainError(f"{type(model).__name__} has no {kinds} layer to convert")
    workspace = Workspace()
    for name, module in chosen.items():
        if not isinstance(module, ReSpropLayer):
            module.__class__ = _resprop_class(type(module))  # type: ignore[arg-type]
        assert isinstance(module, ReSpropLayer)
        module.reuse = Reuse(
            name=name,
            density=wanted.get(name, density),
            rule=rule,
            seed=seed,
            workspace=workspace,
        )
    return model


def revert(model: nn.Module) -> nn.Module:
    """Undo ``convert``: every layer is of its original class again, with its present weights."""
    for module in model.modules():
        if isinstance(module, ReSpropLayer):
            del module.reuse
            module.__class__ = _original_class(type(module))  # type: ignore[assignment]
    return model


def reuse_layers(model: nn.Module) -> dict[str, Reuse]:
    """The reuse state of every converted layer, by name, in the order of the model."""
    return {
        module.reuse.name: module.reuse
        for module in model.modules()
        if isinstance(module, ReSpropLayer)
    }


def set_reuse(model: nn.Module, enabled: bool) -> None:
    """Switch every converted layer between ReSprop and ordinary back-propagation."""
    for reuse in reuse_layers(model).values():
        reuse.enabled = enabled


def schedule_densities(model: nn.Module, density: Callable[[str, float], float]) -> None:
    """Set each layer's wanted density to ``density(name, its target)``; 1 or more is dense."""
    for name, reuse in reuse_layers(model).items():
        wanted = density(name, reuse.target)
        reuse.enabled = wanted < 1 or reuse.target >= 1
        reuse.density = min(wanted, 1.0)


def _convertible(model: nn.Module, *, linear: bool) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.lazy.LazyModuleMixin):
            if isinstance(module, nn.Conv2d):
                raise TrainError(f"layer {name!r} is lazy: run one forward pass before converting")
        elif isinstance(module, nn.Conv2d):
            if _keeps(module, nn.Conv2d, "forward") and _keeps(module, nn.Conv2d, "_conv_forward"):
                yield name, module
            else:
                message = f"layer {name!r} of class {type(module).__name__} has its own forward"
                warnings.warn(f"{message}: it stays an ordinary layer", stacklevel=3)
        elif linear and isinstance(module, nn.Linear) and _keeps(module, nn.Linear, "forward"):
            yield name, module


def _keeps(module: nn.Module, base: type[nn.Module], method: str) -> bool:
    """Whether a module's method is the one of ``base`` (or already ours)."""
    return isinstance(module, ReSpropLayer) or getattr(type(module), method) is getattr(
        base, method
    )


@cache
def _resprop_class(original: Hashable) -> type[nn.Module]:
    assert isinstance(original, type)
    if original is nn.Conv2d:
        return ReSpropConv2d
    if original is nn.Linear:
        return ReSpropLinear
    base = ReSpropConv2d if issubclass(original, nn.Conv2d) else ReSpropLinear
    return type(f"ReSprop{original.__name__}", (base, original), {})


def _original_class(converted: type[nn.Module]) -> type[nn.Module]:
    if converted is ReSpropConv2d:
        return nn.Conv2d
    if converted is ReSpropLinear:
        return nn.Linear
    return converted.__bases__[1]


def _autocast(input: Tensor, *others: Tensor | None) -> tuple[Any, ...]:
    """Cast as autocast would have done for the ordinary layer."""
    device = input.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return (input, *others)
    dtype = torch.get_autocast_dtype(device)
    return tuple(
        t.to(dtype) if t is not None and t.dtype in (torch.float32, torch.float16, torch.bfloat16)
        else t
        for t in (input, *others)
    )  # fmt: skip


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    return (value[0], value[1])


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
