"""A whole training step as a list of operations: forward pass, loss, backward pass, optimizer.

Recorded by ``resprop_train.trace_step``; a trace may carry one. No tensor is held, only shapes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from workloads.errors import LayerError, StepError, one_line
from workloads.layer import check_label, is_int
from workloads.phase import Phase
from workloads.shape import LayerShape

Kind = Literal[
    "convolution",
    "matmul",
    "normalisation",
    "activation",
    "addition",
    "pooling",
    "loss",
    "resprop",
    "optimizer",
    "cast",
    "other",
]
StepPhase = Literal["forward", "backward", "optimizer"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STEP_PHASES: tuple[StepPhase, ...] = get_args(StepPhase)
MAX_COUNT = (1 << 63) - 1
MAX_AXES = 64
ELEMENT_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("bool", "uint8", "int8"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex32": 4,
    "complex128": 16,
}
"""Bytes of one element, by PyTorch's name of its type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorUse:
    """A tensor that an operation reads or writes.

    ``storage`` numbers the memory behind it: tensors of one number share it, as views and in-place
    results do. ``elements`` are those that move: fewer than the shape has where a tensor is
    broadcast, or where only some are read.
    """

    storage: int
    shape: tuple[int, ...]
    dtype: str
    elements: int

    def __post_init__(self) -> None:
        _count("storage", self.storage)
        _count("elements", self.elements)
        if not isinstance(self.dtype, str) or self.dtype not in ELEMENT_BYTES:
            allowed = ", ".join(sorted(ELEMENT_BYTES))
            raise StepError(f"dtype must be one of {allowed}, got {_shown(self.dtype)}")
        if not isinstance(self.shape, tuple) or len(self.shape) > MAX_AXES:
            raise StepError(f"shape must be a tuple of ints, got {_shown(self.shape)}")
        for size in self.shape:
            _count("shape", size)

    @property
    def size_bytes(self) -> int:
        """Bytes that move."""
        return self.elements * ELEMENT_BYTES[self.dtype]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operation on the device, as PyTorch dispatches it; views are none.

    A convolution's backward pass is up to three operations: ``convolution_backward.dgrad``,
    ``.wgrad`` and ``.bias``.

    Attributes:
        phase: forward (the loss too), backward or optimizer.
        kind: the class of work it belongs to.
        name: PyTorch's name of it, without namespace and overload.
        module: path of the module whose operation it is, "" for the model's own and for none.
        use: which of the module's uses in the step, from 1; its backward pass has the same number.
        inputs, outputs: what is read and written; a tensor changed in place is in both.
        layer: of a convolution or fully connected layer, as a trace describes it.
        layer_phase: which phase of that layer the operation is.
        macs: multiply-adds of convolutions and matrix products, 0 for the others.
        depends_on: earlier operations, by position, that must be over: what wrote its inputs, and
            what used the memory that it writes.
        attributes: what shapes leave open, as the window of a pooling; JSON values.
        priced: False if no rule tells what it costs beyond the bytes of its tensors.
    """

    phase: StepPhase
    kind: Kind
    name: str
    module: str = ""
    use: int = 1
    inputs: tuple[TensorUse, ...] = ()
    outputs: tuple[TensorUse, ...] = ()
    layer: LayerShape | None = None
    layer_phase: Phase | None = None
    macs: int = 0
    depends_on: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    priced: bool = True

    def __post_init__(self) -> None:
        _label("name", self.name)
        if self.module != "":
            _label("module", self.module)
        _one_of("phase", self.phase, STEP_PHASES)
        _one_of("kind", self.kind, KINDS)
        if self.layer_phase is not None:
            _one_of("layer_phase", self.layer_phase, tuple(Phase))
            object.__setattr__(self, "layer_phase", Phase(self.layer_phase))
        _count("use", self.use, minimum=1)
        _count("macs", self.macs)
        if self.layer is not None and not isinstance(self.layer, LayerShape):
            raise StepError(f"layer must be a LayerShape or None, got {_shown(self.layer)}")
        if not isinstance(self.priced, bool):
            raise StepError(f"priced must be True or False, got {_shown(self.priced)}")

    @property
    def bytes_read(self) -> int:
        """Bytes of all inputs, each read once."""
        return sum(operand.size_bytes for operand in self.inputs)

    @property
    def bytes_written(self) -> int:
        """Bytes of all outputs, each written once."""
        return sum(operand.size_bytes for operand in self.outputs)

    @property
    def samples(self) -> int:
        """Samples of a layer's operation (1 in a pre-phase); 0 for any other operation."""
        return 0 if self.layer is None else self.macs // self.layer.dense_macs

    @property
    def elements(self) -> int:
        """Elements of the largest tensor: how often an element-wise rule is applied."""
        return max((o.elements for o in (*self.inputs, *self.outputs)), default=0)


@dataclass(frozen=True, kw_only=True)
class StepMetadata:
    """What is known about a step beside its operations.

    Attributes:
        network: name of the model.
        batch_size: samples of the step.
        input_shapes: shapes of the model's inputs.
        optimizer: name of the optimizer.
        synchronisations: how often the host waited for a value, as ``item()`` does.
        left_out: names and counts of what was seen and is no operation on the device.
        versions: what recorded it.

    Raises:
        StepError: a value of the wrong type or out of its range.
    """

    network: str
    batch_size: int
    input_shapes: tuple[tuple[int, ...], ...]
    optimizer: str
    synchronisations: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _label("network", self.network)
        _label("optimizer", self.optimizer)
        _count("batch_size", self.batch_size, minimum=1)
        _count("synchronisations", self.synchronisations)
        for shape in self.input_shapes:
            for size in shape:
                _count("input_shapes", size)
        for name, count in self.left_out.items():
            _label("left_out", name)
            _count(f"left_out of {name}", count)
        for name, version in self.versions.items():
            _label("versions key", name)
            _label(f"version of {name}", version)

    def metadata(self) -> dict[str, Any]:
        """Return the fields of :class:`StepMetadata` by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(StepMetadata)}


@dataclass(frozen=True, kw_only=True)
class Step(StepMetadata):
    """Every operation of one training step, in the order in which they were dispatched.

    ``operations`` of a loaded trace are read when they are first asked for.

    Raises:
        StepError: bad metadata, no operations, or one that depends on itself or on a later one.
    """

    operations: Sequence[Operation]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.operations, LazyOperations):
            object.__setattr__(self, "operations", tuple(self.operations))
            check_order(self.operations)

    @property
    def macs(self) -> int:
        """Multiply-adds of all operations."""
        return sum(operation.macs for operation in self.operations)

    def by_class(self) -> list[dict[str, Any]]:
        """Return phase, kind, operations, macs, bytes_read and bytes_written, a row per class."""
        keys = [(phase, kind) for phase in STEP_PHASES for kind in KINDS]
        groups: dict[tuple[str, str], list[Operation]] = {key: [] for key in keys}
        for operation in self.operations:
            groups[operation.phase, operation.kind].append(operation)
        return [
            {
                "phase": phase,
                "kind": kind,
                "operations": len(group),
                "macs": sum(o.macs for o in group),
                "bytes_read": sum(o.bytes_read for o in group),
                "bytes_written": sum(o.bytes_written for o in group),
            }
            for (phase, kind), group in groups.items()
            if group
        ]

    def without(self, kind: Kind) -> Step:
        """Return the step without the operations of one kind; what they held back waits on theirs.

        Without ``resprop`` the step of a converted model is the ordinary one.
        """
        return self.without_operations(n for n, o in enumerate(self.operations) if o.kind == kind)

    def without_operations(self, positions: Iterable[int]) -> Step:
        """Return the step without some operations; what they held back waits on theirs."""
        left_out = set(positions)
        kept: list[Operation] = []
        waits: list[frozenset[int]] = []  # of each old operation: kept ones that must be over
        for position, operation in enumerate(self.operations):
            before = frozenset().union(*(waits[i] for i in operation.depends_on))
            if position in left_out:
                waits.append(before)
                continue
            waits.append(frozenset([len(kept)]))
            kept.append(dataclasses.replace(operation, depends_on=tuple(sorted(before))))
        return dataclasses.replace(self, operations=kept)

    @property
    def unpriced(self) -> dict[str, int]:
        """Names and counts of the operations that no rule prices, most frequent first."""
        return dict(Counter(o.name for o in self.operations if not o.priced).most_common())


class LazyOperations(Sequence[Operation]):
    """Operations that are read when they are first asked for, and checked then."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def check_order(operations: Iterable[Operation]) -> None:
    """Raise StepError unless there are operations and each depends on earlier ones only."""
    position = -1
    for position, operation in enumerate(operations):
        if not isinstance(operation, Operation):
            raise StepError(f"operation {position} must be an Operation, got {_shown(operation)}")
        for earlier in operation.depends_on:
            if not is_int(earlier) or not 0 <= earlier < position:
                raise StepError(
                    f"operation {position} ({operation.name}): depends_on must hold earlier "
                    f"operations, 0 to {position - 1}, got {_shown(earlier)}"
                )
    if position < 0:
        raise StepError("a step must have at least one operation, got none")


def _count(what: str, value: object, minimum: int = 0) -> None:
    if not is_int(value) or not minimum <= value <= MAX_COUNT:
        raise StepError(f"{what} must be an int from {minimum}, got {_shown(value)}")


def _label(what: str, text: object) -> None:
    try:
        check_label(what, text)
    except LayerError as error:
        raise StepError(str(error)) from None


def _one_of(what: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise StepError(f"{what} must be one of {', '.join(allowed)}, got {_shown(value)}")


def _shown(value: object) -> str:
    return one_line(repr(value))[:80]
