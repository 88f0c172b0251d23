"""What one layer carries from one iteration to the next, and what it reports about each."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from resprop_train.methods import find_method
from resprop_train.methods.base import SparseOperands, Sparsifier, Tools
from resprop_train.operators import Operator
from resprop_train.randomness import Draws, Noise
from resprop_train.scalars import Number, copied
from resprop_train.threshold import make_rule
from resprop_train.workspace import Workspace

MOST_USES = 64
"""Uses of one layer that are kept apart; of more the one that was idle longest is forgotten."""

UseKey = tuple[tuple[int, ...], bool, int]
"""The shape of one sample of the input, whether the weights learn, and how many graphs of that kind
were open before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerStep:
    """One backward pass through one layer.

    ``density`` is the fraction of non-zeros of the operand that the method makes sparse, usually
    the gradient; ``dense_because`` is None in a sparse step and otherwise says why the step was an
    ordinary one (then the density is 1). ``elements`` is the size of the gradient. ``macs`` are
    those of one sample and one convolution; ``convolutions`` counts the backward convolutions that
    were needed, 0 to 2, ``left`` is the fraction of their products that is left where that is not
    the density, and ``extra_samples`` is what the method's own phases convolve.

    Off the host ``density``, ``threshold`` and ``left`` are tensors until :func:`read_steps`.
    """

    layer: str
    step: int
    batch_size: int
    density: Any
    threshold: Any
    dense_because: str | None
    elements: int
    macs: int
    convolutions: int
    cosine: float | None = None
    left: Any = None
    extra_samples: int = 1
    valid: Any = 1.0

    @property
    def dense_work(self) -> int:
        """Multiply-accumulates of the ordinary backward convolutions."""
        return self.batch_size * self.macs * self.convolutions

    @property
    def work(self) -> float:
        """Multiply-accumulates that are left, with the dense phases that the method adds."""
        if self.dense_because is not None:
            return float(self.dense_work)
        left = self.density if self.left is None else self.left
        return (left * self.batch_size + self.extra_samples) * self.macs * self.convolutions


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerEvent:
    """One pass through a layer, valid only during the call that receives it.

    ``gradient`` is what both backward convolutions used; it is None, as ``step`` is, where no
    backward convolution was needed. ``input_gradient`` and ``weight_gradient`` say which were.
    ``backward`` is False for a forward pass that no backward pass will follow.
    """

    layer: str
    reuse: Reuse
    activation: Tensor
    weight: Tensor
    gradient: Tensor | None
    operator: Operator
    input_gradient: bool
    weight_gradient: bool
    step: LayerStep | None
    backward: bool = True


class Observer(Protocol):
    """Is told of a layer's passes; it must not raise."""

    def on_forward(self) -> None:
        """A training forward pass begins."""
        ...

    def on_pass(self, event: LayerEvent) -> None:
        """A backward pass was done, or a forward pass that will have none."""
        ...


class Lease:
    """A use of the layer by one graph, from its forward pass to its backward pass or its end."""

    __slots__ = ("_open", "key")

    def __init__(self, open_keys: set[UseKey], shape: tuple[int, ...], learns: bool) -> None:
        index = 0
        while (shape, learns, index) in open_keys:
            index += 1
        self.key: UseKey = (shape, learns, index)
        self._open = open_keys
        open_keys.add(self.key)

    def end(self) -> None:
        """Another graph may be this use now."""
        self._open.discard(self.key)

    def __del__(self) -> None:
        self.end()


class Reuse:
    """One layer's state: settings, and what each of its uses carries.

    A layer that is used several times in a step, or on several sizes, has a state for each: uses
    are told apart by the input's shape (without the batch), by whether the weights learn, and by
    how many graphs of that kind wait for their backward pass.

    Args:
        name: the layer's name in the model that was converted.
        density: wanted fraction of non-zeros, in (0, 1].
        method: name of the method.
        rule: name of the threshold rule.
        seed: with the name and the step it decides which sample is reused; nothing else does.
        margin: what is added to wanted densities below 1 (the authors' code: 0.05).
        groups: parts of a batch with a reused sample of their own.
    """

    def __init__(
        self,
        *,
        name: str,
        density: float,
        method: str,
        rule: str,
        seed: int,
        workspace: Workspace,
        margin: float = 0.0,
        groups: int = 1,
    ) -> None:
        self.name = name
        self.target = density
        self.density = density
        self.margin = margin
        self.rule_name = rule
        self.method = find_method(method)
        draws = Draws(seed, name)
        self.tools = Tools(
            make_rule=partial(make_rule, rule),
            workspace=workspace,
            draws=draws,
            noise=Noise(draws),
            groups=groups,
        )
        self.enabled = True
        self.measure_cosine = False
        self.steps = 0
        self.dense_steps: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.observers: list[Observer] = []
        self.observer: Callable[[LayerEvent], None] | None = None
        self._uses: OrderedDict[UseKey, Sparsifier] = OrderedDict()
        self._open: set[UseKey] = set()
        self._latest = self.method(self.tools)
        self.unread: LayerStep | None = None

    @property
    def wanted(self) -> float:
        """The density that the method aims at now."""
        return self.density if self.density >= 1 else min(self.density + self.margin, 1.0)

    @property
    def seed(self) -> int:
        """What decides about samples, beside the name and the step."""
        return self.tools.draws.seed

    @property
    def latest(self) -> Sparsifier:
        """The state of the use that had its backward pass last."""
        return self._latest

    @property
    def sample(self) -> Tensor | None:
        """The reused gradient of the latest use, [groups, ...]."""
        return getattr(self._latest, "sample", None)

    @property
    def rule(self) -> Any:
        """The threshold rule of the latest use."""
        return getattr(self._latest, "rule", None)

    @property
    def last(self) -> LayerStep | None:
        """The latest step; read from the device if it is there."""
        if self.unread is not None:
            (self.unread,) = read_steps([self.unread])
        return self.unread

    def open(self, activation: Tensor, weight: Tensor) -> Lease:
        """Begin a use: a forward pass that may have a backward pass."""
        return Lease(self._open, tuple(activation.shape[1:]), weight.requires_grad)

    def use(self, key: UseKey) -> Sparsifier:
        """The state of a use; a new one where there is none."""
        state = self._uses.get(key)
        if state is None:
            state = self.method(self.tools) if self._uses else self._latest
            self._uses[key] = state
            if len(self._uses) > MOST_USES:
                self._uses.popitem(last=False)
        self._uses.move_to_end(key)
        self._latest = state
        return state

    def finish(self, step: LayerStep, gradient: Tensor, state: Sparsifier) -> None:
        """Book the step and let the state keep what it needs for the next one."""
        if step.dense_because is not None:
            self.dense_steps[step.dense_because] += 1
        self.unread = step
        self.steps += 1
        self.tools.draws.step = self.steps
        if gradient.shape[0] == 0:
            state.forget()
        else:
            state.keep(gradient)

    def tell(self, event: LayerEvent) -> None:
        """Tell the observers of a pass."""
        for observer in self.observers:
            observer.on_pass(event)
        if self.observer is not None:
            self.observer(event)

    def reset(self) -> None:
        """Forget all uses: the next step of each is as if it were the first."""
        self._uses.clear()
        self._latest = self.method(self.tools)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on besides the settings; plain values and tensors."""
        return {
            "method": self.method.name,
            "rule": self.rule_name,
            "seed": self.seed,
            "steps": self.steps,
            "dense_steps": dict(self.dense_steps),
            "sample": self.sample,  # for who looks into the file; the uses have it too
            "uses": [
                {"shape": list(shape), "learns": learns, "index": index} | {"state": u.state_dict()}
                for (shape, learns, index), u in self._uses.items()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state; the settings stay those of ``convert``.

        What another method or rule left is of no use here: then every use begins anew.
        """
        self.tools.draws.seed = state.get("seed", self.seed)
        self.steps = self.tools.draws.step = state.get("steps", 0)
        self.dense_steps = Counter(state.get("dense_steps", {}))
        self.reset()
        if (state.get("method"), state.get("rule")) != (self.method.name, self.rule_name):
            return
        for saved in state["uses"]:
            key = (tuple(saved["shape"]), saved["learns"], saved["index"])
            self.use(key).load_state_dict(saved["state"])

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a file has no observers and no open graphs."""
        return vars(self) | {"observers": [], "observer": None, "_open": set()}


def booked(
    step: LayerStep, sparse: SparseOperands, needs: tuple[bool, ...], cosine: float | None
) -> LayerStep:
    """The step with what the method made of it."""
    left: Number | None = None
    if sparse.work is not None:
        wanted = [part for part, need in zip(sparse.work, needs, strict=True) if need]
        left = sum(wanted[1:], wanted[0]) / len(wanted)
    samples = 0 if sparse.shared is None else len(sparse.shared)
    return replace(
        step,
        density=sparse.density,
        threshold=copied(sparse.threshold),  # these two change in their place
        left=left,
        extra_samples=samples,
        valid=copied(sparse.valid),
        cosine=cosine,
    )


def read_steps(steps: Iterable[LayerStep], *others: Tensor) -> list[Any]:
    """The steps with all their numbers read from the device at once.

    ``others`` are further one-element tensors, whose values follow as floats.
    """
    steps = list(steps)
    fields = ("density", "threshold", "left", "valid")
    unread = [
        (index, name, value)
        for index, step in enumerate(steps)
        for name in fields
        if isinstance(value := getattr(step, name), Tensor)
    ]
    tensors = [value for _, _, value in unread] + list(others)
    numbers = _read_all(tensors)
    changes: dict[int, dict[str, Any]] = {}
    for (index, name, _), number in zip(unread, numbers, strict=False):
        changes.setdefault(index, {})[name] = number
    for index, change in changes.items():
        if change.get("valid", 1.0) == 0.0:
            change |= {"density": 1.0, "left": None, "dense_because": "overflow"}
        steps[index] = replace(steps[index], **change)
    return [*steps, *numbers[len(unread) :]]


def last_steps(layers: Iterable[Reuse], *others: Tensor) -> tuple[tuple[LayerStep, ...], Any]:
    """The latest steps of layers that had one, and the values of ``others``, read at once."""
    layers = [layer for layer in layers if layer.unread is not None]
    found = read_steps([layer.unread for layer in layers if layer.unread is not None], *others)
    for layer, step in zip(layers, found, strict=False):
        layer.unread = step
    return tuple(found[: len(layers)]), found[len(layers) :]


def _read_all(tensors: list[Tensor]) -> list[float]:
    if not tensors:
        return []
    device = tensors[0].device  # layers of a model may be on several
    dtype = torch.float32 if device.type == "mps" else torch.float64
    single = [t.detach().reshape(()).to(device=device, dtype=dtype) for t in tensors]
    read: list[float] = torch.stack(single).tolist()
    return read
