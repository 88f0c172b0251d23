"""One recorded layer: its shape, the masks of its operands and, if kept, their values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from workloads.errors import LayerError, ShapeError, one_line
from workloads.inference import infer_shape
from workloads.masks import Mask
from workloads.phase import OPERANDS as OPERANDS
from workloads.phase import Operand as Operand
from workloads.phase import Phase
from workloads.shape import LayerShape

VALUE_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
MAX_NAME_LENGTH = 200
MAX_ITERATION = (1 << 63) - 1
PRE_PHASES = tuple(phase for phase in Phase if phase.is_pre_phase)
FACTS = (
    *("iteration", "input_gradient", "weight_gradient"),
    *("batch_size", "extra_phases", "post_phases"),
)
"""Fields of a layer that tell of its iteration; a file's layer record has them too."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The operands of one convolution in one iteration of training, as non-zero masks.

    ``activation`` is [n, C, H, W], ``gradient`` (of the output, thresholded) [n, K, P, Q] for n
    recorded samples, ``weight`` [K, C / groups, R, S]. A weight mask of None means dense, and a
    mask without zeros becomes None. In a matmul, where each sample has filters of its own,
    ``weight`` is [n * K, C / groups, R, S], sample by sample.

    Attributes:
        input_gradient: whether training computed the gradient of the input; it does not for the
            first layer of a network, nor where nothing before the layer learns.
        weight_gradient: whether training computed the gradient of the weights; not where they are
            frozen.
        batch_size: samples of the iteration, if not those of the trace.
        extra_phases: what the method that made the gradient sparse adds to the backward pass:
            pre-phases for ReSprop, none for an ordinary step or a matmul.
        post_phases: whether these need the thresholded gradient, so that they follow it
            (post-phases); pre-phases can run beside the forward pass. Their work is the same.
        stored_values: what :meth:`values` answers from.

    Raises:
        ShapeError: a mask does not have the layer's shape, or the sample counts differ.
        LayerError: a bad name, number or phase, or neither activation nor gradient.
    """

    name: str
    shape: LayerShape
    activation: Mask | None = None
    gradient: Mask | None = None
    weight: Mask | None = None
    iteration: int = 0
    input_gradient: bool = True
    weight_gradient: bool = True
    batch_size: int | None = None
    extra_phases: tuple[Phase, ...] = PRE_PHASES
    post_phases: bool = False
    stored_values: Mapping[Operand, NDArray[Any]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_label("layer name", self.name)
        if not isinstance(self.shape, LayerShape):
            raise LayerError(f"layer {self.name!r}: shape must be a LayerShape, got {self.shape!r}")
        if not is_int(self.iteration) or not 0 <= self.iteration <= MAX_ITERATION:
            raise LayerError(
                f"layer {self.name!r}: iteration must be a non-negative int, got {self.iteration!r}"
            )
        for name in ("input_gradient", "weight_gradient", "post_phases"):
            if not isinstance(getattr(self, name), bool):
                raise LayerError(
                    f"layer {self.name!r}: {name} must be True or False, "
                    f"got {getattr(self, name)!r}"
                )
        if self.batch_size is not None and not (
            is_int(self.batch_size) and 1 <= self.batch_size <= MAX_ITERATION
        ):
            raise LayerError(
                f"layer {self.name!r}: batch_size must be a positive int or None, "
                f"got {self.batch_size!r}"
            )
        try:
            object.__setattr__(self, "extra_phases", parse_extra_phases(self.extra_phases))
        except LayerError as error:
            raise LayerError(f"layer {self.name!r}: {error}") from None
        if self.post_phases and not self.extra_phases:
            raise LayerError(f"layer {self.name!r}: post_phases needs extra_phases, got none")
        if self.extra_phases and self.shape.filters_per_sample:
            raise LayerError(
                f"layer {self.name!r}: extra_phases of a matmul must be none, "
                f"got {', '.join(self.extra_phases)}"
            )
        shapes = {o: m.shape for o in OPERANDS if (m := self.mask(o)) is not None}
        check_operand_shapes(self.name, self.shape, shapes)
        if self.weight is not None and self.weight.nonzeros == self.weight.size:
            object.__setattr__(self, "weight", None)

    def mask(self, operand: Operand) -> Mask | None:
        """Return the mask of one operand, None where it was not recorded or (weight) is dense."""
        if operand not in OPERANDS:
            raise LayerError(f"operand must be one of {', '.join(OPERANDS)}, got {operand!r}")
        mask: Mask | None = getattr(self, operand)
        return mask

    def values(self, operand: Operand) -> NDArray[Any] | None:
        """Return the stored values of one operand in the shape of its mask, None if not stored.

        A loaded layer reads them from its file at every call and raises TraceError when they are
        damaged or contradict the mask.
        """
        self.mask(operand)
        return self.stored_values.get(operand)

    @property
    def is_matmul(self) -> bool:
        """Whether each sample has filters of its own."""
        return self.shape.filters_per_sample

    @property
    def n_samples(self) -> int:
        """Number n of recorded samples."""
        mask = self.activation if self.activation is not None else self.gradient
        assert mask is not None
        return mask.shape[0]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the shape and the masks; neither of the name nor of the values."""
        masks = [mask and mask.digest for mask in map(self.mask, OPERANDS)]
        return hashlib.sha256(repr((self.shape, masks)).encode()).hexdigest()

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases that training ran and whose operands were recorded, in enum order."""
        trained = {
            "gradient": True,
            "activation": self.input_gradient,
            "weight": self.weight_gradient,
        }

        def runs(phase: Phase) -> bool:
            maps = {phase.stationary, phase.streamed} - {"weight"}  # a dense weight is not recorded
            recorded = all(getattr(self, operand) is not None for operand in maps)
            added = not phase.one_sample or phase in self.extra_phases
            return recorded and trained[phase.result] and added

        return tuple(phase for phase in Phase if runs(phase))


def layer_from_arrays(
    name: str,
    *,
    activation: NDArray[Any] | None = None,
    weight: NDArray[Any] | None = None,
    gradient: NDArray[Any] | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    iteration: int = 0,
    input_gradient: bool = True,
    weight_gradient: bool = True,
    batch_size: int | None = None,
    extra_phases: tuple[Phase, ...] = PRE_PHASES,
    post_phases: bool = False,
    shape: LayerShape | None = None,
) -> Layer:
    """Return the layer of dense arrays, in which zero means absent; copies of them are its values.

    Arrays are [n, C, H, W], [K, C / groups, R, S] and [n, K, P, Q]. One that no wanted phase needs
    may be None. ``shape`` replaces stride, padding, dilation and groups, and is needed only where
    the arrays leave it open (an activation alone; a stride above 1 without the activation or
    without the weight).

    Raises:
        ShapeError: the arrays do not fit each other or ``shape``, or leave the shape open.
        LayerError: a non-finite value, a dtype that is not a real number's, no samples.
    """
    check_label("layer name", name)
    given = {"activation": activation, "gradient": gradient, "weight": weight}
    values: dict[Operand, NDArray[Any]] = {
        o: _checked_values(name, o, given[o]) for o in OPERANDS if given[o] is not None
    }
    shapes = {o: array.shape for o, array in values.items()}
    if shape is None:
        try:
            shape = infer_shape(shapes, stride, padding, dilation, groups)
        except ShapeError as error:
            raise ShapeError(f"layer {name!r}: {error}") from None
    check_operand_shapes(name, shape, shapes)
    masks = {o: Mask.from_array(array) for o, array in values.items()}
    return Layer(
        name=name,
        shape=shape,
        activation=masks.get("activation"),
        gradient=masks.get("gradient"),
        weight=masks.get("weight"),
        iteration=iteration,
        input_gradient=input_gradient,
        weight_gradient=weight_gradient,
        batch_size=batch_size,
        extra_phases=extra_phases,
        post_phases=post_phases,
        stored_values=values,
    )


def operand_shape(shape: LayerShape, operand: Operand, samples: int) -> tuple[int, int, int, int]:
    """Return the 4-D shape of one operand for ``samples`` recorded samples."""
    if operand == "weight":
        filters, channels, height, width = shape.weight_shape
        return (filters * (samples if shape.filters_per_sample else 1), channels, height, width)
    return (samples, *(shape.activation_shape if operand == "activation" else shape.gradient_shape))


def check_operand_shapes(
    name: str, shape: LayerShape, shapes: Mapping[Operand, tuple[int, ...]]
) -> None:
    """Raise ShapeError unless the operands have the layer's shape and one sample count."""
    if "activation" not in shapes and "gradient" not in shapes:
        raise LayerError(f"layer {name!r} must have an activation or a gradient, got neither")
    samples = None
    for operand, got in shapes.items():  # the weight is the last
        expected: list[Any] = list(operand_shape(shape, operand, samples or 0))
        if operand != "weight":
            expected[0] = "n" if samples is None else samples
        if len(got) != 4 or got[1:] != tuple(expected[1:]) or expected[0] not in ("n", got[0]):
            wanted = ", ".join(map(str, expected))
            raise ShapeError(f"layer {name!r}: {operand} must be [{wanted}], got {list(got)}")
        if operand != "weight":
            samples = got[0]
    if samples == 0:
        raise LayerError(f"layer {name!r} must have at least one sample, got none")


def values_problem(values: NDArray[Any], shape: tuple[int, ...], mask: Mask | None) -> str | None:
    """Return what keeps ``values`` from being those of an operand, None if nothing does.

    The text completes "expected". A mask of None is a dense one.
    """
    if values.shape != shape or values.dtype.name not in VALUE_DTYPES:
        return f"values of shape {shape}, got {values.dtype} of shape {values.shape}"
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return "finite values, got NaN or infinity"
    nonzero = values != 0
    if not (nonzero.all() if mask is None else Mask.from_array(nonzero) == mask):
        return "values that are zero exactly where the mask is"
    return None


def check_label(what: str, text: object) -> None:
    """Raise LayerError unless ``text`` is a printable name of 1 to 200 characters."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_NAME_LENGTH or not text.isprintable():
        shown = one_line(repr(text))[:80]
        raise LayerError(f"{what} must be 1 to {MAX_NAME_LENGTH} printable characters, got {shown}")


def parse_extra_phases(names: object) -> tuple[Phase, ...]:
    """Return the extra phases of these names, in enum order; raises LayerError if one is none."""
    allowed = f"extra_phases must be of {', '.join(PRE_PHASES)}, each once"
    if not isinstance(names, list | tuple) or not all(name in PRE_PHASES for name in names):
        raise LayerError(f"{allowed}, got {one_line(repr(names))[:80]}")
    if len(set(names)) != len(names):
        raise LayerError(f"{allowed}, got {', '.join(names)}")
    return tuple(phase for phase in PRE_PHASES if phase in names)


def is_int(value: object) -> TypeGuard[int]:
    """Return whether ``value`` is an int and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _checked_values(name: str, operand: Operand, given: object) -> NDArray[Any]:
    """Return a read-only C-order copy of ``given`` in native byte order."""
    try:
        array = np.array(given, order="C", copy=True)
    except ValueError as error:
        raise LayerError(f"layer {name!r}: {operand} is no array: {one_line(error)}") from None
    if array.dtype.newbyteorder("=").name not in VALUE_DTYPES:
        raise LayerError(
            f"layer {name!r}: {operand} must be one of {', '.join(VALUE_DTYPES)}, got {array.dtype}"
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    bad = np.count_nonzero(~np.isfinite(array)) if array.dtype.kind == "f" else 0
    if bad:
        raise LayerError(f"layer {name!r}: {operand} must be finite, got {bad} NaN or infinite")
    array.flags.writeable = False
    return array
