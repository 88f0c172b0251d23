"""What a trace file says about each layer: the JSON side of the format."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np

from workloads.errors import GscnError, TraceError, one_line
from workloads.layer import (
    MAX_ITERATION,
    OPERANDS,
    VALUE_DTYPES,
    Layer,
    Operand,
    check_label,
    is_int,
    operand_shape,
)
from workloads.masks import packed_size_bytes
from workloads.shape import LayerShape

SHAPE_SIZES = ("C", "H", "W", "K", "R", "S", "groups")
SHAPE_PAIRS = ("stride", "padding", "dilation")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredValues:
    """Where the values of one operand are stored, and as what dtype."""

    member: str
    dtype: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRecord:
    """One layer without its masks: what the metadata member of a file lists.

    ``masks`` maps operands to the members (without ``.npy``) that hold them.
    """

    name: str
    iteration: int
    samples: int
    input_gradient: bool
    shape: LayerShape
    masks: Mapping[Operand, str]
    values: Mapping[Operand, StoredValues] = field(default_factory=dict)

    @classmethod
    def of(
        cls, layer: Layer, prefix: str = "", values: Mapping[Operand, str] | None = None
    ) -> LayerRecord:
        """Return the record of ``layer``; ``values`` maps operands to the dtypes to be stored."""
        return cls(
            name=layer.name,
            iteration=layer.iteration,
            samples=layer.n_samples,
            input_gradient=layer.input_gradient,
            shape=layer.shape,
            masks={o: f"{prefix}.{o}" for o in OPERANDS if layer.mask(o) is not None},
            values={
                o: StoredValues(member=f"{prefix}.{o}.values", dtype=dtype)
                for o, dtype in (values or {}).items()
            },
        )

    def operand_shape(self, operand: Operand) -> tuple[int, int, int, int]:
        """Return the 4-D shape of one operand."""
        return operand_shape(self.shape, operand, self.samples)

    def values_size_bytes(self, operand: Operand) -> int:
        """Return the bytes that the stored values of one operand take."""
        item_bytes = np.dtype(self.values[operand].dtype).itemsize
        return math.prod(self.operand_shape(operand)) * item_bytes

    def content(self) -> dict[str, Any]:
        """Return what the record says of the layer itself: JSON without member names and values."""
        return {
            "name": self.name,
            "iteration": self.iteration,
            "samples": self.samples,
            "input_gradient": self.input_gradient,
            "shape": asdict(self.shape),
            "operands": sorted(self.masks),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the record."""
        content = self.content()
        del content["operands"]
        values = {o: asdict(stored) for o, stored in self.values.items()}
        return content | {"masks": dict(self.masks), "values": values}

    @classmethod
    def from_json(cls, index: int, obj: object) -> LayerRecord:
        """Return the record that ``obj`` describes; raises TraceError naming the layer."""
        where = f"layers[{index}]"
        fields = check_keys(where, obj, _RECORD_FIELDS)
        name = fields["name"]
        if isinstance(name, str) and name.isprintable():
            where = f"layer {name[:80]!r}"
        try:
            check_label("name", name)
            shape = _shape(fields["shape"])
        except TraceError as error:
            raise TraceError(f"{where}: {error}") from None
        except GscnError as error:
            raise TraceError(f"{where}: {one_line(error)}") from None
        for key, minimum in (("iteration", 0), ("samples", 1)):
            value = fields[key]
            if not is_int(value) or not minimum <= value <= MAX_ITERATION:
                raise TraceError(
                    f"{where}: {key} must be an int from {minimum}, got {shown(value)}"
                )
        if not isinstance(fields["input_gradient"], bool):
            raise TraceError(
                f"{where}: input_gradient must be true or false, "
                f"got {shown(fields['input_gradient'])}"
            )
        masks = _masks(f"{where}: masks", fields["masks"])
        record = cls(
            name=name,
            iteration=fields["iteration"],
            samples=fields["samples"],
            input_gradient=fields["input_gradient"],
            shape=shape,
            masks=masks,
            values=_values(f"{where}: values", fields["values"], masks),
        )
        for operand in {**masks, **record.values}:
            try:
                packed_size_bytes(record.operand_shape(operand))
            except GscnError as error:
                raise TraceError(f"{where}: {operand}: {error}") from None
        return record


_RECORD_FIELDS = {"name", "iteration", "samples", "input_gradient", "shape", "masks", "values"}


def canonical_json(obj: object) -> bytes:
    """Return the one byte string that stands for ``obj``: sorted keys, ASCII, no spaces."""
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def check_keys(where: str, obj: object, keys: set[str]) -> dict[str, Any]:
    """Return ``obj`` if it is an object with exactly these keys, else raise TraceError."""
    if not isinstance(obj, dict):
        raise TraceError(f"{where} must be an object, got {shown(obj)}")
    if obj.keys() != keys:
        wrong = sorted(map(str, obj.keys() ^ keys))[0]
        kind = "unknown" if wrong in obj else "missing"
        allowed = ", ".join(sorted(keys))
        raise TraceError(f"{where}: {kind} key {shown(wrong)}, must have {allowed}")
    return obj


def _shape(obj: object) -> LayerShape:
    sizes = check_keys("shape", obj, {*SHAPE_SIZES, *SHAPE_PAIRS})
    pairs = {}
    for name in SHAPE_PAIRS:
        if not isinstance(sizes[name], list):
            raise TraceError(f"shape: {name} must be a list of two, got {shown(sizes[name])}")
        pairs[name] = tuple(sizes[name])
    return LayerShape(**(sizes | pairs))


def _masks(where: str, obj: object) -> dict[Operand, str]:
    masks = _operands(where, obj)
    if "activation" not in masks and "gradient" not in masks:
        raise TraceError(f"{where} must have activation or gradient, got neither")
    return {o: _member(f"{where}.{o}", member) for o, member in masks.items()}


def _values(where: str, obj: object, masks: Mapping[Operand, str]) -> dict[Operand, StoredValues]:
    values = {}
    for operand, stored in _operands(where, obj).items():
        fields = check_keys(f"{where}.{operand}", stored, {"member", "dtype"})
        if fields["dtype"] not in VALUE_DTYPES:
            raise TraceError(
                f"{where}.{operand}: dtype must be one of {', '.join(VALUE_DTYPES)}, "
                f"got {shown(fields['dtype'])}"
            )
        if operand != "weight" and operand not in masks:
            raise TraceError(f"{where}.{operand} must have a mask too, got none")
        member = _member(f"{where}.{operand}.member", fields["member"])
        values[operand] = StoredValues(member=member, dtype=fields["dtype"])
    return values


def _operands(where: str, obj: object) -> dict[Operand, Any]:
    if not isinstance(obj, dict) or not set(obj) <= set(OPERANDS):
        raise TraceError(f"{where} must be an object of {', '.join(OPERANDS)}, got {shown(obj)}")
    return cast(dict[Operand, Any], {o: obj[o] for o in OPERANDS if o in obj})


def _member(where: str, name: object) -> str:
    try:
        check_label(where, name)
    except GscnError as error:
        raise TraceError(str(error)) from None
    return str(name)


def shown(value: object) -> str:
    """Return ``value`` as one short line for messages."""
    text = one_line(repr(value))
    return text if len(text) <= 80 else text[:77] + "..."
