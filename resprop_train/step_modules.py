"""Whose operation it is: modules by the calls that made a step's nodes of the autograd graph."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, Self

import torch
from torch import nn

Owner = tuple[str, int]
"""Path of a module, and which of its calls in the step, from 1."""
NOWHERE: Owner = ("", 1)
LOSS = "(loss)"
"""Owner of what the loss function does; no module can have this name."""


class ModuleTracker:
    """Follows the calls of a model's modules, in the forward pass and back.

    Every node of the autograd graph has a number, and those that a call made have the numbers
    between its beginning and its end; so a node tells whose backward pass it is. Calls made during
    the backward pass (recomputation, as checkpointing does) are their modules' own, too.
    """

    def __init__(self, model: nn.Module) -> None:
        self._paths: dict[nn.Module, str] = {m: path for path, m in model.named_modules()}
        self._modules = {path: m for m, path in self._paths.items()}
        self._parameters = {
            id(parameter): path
            for path, module in self._modules.items()
            for parameter in module.parameters(recurse=False)
        }
        self._calls: list[tuple[Owner, int]] = []
        self._counts: Counter[str] = Counter()
        self._owners: dict[int, Owner] = {}
        self.recomputing = False
        """Whether calls are repeated ones, of the backward pass."""

    @contextmanager
    def following(self) -> Iterator[Self]:
        """Follow the calls made inside the block."""
        with ExitStack() as stack:
            for module, path in self._paths.items():

                def begin(*_: Any, path: str = path) -> None:
                    self._begin(path)

                def end(*_: Any) -> None:
                    self._end()

                for handle in (
                    module.register_forward_pre_hook(begin, prepend=True),
                    module.register_forward_hook(end, always_call=True),
                ):
                    stack.callback(handle.remove)
            yield self

    @contextmanager
    def calling(self, path: str) -> Iterator[None]:
        """Take what is done inside the block for a call of ``path``."""
        self._begin(path)
        try:
            yield
        finally:
            self._end()

    def _begin(self, path: str) -> None:
        if not self.recomputing:
            self._counts[path] += 1
        self._calls.append(((path, max(self._counts[path], 1)), _next_node()))

    def _end(self) -> None:
        owner, first = self._calls.pop()
        for number in range(first, _next_node()):
            self._owners.setdefault(number, owner)  # calls inside this one have ended before

    def calling_any(self) -> bool:
        """Whether a call of a module is under way."""
        return bool(self._calls)

    def owner(self) -> Owner:
        """The module (and use) whose operation is running now."""
        if self._calls:
            return self._calls[-1][0]
        node = _node()
        if node is None:
            return NOWHERE
        if hasattr(node, "variable"):  # where the gradient of a parameter is added up
            return self._parameters.get(id(node.variable), ""), 1
        return self._owners.get(node._sequence_nr(), NOWHERE)

    def module(self, owner: Owner) -> nn.Module | None:
        """The module of an owner."""
        return self._modules.get(owner[0])

    def where(self) -> str:
        """The module that is running, for messages."""
        path = self._calls[-1][0][0] if self._calls else ""
        return "the loss" if path == LOSS else f"module {path!r}" if path else "the model"

    def in_resprop(self) -> bool:
        """Whether the backward pass of one of this package's functions is running, or what a
        method makes of the weights before the forward pass.

        The running node alone does not tell: it is the last one, too, while gradients that meet are
        added up.
        """
        function = getattr(type(_node()), "_forward_cls", None)
        if function is None:
            return _is_running("forward_weight", "resprop_train.methods.")
        module = function.__module__
        return module.startswith("resprop_train.") and _is_running("backward", module)

    def products_needed(self) -> int:
        """How many gradients of operands the running node was asked for."""
        return sum(_node().needs_input_grad[:2])


def _node() -> Any:
    return torch._C._current_autograd_node()


def _next_node() -> int:
    return int(torch._C._autograd._get_sequence_nr())


def _is_running(function: str, module: str) -> bool:
    """Whether a function of that name, of a module whose name begins so, is being called."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if frame.f_code.co_name == function and name.startswith(module):
            return True
        frame = frame.f_back
    return False
