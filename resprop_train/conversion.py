"""Turn the convolutions of any model into ReSprop ones, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping

from torch import nn
from torch.nn.utils import parametrize

from resprop_train.errors import TrainError, check_reuse_sparsity
from resprop_train.layers import KINDS, ReSpropLayer, converted_class, original_class
from resprop_train.layers import ReSpropConv2d as ReSpropConv2d
from resprop_train.loss_scale import watch_scalers
from resprop_train.methods import DEFAULT, find_method
from resprop_train.reuse import Reuse
from resprop_train.threshold import make_rule
from resprop_train.workspace import Workspace


def convert(
    model: nn.Module,
    reuse_sparsity: float = 0.9,
    *,
    method: str = DEFAULT,
    rule: str = "halve-double",
    linear: bool = False,
    per_layer: Mapping[str, float] | None = None,
    skip: Collection[str] = (),
    seed: int = 0,
    margin: float = 0.0,
    groups: int = 1,
) -> nn.Module:
    """Make every convolution (and, if asked, every Linear) of a model train sparsely, in place.

    Names, parameters, hooks and state-dict keys stay; an optimizer made before stays valid.

    Args:
        model: any module; returned again.
        reuse_sparsity: wanted fraction of zeros in the gradient delta (or what else the method
            makes sparse), in [0, 1).
        method: what is made sparse and how, one of ``resprop_train.methods.methods()``.
        rule: threshold rule, one of ``resprop_train.threshold.RULES``.
        linear: convert fully connected layers too.
        per_layer: other reuse sparsities for layers of these names.
        skip: names of layers that stay ordinary.
        seed: decides which samples are reused.
        margin: added to the wanted densities (the authors' code adds 0.05).
        groups: parts of a batch with a reused sample each (the authors' code: one a GPU).

    Raises:
        TrainError: a bad setting, an unknown layer name, or nothing to convert.
    """
    density = 1.0 - check_reuse_sparsity(reuse_sparsity)
    make_rule(rule)
    wanted = {
        name: 1.0 - check_reuse_sparsity(value, f"per_layer[{name!r}]")
        for name, value in (per_layer or {}).items()
    }
    for value in (density, *wanted.values()):
        find_method(method).check_density(value)
    check_margin(margin)
    if groups < 1:
        raise TrainError(f"groups must be at least 1, got {groups}")
    found = dict(_convertible(model, linear=linear))
    for name in [*wanted, *skip]:
        if name not in found:
            raise TrainError(f"no layer {name!r} to convert; there are {_shorten(list(found))}")
    chosen = {name: module for name, module in found.items() if name not in set(skip)}
    if not chosen:
        kinds = "Conv2d or Linear" if linear else "Conv2d"
        raise TrainError(
            f"{type(model).__name__} has no {kinds} layer to convert, nor another convolution"
        )
    watch_scalers()
    workspace = Workspace()
    for name, module in chosen.items():
        if not isinstance(module, ReSpropLayer):
            module.__class__ = _change_class(module, converted_class)
        assert isinstance(module, ReSpropLayer)
        module.reuse = Reuse(
            name=name,
            density=wanted.get(name, density),
            method=method,
            rule=rule,
            seed=seed,
            workspace=workspace,
            margin=margin,
            groups=groups,
        )
    return model


def check_margin(margin: float) -> float:
    """Return what is added to wanted densities if it is in [0, 1).

    Raises:
        TrainError: it is not.
    """
    if not 0.0 <= margin < 1.0:
        raise TrainError(f"margin must be in [0, 1), got {margin!r}")
    return margin


def revert(model: nn.Module) -> nn.Module:
    """Undo ``convert``: every layer is of its original class again, with its present weights."""
    for module in model.modules():
        if isinstance(module, ReSpropLayer):
            del module.reuse
            module.__class__ = _change_class(module, original_class)  # type: ignore[assignment]
    return model


def reuse_layers(model: nn.Module) -> dict[str, Reuse]:
    """The state of every converted layer by its name in this model, in the order of the model."""
    return {
        name: module.reuse
        for name, module in model.named_modules()
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
        kind = next((kind for kind in KINDS if isinstance(module, kind)), None)
        if kind is None or (kind is nn.Linear and not linear):
            continue
        if isinstance(module, nn.modules.lazy.LazyModuleMixin):
            raise TrainError(f"layer {name!r} is lazy: run one forward pass before converting")
        if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
            continue  # MultiheadAttention takes its weights and never calls it
        if isinstance(module, ReSpropLayer) or _keeps_forward(type(module), kind):
            yield name, module
        else:
            message = f"layer {name!r} of class {type(module).__name__} has its own forward"
            warnings.warn(f"{message}: it stays an ordinary layer", stacklevel=3)


def _keeps_forward(cls: type[nn.Module], kind: type[nn.Module]) -> bool:
    """Whether a class computes its output as ``kind`` does."""
    methods = [name for name in ("forward", "_conv_forward") if hasattr(kind, name)]
    return all(getattr(cls, name) is getattr(kind, name) for name in methods)


def _change_class(
    module: nn.Module, change: Callable[[type[nn.Module]], type[nn.Module]]
) -> type[nn.Module]:
    """The class that the module gets; parametrizations stay on top of it.

    ``torch.nn.utils.parametrize`` puts a class of the module's own over its class and takes its
    first base when the last parametrization goes.
    """
    cls = type(module)
    if parametrize.is_parametrized(module) and cls.__name__.startswith("Parametrized"):
        content = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
        below = change(cls.__bases__[0])
        return type(f"Parametrized{below.__name__}", (below,), content)
    return change(cls)


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
