"""What each class of operations costs a GPU, from its bytes and multiply-adds.

A rule says how many bytes the kernels of an operation move (batch-norm reads its input twice, the
backward pass of a pooling clears its result first) and which coefficient bounds them. A new class
is a function with :func:`rule`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gscn_sim.gpu.coefficients import StepCoefficients
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.layers import Array
from workloads.step import ELEMENT_BYTES, Operation, TensorUse

NORM_KERNELS = 3
"""Statistics in two steps, then the result. Assumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What an operation's kernels move, and what bounds them.

    ``by`` names the coefficient that says which part of the DRAM peak they reach, ``share`` the
    part of it that this operation's sizes allow. Multiply-adds are priced beside; the longer
    counts.
    ``kernels`` that wait for one another cost their least time each beside it; 0: it is one.
    """

    moved_bytes: float
    by: str
    share: float = 1.0
    kernels: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Bytes of tensors as a precision moves them.

    A step recorded in fp32 is priced in 16 bits as if it ran under autocast: activations, weights
    and their gradients in 16 bits, the optimizer in fp32.
    """

    half: bool

    def of(self, tensor: TensorUse) -> float:
        """Bytes of one tensor."""
        if self.half and tensor.dtype == "float32":
            return 2.0 * tensor.elements
        return float(tensor.elements * ELEMENT_BYTES[tensor.dtype])

    def moved(self, operation: Operation) -> float:
        """Bytes of all tensors, each once."""
        return sum(map(self.of, (*operation.inputs, *operation.outputs)))

    def first(self, operation: Operation) -> float:
        """Bytes of the first input, 0 if there is none."""
        return self.of(operation.inputs[0]) if operation.inputs else 0.0


Rule = Callable[[Operation, Sizes, Device], Work]
_RULES: list[tuple[Callable[[Operation], bool], Rule]] = []


def rule(applies: Callable[[Operation], bool]) -> Callable[[Rule], Rule]:
    """Offer a rule for the operations that ``applies`` says; the one registered last wins."""

    def register(function: Rule) -> Rule:
        _RULES.insert(0, (applies, function))
        return function

    return register


def work(operation: Operation, sizes: Sizes, device: Device) -> Work:
    """What an operation moves by the first rule that applies."""
    for applies, function in _RULES:
        if applies(operation):
            return function(operation, sizes, device)
    raise AssertionError("the first rule applies to everything")


def seconds(works: Sequence[Work], macs: Array, device: Device, c: StepCoefficients) -> Array:
    """Times of operations: bytes or multiply-adds, at least one kernel."""
    reached = np.array([getattr(c, one.by) * one.share for one in works])
    memory_ms = np.array([one.moved_bytes for one in works]) / (device.bytes_per_ms * reached)
    compute_ms = 2 * macs / (device.peak_flops_per_ms * c.matmul_efficiency)
    kernels_ms = c.kernel_us / 1e3 * np.array([one.kernels for one in works])
    busy_ms = np.maximum(memory_ms, compute_ms) + kernels_ms
    return np.asarray(np.maximum(busy_ms, c.kernel_us / 1e3) / 1e3)


@rule(lambda operation: True)
def stream(operation: Operation, sizes: Sizes, device: Device) -> Work:
    """Element-wise: every tensor once. Matrix products beside their multiply-adds."""
    return Work(moved_bytes=sizes.moved(operation), by="stream_fraction")


@rule(lambda operation: operation.kind == "normalisation" and "norm" in operation.name)
def normalisation(operation: Operation, sizes: Sizes, device: Device) -> Work:
    """Statistics are a pass of their own: 3 times the tensor forward, 5 times backward.

    NCHW kernels give each channel to one SM: channels that do not fill the SMs leave some idle.
    """
    backward = operation.phase == "backward"
    again = (2 if backward else 1) * sizes.first(operation)
    share = 1.0
    shape = operation.inputs[0].shape if operation.inputs else ()
    if "batch_norm" in operation.name and len(shape) == 4 and device.is_channels_first:
        waves = -(-shape[1] // device.sms)
        share = shape[1] / (waves * device.sms)
    by = "norm_backward_fraction" if backward else "norm_forward_fraction"
    moved = sizes.moved(operation) + again
    return Work(moved_bytes=moved, by=by, share=share, kernels=NORM_KERNELS)


@rule(lambda operation: operation.kind == "pooling" and "pool" in operation.name)
def pooling(operation: Operation, sizes: Sizes, device: Device) -> Work:
    """Forward reads each window; backward clears the result, then fills it in."""
    moved = sizes.moved(operation)
    if operation.phase == "backward":
        cleared = sum(map(sizes.of, operation.outputs))
        return Work(moved_bytes=moved + cleared, by="pool_backward_fraction")
    window = 1
    for side in operation.attributes.get("kernel_size", ()):
        window *= side
    written = sum(map(sizes.of, operation.outputs))
    first = sizes.of(operation.outputs[0]) if operation.outputs else 0.0
    read = max(sizes.first(operation), first * window)
    return Work(moved_bytes=read + written, by="pool_forward_fraction")


def _sums(operation: Operation) -> bool:
    return operation.name in ("sum", "convolution_backward.bias")


@rule(_sums)
def bias_gradient(operation: Operation, sizes: Sizes, device: Device) -> Work:
    """Sums over a tensor."""
    return Work(moved_bytes=sizes.moved(operation), by="bias_fraction")


@rule(lambda operation: operation.name == "convolution.bias")
def bias_addition(operation: Operation, sizes: Sizes, device: Device) -> Work:
    """The bias of a convolution is added in place by a kernel of its own."""
    return Work(moved_bytes=sizes.moved(operation), by="bias_fraction")


@rule(lambda operation: operation.kind == "optimizer")
def optimizer(operation: Operation, sizes: Sizes, device: Device) -> Work:
    """Passes over all parameters, in the type that they were recorded in."""
    moved = operation.bytes_read + operation.bytes_written
    return Work(moved_bytes=moved, by="optimizer_fraction")


@rule(lambda operation: operation.kind == "cast")
def cast(operation: Operation, sizes: Sizes, device: Device) -> Work:
    """Copies from one type to another, in the types they were recorded in."""
    moved = operation.bytes_read + operation.bytes_written
    return Work(moved_bytes=moved, by="cast_fraction")


def with_lowered(operations: tuple[Operation, ...], half: bool) -> Iterator[Operation]:
    """The operations as a device runs them.

    A convolution's bias is an operation of its own; under autocast weights and pictures are cast
    before their use, and gradients of weights after it.
    """
    pictures = True
    for operation in operations:
        forward = operation.phase == "forward"
        product = operation.kind in ("convolution", "matmul") and operation.macs > 0
        if half and product and forward:
            cast_inputs = operation.inputs if pictures else operation.inputs[1:]
            pictures = False
            for tensor in cast_inputs:
                yield _cast(operation, tensor, "float32", "bfloat16")
        yield operation
        if operation.kind == "convolution" and forward and len(operation.inputs) > 2:
            yield Operation(
                phase="forward",
                kind="addition",
                name="convolution.bias",
                module=operation.module,
                inputs=(operation.outputs[0], operation.inputs[2]),
                outputs=operation.outputs[:1],
            )
        if half and product and not forward and _is_weight_gradient(operation):
            yield _cast(operation, operation.outputs[0], "bfloat16", "float32")


def _is_weight_gradient(operation: Operation) -> bool:
    if operation.kind == "convolution":
        return operation.name.endswith("wgrad")
    return operation.name == "mm" and len(operation.outputs) == 1


def _cast(operation: Operation, tensor: TensorUse, before: str, after: str) -> Operation:
    def typed(dtype: str) -> TensorUse:
        return TensorUse(
            storage=tensor.storage, shape=tensor.shape, dtype=dtype, elements=tensor.elements
        )

    return Operation(
        phase=operation.phase,
        kind="cast",
        name="copy_",
        module=operation.module,
        inputs=(typed(before),),
        outputs=(typed(after),),
    )
