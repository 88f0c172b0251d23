"""What each operation of a step makes the vector unit do, and which passes fusions save.

A class of operations is a function with :func:`rule`; a fusion is an ``if`` in the rule of the
operation whose pass it saves. Bytes are those of whole tensors in memory, each pass over a tensor
counted; scalars take no time. A feature map that a convolution reads is stored once more in
compressed form by whoever writes it (``Context.compressed``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gscn_sim.config.sections import FusionConfig
from gscn_sim.fabric.jobs import VectorWork
from gscn_sim.step.flow import Flow
from workloads import Phase
from workloads.step import ELEMENT_BYTES, Operation, TensorUse

NOTHING = VectorWork()
MASK_BITS = 1  # of ReLU's mask, an element


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a rule may look at.

    Attributes:
        value_bytes: of one element of a feature map, weight or gradient.
        parameter_bytes: of one element of a parameter or its state where the optimizer keeps it.
        compressed: module -> bytes of its convolution's compressed input (activation) and of its
            compressed gradient delta, where masks are known; empty on an array without sparsity.
    """

    flow: Flow
    fusion: FusionConfig
    value_bytes: int
    parameter_bytes: int
    compressed: Mapping[str, tuple[int, int]]

    def size(self, tensor: TensorUse, *, kept: bool = False) -> int:
        """Bytes of one pass over a tensor; ``kept``: as the optimizer keeps it."""
        floating = tensor.dtype.startswith(("float", "bfloat"))
        if not floating:
            return tensor.elements * ELEMENT_BYTES[tensor.dtype]
        return tensor.elements * (self.parameter_bytes if kept else self.value_bytes)

    def copy_size(self, tensor: TensorUse) -> int:
        """Bytes of the copy of a parameter that the PEs read, if it is not the parameter itself."""
        own = self.parameter_bytes != self.value_bytes and tensor.storage in self.flow.parameters
        return self.size(tensor) if own else 0


Rule = Callable[[int, Operation, Context], VectorWork]
_RULES: dict[str, Rule] = {}


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Register the rule of one or several kinds of operation."""

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def vector_work(number: int, operation: Operation, context: Context) -> VectorWork | None:
    """What the vector unit does for an operation; None for one on scalars, which takes no time."""
    if operation.elements <= 1:
        return None
    work = _RULES.get(operation.kind, streamed)(number, operation, context)
    return VectorWork(
        read_bytes=work.read_bytes,
        write_bytes=work.write_bytes + _compressed_copies(number, operation, context),
        elements=work.elements,
    )


def runs_on_array(operation: Operation) -> bool:
    """Whether the PEs run an operation: convolutions and matrix products."""
    return operation.macs > 0


def streamed(number: int, operation: Operation, context: Context) -> VectorWork:
    """Element-wise: every tensor once."""
    return VectorWork(
        read_bytes=sum(map(context.size, operation.inputs)),
        write_bytes=sum(map(context.size, operation.outputs)),
        elements=operation.elements,
    )


@rule("normalisation")
def normalisation(number: int, operation: Operation, context: Context) -> VectorWork:
    """Two passes, the first for sums: forward over the input, backward over both maps.

    With ``fusion.norm_statistics`` the drain has summed up a convolution's outputs as they left.
    With ``fusion.delta`` a gradient of which only the delta is used is not written, but for the
    sample to be reused.
    """
    if "norm" not in operation.name:
        return streamed(number, operation, context)
    work = streamed(number, operation, context)
    maps = [tensor for tensor in operation.inputs if tensor.elements == operation.elements]
    again, passes = sum(map(context.size, maps)), 2
    if operation.phase == "forward" and context.fusion.norm_statistics:
        writer = context.flow.writer(number, operation.inputs[0].storage)
        if writer is not None and runs_on_array(writer):
            again, passes = 0, 1
    return VectorWork(
        read_bytes=work.read_bytes + again,
        write_bytes=work.write_bytes - _unwritten_gradient(number, operation, context),
        elements=passes * operation.elements,
    )


@rule("activation")
def activation(number: int, operation: Operation, context: Context) -> VectorWork:
    """One pass; with ``fusion.activation`` it is done in a pass beside it.

    Forward that is the pass, or the drain, that made the input. Backward it is batch-norm's, if
    nothing else reads the result: its two passes then read the mask too.
    """
    work = streamed(number, operation, context)
    written = operation.outputs[0]
    made_by = context.flow.writer(number, operation.inputs[0].storage)
    if context.fusion.activation and operation.phase == "forward" and made_by is not None:
        return VectorWork()
    if context.fusion.activation and operation.phase == "backward":
        users = context.flow.users(number, written.storage)
        if len(users) == 1 and users[0].kind == "normalisation":
            return VectorWork(read_bytes=2 * -(-written.elements * MASK_BITS // 8))
    return VectorWork(
        read_bytes=work.read_bytes,
        write_bytes=work.write_bytes - _unwritten_gradient(number, operation, context),
        elements=work.elements,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnPasses:
    """ReSprop's own passes for one layer, apart where different things must be over before.

    ``delta``: what makes the delta, before the convolutions; ``batch_sum``: of A, before
    ``pre_wgrad``; ``pre_dgrad``, ``pre_wgrad``: their results added to dA and dW.
    """

    delta: VectorWork = NOTHING
    batch_sum: VectorWork = NOTHING
    pre_dgrad: VectorWork = NOTHING
    pre_wgrad: VectorWork = NOTHING


def resprop_work(operations: Sequence[Operation], context: Context) -> OwnPasses:
    """ReSprop's own passes over memory for one layer, as the machine does them.

    Forming, thresholding and compressing the delta, adding the pre-terms, summing A over the batch
    for ``pre_wgrad``, keeping a sample. They follow from the layer and the phases that its
    ``operations`` run, not from how the trainer's program was written.

    Apart: G and the sample are read and the difference written; it is read and written thresholded;
    it is read and written compressed; the sample to be kept is copied; dA, dW and A take a pass
    each. Fused: what remains is the reused sample, the compressed delta, and the small results that
    one pass leaves to another; the sample to be kept is written by what makes G.
    """
    phases = {o.layer_phase: o for o in operations if o.layer is not None}
    products = [o for phase in (Phase.DGRAD, Phase.WGRAD) if (o := phases.get(phase))]
    if not products:
        return OwnPasses()
    layer, samples = products[0].layer, products[0].samples
    assert layer is not None
    each, fusion = context.value_bytes, context.fusion
    g_one, a_one = math.prod(layer.gradient_shape), math.prod(layer.activation_shape)
    weights = math.prod(layer.weight_shape)
    delta_bytes = context.compressed.get(products[0].module, (0, 0))[1]
    reuses = bool({Phase.PRE_DGRAD, Phase.PRE_WGRAD} & phases.keys())
    g, sample = samples * g_one * each, reuses * g_one * each
    a = samples * a_one * each
    apart = not fusion.pre_terms
    batch_sum = pre_dgrad = pre_wgrad = VectorWork()
    if fusion.delta:
        read, write, elements = sample, delta_bytes, 0
    else:
        read, write = 3 * g + sample + sample, 2 * g + delta_bytes + sample
        elements = 3 * samples * g_one
    if Phase.PRE_DGRAD in phases:
        pre_dgrad = VectorWork(
            read_bytes=a_one * each + apart * a,
            write_bytes=apart * a,
            elements=apart * samples * a_one,
        )
    if Phase.PRE_WGRAD in phases:
        pre_wgrad = VectorWork(
            read_bytes=(1 + apart) * weights * each,
            write_bytes=apart * weights * each,
            elements=apart * weights,
        )
        summed = not fusion.batch_sum
        batch_sum = VectorWork(
            read_bytes=summed * a, write_bytes=a_one * each, elements=summed * samples * a_one
        )
    return OwnPasses(
        delta=VectorWork(read_bytes=read, write_bytes=write, elements=elements),
        batch_sum=batch_sum,
        pre_dgrad=pre_dgrad,
        pre_wgrad=pre_wgrad,
    )


@rule("optimizer")
def optimizer(number: int, operation: Operation, context: Context) -> VectorWork:
    """A pass of its own; gradients are operands, all else is as the optimizer keeps it.

    A parameter's copy for the PEs is written with it.
    """
    read = 0
    for tensor in operation.inputs:
        writer = context.flow.writer(number, tensor.storage)
        read += context.size(tensor, kept=writer is None or writer.kind == "optimizer")
    written = sum(context.size(t, kept=True) + context.copy_size(t) for t in operation.outputs)
    return VectorWork(read_bytes=read, write_bytes=written, elements=operation.elements)


def optimizer_work(operations: list[Operation], context: Context) -> VectorWork:
    """One pass over parameters, gradients and state: each tensor read once and written once.

    What is written before it is read is a temporary that stays in the lanes. A gradient is only
    read, and is as wide as an operand; what is written is as the optimizer keeps it, and so is what
    was read of it. A parameter's copy for the PEs is written beside it.
    """
    read: dict[tuple[int, tuple[int, ...]], TensorUse] = {}
    written: dict[tuple[int, tuple[int, ...]], TensorUse] = {}
    for operation in operations:
        for tensor in operation.inputs:
            key = tensor.storage, tensor.shape
            if key not in written:
                read.setdefault(key, tensor)
        for tensor in operation.outputs:
            written[tensor.storage, tensor.shape] = tensor
    kept = {key: tensor for key, tensor in written.items() if key in read}
    return VectorWork(
        read_bytes=sum(context.size(tensor, kept=key in kept) for key, tensor in read.items()),
        write_bytes=sum(
            context.size(tensor, kept=True) + context.copy_size(tensor) for tensor in kept.values()
        ),
        elements=max(1, sum(tensor.elements for tensor in kept.values())),
    )


def _unwritten_gradient(number: int, operation: Operation, context: Context) -> int:
    """Bytes of an output gradient that need not be written: all samples but one."""
    if not context.fusion.delta or operation.phase != "backward" or not operation.outputs:
        return 0
    gradient = operation.outputs[0]
    users = context.flow.users(number, gradient.storage)
    if not users or any(user.kind != "resprop" for user in users) or not gradient.shape:
        return 0
    size, samples = context.size(gradient), gradient.shape[0]
    return size - size // max(1, samples)


def _compressed_copies(number: int, operation: Operation, context: Context) -> int:
    """Bytes of the compressed form of what an operation writes, if a convolution reads it."""
    if operation.phase != "forward" or not operation.outputs:
        return 0
    modules = {
        user.module
        for tensor in operation.outputs
        for user in context.flow.users(number, tensor.storage)
        if user.phase == "forward" and user.macs and user.module in context.compressed
    }
    return max((context.compressed[module][0] for module in modules), default=0)
