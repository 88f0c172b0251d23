"""Converted layers: the ordinary classes with another backward pass."""

# TorchScript takes comments on types for types, so that mypy is told here; torch's own classes have
# the methods of their dimensions only.
# mypy: disable-error-code="operator, attr-defined, arg-type"

from __future__ import annotations

from typing import Any

import torch
import torch.jit
from torch import Tensor, nn
from torch.nn import functional

from resprop_train.function import SparseBackward, tell_unneeded, watch_ordinary
from resprop_train.operators import ConvolutionOperator, LinearOperator, Operator
from resprop_train.reuse import Reuse


class ReSpropLayer(nn.Module):
    """Mixed into a layer's own class: same parameters and names, another backward pass.

    The state travels in the metadata of ``state_dict()``, so that the keys stay those of the
    original model and weights can be exchanged with it in both directions.
    """

    reuse: Reuse
    __jit_ignored_attributes__ = ("reuse",)

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

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class may have been made at run time; its original can be imported.
        return _rebuild, (original_class(type(self)),), self.__getstate__()


class _ReSpropConvolution(ReSpropLayer, nn.modules.conv._ConvNd):
    """What convolutions of all dimensions have in common."""

    # Autograd functions with a memory are not traced: torch.compile breaks the graph here.
    @torch.compiler.disable
    def forward(self, input: Tensor) -> Tensor:
        """Input [N, C, ...] to output [N, K, ...]."""
        if torch.jit.is_scripting():
            return self._conv_forward(input, self.weight, self.bias)
        return self._sparse_forward(input)

    @torch.jit.unused
    def _sparse_forward(self, input: Tensor) -> Tensor:
        reuse, bias = self.reuse, self.bias
        weight = _forward_weight(reuse, self.weight)
        if why := _out_of_reach(self, input, weight, len(self.stride) + 2):
            if why != "not training":
                reuse.passed[why] += 1
            return self._conv_forward(input, weight, bias)
        _announce(reuse)
        if not reuse.enabled:
            output = self._conv_forward(input, weight, bias)
            if reuse.observers:  # who needs to see the input as it is convolved
                input, padding = self._pad(input)
                _watch(reuse, self._operator(padding), input, weight, output)
            else:
                _watch(reuse, self._operator(), input, weight, output)
            return output
        input, weight, bias = _autocast(input, weight, bias)
        input, padding = self._pad(input)
        operator = self._operator(padding)
        return _apply(reuse, operator, input, weight, bias)

    def _operator(self, padding: tuple[int, ...] | None = None) -> ConvolutionOperator:
        if padding is None:
            low = self._reversed_padding_repeated_twice[::2]
            padding = tuple(reversed(low))
        return ConvolutionOperator(
            stride=tuple(self.stride),
            padding=padding,
            dilation=tuple(self.dilation),
            groups=self.groups,
        )

    def _pad(self, input: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Pad the input where equal zero padding will not do; return the padding still to apply."""
        sides = self._reversed_padding_repeated_twice  # (left, right, top, bottom), last axis first
        if self.padding_mode != "zeros":
            return functional.pad(input, sides, mode=self.padding_mode), (0,) * (len(sides) // 2)
        low, high = sides[::2], sides[1::2]
        if low != high:  # "same" with an even kernel
            more = [x for a, b in zip(low, high, strict=True) for x in (0, b - a)]
            input = functional.pad(input, more)
        return input, tuple(reversed(low))


class ReSpropConv1d(_ReSpropConvolution, nn.Conv1d):
    """A Conv1d that trains with a sparse backward pass; in evaluation mode it is ordinary."""


class ReSpropConv2d(_ReSpropConvolution, nn.Conv2d):
    """A Conv2d that trains with a sparse backward pass; in evaluation mode it is ordinary."""


class ReSpropConv3d(_ReSpropConvolution, nn.Conv3d):
    """A Conv3d that trains with a sparse backward pass; in evaluation mode it is ordinary."""


class _ReSpropTransposed(ReSpropLayer, nn.modules.conv._ConvTransposeNd):
    """What transposed convolutions of all dimensions have in common."""

    @torch.compiler.disable
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Input [N, C, ...] to output [N, K, ...]."""
        if torch.jit.is_scripting():
            return torch.convolution(
                input,
                self.weight,
                self.bias,
                self.stride,
                self.padding,
                self.dilation,
                True,
                self._output_padding(
                    input,
                    output_size,
                    self.stride,
                    self.padding,
                    self.kernel_size,
                    len(self.stride),
                    self.dilation,
                ),
                self.groups,
            )
        return self._sparse_forward(input, output_size)

    @torch.jit.unused
    def _sparse_forward(self, input: Tensor, output_size: list[int] | None) -> Tensor:
        reuse, dimensions = self.reuse, len(self.stride)
        if why := _out_of_reach(self, input, self.weight, dimensions + 2):
            if why != "not training":
                reuse.passed[why] += 1
            return super().forward(input, output_size)
        _announce(reuse)
        operator = ConvolutionOperator(
            stride=tuple(self.stride),
            padding=tuple(self.padding),
            dilation=tuple(self.dilation),
            groups=self.groups,
            transposed=True,
            output_padding=tuple(
                self._output_padding(
                    input,
                    output_size,
                    self.stride,
                    self.padding,
                    self.kernel_size,
                    dimensions,
                    self.dilation,
                )
            ),
        )
        if not reuse.enabled:
            output = super().forward(input, output_size)
            _watch(reuse, operator, input, self.weight, output)
            return output
        weight = _forward_weight(reuse, self.weight)
        return _apply(reuse, operator, *_autocast(input, weight, self.bias))


class ReSpropConvTranspose1d(_ReSpropTransposed, nn.ConvTranspose1d):
    """A ConvTranspose1d that trains with a sparse backward pass."""


class ReSpropConvTranspose2d(_ReSpropTransposed, nn.ConvTranspose2d):
    """A ConvTranspose2d that trains with a sparse backward pass."""


class ReSpropConvTranspose3d(_ReSpropTransposed, nn.ConvTranspose3d):
    """A ConvTranspose3d that trains with a sparse backward pass."""


class ReSpropLinear(ReSpropLayer, nn.Linear):
    """A Linear that trains with a sparse backward pass; in evaluation mode it is ordinary."""

    @torch.compiler.disable
    def forward(self, input: Tensor) -> Tensor:
        """Input [N, ..., C] to output [N, ..., K]."""
        if torch.jit.is_scripting():
            return torch.nn.functional.linear(input, self.weight, self.bias)
        return self._sparse_forward(input)

    @torch.jit.unused
    def _sparse_forward(self, input: Tensor) -> Tensor:
        reuse = self.reuse
        weight = _forward_weight(reuse, self.weight)
        if why := _out_of_reach(self, input, weight, None):
            if why != "not training":
                reuse.passed[why] += 1
            return functional.linear(input, weight, self.bias)
        _announce(reuse)
        operator = LinearOperator()
        if not reuse.enabled:
            output = functional.linear(input, weight, self.bias)
            _watch(reuse, operator, input, weight, output)
            return output
        return _apply(reuse, operator, *_autocast(input, weight, self.bias))


KINDS: dict[type[nn.Module], type[ReSpropLayer]] = {
    nn.Conv1d: ReSpropConv1d,
    nn.Conv2d: ReSpropConv2d,
    nn.Conv3d: ReSpropConv3d,
    nn.ConvTranspose1d: ReSpropConvTranspose1d,
    nn.ConvTranspose2d: ReSpropConvTranspose2d,
    nn.ConvTranspose3d: ReSpropConvTranspose3d,
    nn.Linear: ReSpropLinear,
}
"""Ordinary layers and what they are converted to."""


def original_class(converted: type[nn.Module]) -> type[nn.Module]:
    """The class that a layer had before it was converted."""
    for ordinary, ours in KINDS.items():
        if converted is ours:
            return ordinary
    return converted.__bases__[1]


def converted_class(original: type[nn.Module]) -> type[nn.Module]:
    """The class that a layer of class ``original`` gets."""
    if original in KINDS:
        return KINDS[original]
    if original not in _made:
        base = next(KINDS[kind] for kind in KINDS if issubclass(original, kind))
        _made[original] = type(f"ReSprop{original.__name__}", (base, original), {})
    return _made[original]


_made: dict[type[nn.Module], type[nn.Module]] = {}


def _rebuild(original: type[nn.Module]) -> nn.Module:
    converted = converted_class(original)
    return converted.__new__(converted)


def _out_of_reach(
    module: nn.Module, input: Tensor, weight: Tensor, dimensions: int | None
) -> str | None:
    """Why a forward pass has to be the ordinary layer's, if it has to."""
    if not (module.training and torch.is_grad_enabled()):
        return "not training"
    if torch.jit.is_tracing():
        return "traced"
    if torch._C._are_functorch_transforms_active():
        return "torch.func"
    if input.is_complex() or weight.is_complex():
        return "complex"
    if input.dim() < 2 or (dimensions is not None and input.dim() != dimensions):
        return "no batch"
    return None


def _announce(reuse: Reuse) -> None:
    """Tell observers that a forward pass begins, unless a checkpoint repeats it."""
    if reuse.observers and torch._C._current_graph_task_id() == -1:
        for observer in reuse.observers:
            observer.on_forward()


def _forward_weight(reuse: Reuse, weight: Tensor) -> Tensor:
    return reuse.method.forward_weight(weight, reuse.wanted) if reuse.enabled else weight


def _apply(
    reuse: Reuse, operator: Operator, input: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    if not any(t is not None and t.requires_grad for t in (input, weight, bias)):
        tell_unneeded(reuse, operator, input, weight, backward=False)
        return operator.forward(input, weight, bias)
    output: Tensor = SparseBackward.apply(input, weight, bias, operator, reuse)
    return output


def _watch(reuse: Reuse, operator: Operator, input: Tensor, weight: Tensor, output: Tensor) -> None:
    if output.requires_grad:
        watch_ordinary(reuse, operator, input, weight, output)
    else:
        tell_unneeded(reuse, operator, input, weight, backward=False)


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
