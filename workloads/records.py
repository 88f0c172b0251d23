"""What a trace file says about each layer: the JSON side of the format."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn, cast

import numpy as np

from workloads.errors import GscnError, TraceError, one_line
from workloads.layer import (
    FACTS,
    MAX_ITERATION,
    OPERANDS,
    PRE_PHASES,
    VALUE_DTYPES,
    Layer,
    Operand,
    check_label,
    is_int,
    operand_shape,
    parse_extra_phases,
)
from workloads.masks import packed_size_bytes
from workloads.phase import Phase
from workloads.shape import LayerShape

SHAPE_SIZES = ("C", "H", "W", "K", "R", "S", "groups")
SHAPE_PAIRS = ("stride", "padding", "dilation")
KIND = "convolution"
"""The only kind of layer record so far; what shape, masks and values hold depends on it."""
VERSION_1_MEANS: dict[str, Any] = {
    "kind": KIND,
    "weight_gradient": True,
    "batch_size": None,
    "extra_phases": [str(phase) for phase in PRE_PHASES],
}
"""Keys of a record that version 1 lacks, and what its files mean by that."""


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
    weight_gradient: bool
    batch_size: int | None
    extra_phases: tuple[Phase, ...]
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
            samples=layer.n_samples,
            shape=layer.shape,
            masks={o: f"{prefix}.{o}" for o in OPERANDS if layer.mask(o) is not None},
            values={
                o: StoredValues(member=f"{prefix}.{o}.values", dtype=dtype)
                for o, dtype in (values or {}).items()
            },
            **{name: getattr(layer, name) for name in FACTS},
        )

    def facts(self) -> dict[str, Any]:
        """Return what the record tells of the iteration, as arguments of a layer."""
        return {name: getattr(self, name) for name in FACTS}

    def operand_shape(self, operand: Operand) -> tuple[int, int, int, int]:
        """Return the 4-D shape of one operand."""
        return operand_shape(self.shape, operand, self.samples)

    def values_size_bytes(self, operand: Operand) -> int:
        """Return the bytes that the stored values of one operand take."""
        item_bytes = np.dtype(self.values[operand].dtype).itemsize
        return math.prod(self.operand_shape(operand)) * item_bytes

    def content(self) -> dict[str, Any]:
        """Return what the digest takes of the record: JSON without member names and values.

        What version 1 cannot say is left out where it is what version 1 means, so that a trace has
        the same digest in both.
        """
        content = self._described()
        for key, default in VERSION_1_MEANS.items():
            if content[key] == default:
                del content[key]
        return content | {"operands": sorted(self.masks)}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the record."""
        values = {o: asdict(stored) for o, stored in self.values.items()}
        return self._described() | {"masks": dict(self.masks), "values": values}

    def _described(self) -> dict[str, Any]:
        described = self.facts() | {
            "name": self.name,
            "kind": KIND,
            "samples": self.samples,
            "shape": asdict(self.shape),
        }
        return described | {"extra_phases": [str(phase) for phase in self.extra_phases]}

    @classmethod
    def from_json(cls, index: int, obj: object, version: int) -> LayerRecord:
        """Return the record that ``obj`` describes; raises TraceError naming the layer."""
        where = f"layers[{index}]"
        fields = complete(where, obj, _RECORD_FIELDS, VERSION_1_MEANS if version == 1 else {})
        name = fields["name"]
        if isinstance(name, str) and name.isprintable():
            where = f"layer {name[:80]!r}"
        if fields["kind"] != KIND:
            raise TraceError(f"{where}: kind must be {KIND!r}, got {shown(fields['kind'])}")
        try:
            check_label("name", name)
            shape = shape_from_json(fields["shape"])
            extra_phases = parse_extra_phases(fields["extra_phases"])
        except GscnError as error:
            raise TraceError(f"{where}: {one_line(error)}") from None
        _check_facts(where, fields)
        masks = _masks(f"{where}: masks", fields["masks"])
        record = cls(
            name=name,
            samples=fields["samples"],
            shape=shape,
            masks=masks,
            values=_values(f"{where}: values", fields["values"], masks),
            **{fact: fields[fact] for fact in FACTS} | {"extra_phases": extra_phases},
        )
        for operand in {**masks, **record.values}:
            try:
                packed_size_bytes(record.operand_shape(operand))
            except GscnError as error:
                raise TraceError(f"{where}: {operand}: {error}") from None
        return record


_RECORD_FIELDS = {"name", "kind", "samples", "shape", "masks", "values", *FACTS}


def _check_facts(where: str, fields: dict[str, Any]) -> None:
    for key, minimum in (("iteration", 0), ("samples", 1), ("batch_size", 1)):
        value = fields[key]
        if key == "batch_size" and value is None:
            continue
        if not is_int(value) or not minimum <= value <= MAX_ITERATION:
            or_null = " or null" if key == "batch_size" else ""
            raise TraceError(
                f"{where}: {key} must be an int from {minimum}{or_null}, got {shown(value)}"
            )
    for key in ("input_gradient", "weight_gradient"):
        if not isinstance(fields[key], bool):
            raise TraceError(f"{where}: {key} must be true or false, got {shown(fields[key])}")


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


def complete(where: str, obj: object, keys: set[str], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return ``obj`` with the defaults of the keys that an older version does not have."""
    return defaults | check_keys(where, obj, keys - defaults.keys())


def shape_from_json(obj: object) -> LayerShape:
    """Return the shape of a convolution that ``obj`` describes; raises TraceError or ShapeError."""
    sizes = check_keys("shape", obj, {*SHAPE_SIZES, *SHAPE_PAIRS})
    pairs = {}
    for name in SHAPE_PAIRS:
        if not isinstance(sizes[name], list):
            raise TraceError(f"shape: {name} must be a list of two, got {shown(sizes[name])}")
        pairs[name] = tuple(sizes[name])
    return LayerShape(**(sizes | pairs))


def parse_json(text: bytes) -> object:
    """Return what a JSON text in UTF-8 says; raises ValueError, for NaN and repeated keys too."""
    return json.loads(text.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    obj = dict(pairs)
    if len(obj) != len(pairs):
        raise ValueError("an object has a key twice")
    return obj


def _masks(where: str, obj: object) -> dict[Operand, str]:
    masks = _operands(where, obj)
    if "activation" not in masks and "gradient" not in masks:
        raise TraceError(f"{where} must have activation or gradient, got neither")
    return {o: member_name(f"{where}.{o}", member) for o, member in masks.items()}


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
        member = member_name(f"{where}.{operand}.member", fields["member"])
        values[operand] = StoredValues(member=member, dtype=fields["dtype"])
    return values


def _operands(where: str, obj: object) -> dict[Operand, Any]:
    if not isinstance(obj, dict) or not set(obj) <= set(OPERANDS):
        raise TraceError(f"{where} must be an object of {', '.join(OPERANDS)}, got {shown(obj)}")
    return cast(dict[Operand, Any], {o: obj[o] for o in OPERANDS if o in obj})


def member_name(where: str, name: object) -> str:
    """Return the name of a member; raises TraceError naming ``where`` if it cannot be one."""
    try:
        check_label(where, name)
    except GscnError as error:
        raise TraceError(str(error)) from None
    return str(name)


def shown(value: object) -> str:
    """Return ``value`` as one short line for messages."""
    text = one_line(repr(value))
    return text if len(text) <= 80 else text[:77] + "..."
