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
CONVOLUTION, MATMUL = "convolution", "matmul"
KINDS = (CONVOLUTION, MATMUL)
"""Kinds of layer records; what the weight mask holds depends on it."""
POST_NAMES = {str(phase): str(phase).replace("pre_", "post_") for phase in PRE_PHASES}
"""What a record calls the extra phases that follow thresholding."""
VERSION_1_MEANS: dict[str, Any] = {
    "kind": CONVOLUTION,
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
    post_phases: bool
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
            "kind": MATMUL if self.shape.filters_per_sample else CONVOLUTION,
            "samples": self.samples,
            "shape": shape_json(self.shape),
        }
        names = [str(phase) for phase in self.extra_phases]
        if described.pop("post_phases"):
            names = [POST_NAMES[name] for name in names]
        return described | {"extra_phases": names}

    @classmethod
    def from_json(cls, index: int, obj: object, version: int) -> LayerRecord:
        """Return the record that ``obj`` describes; raises TraceError naming the layer."""
        where = f"layers[{index}]"
        fields = complete(where, obj, _RECORD_FIELDS, VERSION_1_MEANS if version == 1 else {})
        name = fields["name"]
        if isinstance(name, str) and name.isprintable():
            where = f"layer {name[:80]!r}"
        if fields["kind"] not in KINDS:
            allowed = " or ".join(map(repr, KINDS))
            raise TraceError(f"{where}: kind must be {allowed}, got {shown(fields['kind'])}")
        is_matmul = fields["kind"] == MATMUL
        try:
            check_label("name", name)
            shape = shape_from_json(fields["shape"], filters_per_sample=is_matmul)
            extra_phases, post_phases = _extra_phases(fields["extra_phases"])
            if is_matmul and extra_phases:
                raise TraceError(f"extra_phases of a matmul must be [], got {shown(extra_phases)}")
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
            **{fact: fields[fact] for fact in FACTS if fact in fields}
            | {"extra_phases": extra_phases, "post_phases": post_phases},
        )
        for operand in {**masks, **record.values}:
            try:
                packed_size_bytes(record.operand_shape(operand))
            except GscnError as error:
                raise TraceError(f"{where}: {operand}: {error}") from None
        return record


_RECORD_FIELDS = {"name", "kind", "samples", "shape", "masks", "values", *FACTS} - {"post_phases"}


def _extra_phases(names: object) -> tuple[tuple[Phase, ...], bool]:
    """Return extra phases and whether they are post-phases, from the names of a record."""
    before = {post: pre for pre, post in POST_NAMES.items()}
    if not isinstance(names, list) or not names or any(name not in [*before] for name in names):
        return parse_extra_phases(names), False
    return parse_extra_phases([before[name] for name in names]), True


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


def shape_json(shape: LayerShape) -> dict[str, Any]:
    """Return the JSON object of a shape; whether filters are per sample is said elsewhere."""
    obj = asdict(shape)
    del obj["filters_per_sample"]
    return obj


def shape_from_json(obj: object, *, filters_per_sample: bool = False) -> LayerShape:
    """Return the shape of a convolution that ``obj`` describes; raises TraceError or ShapeError."""
    sizes = check_keys("shape", obj, {*SHAPE_SIZES, *SHAPE_PAIRS})
    pairs = {}
    for name in SHAPE_PAIRS:
        if not isinstance(sizes[name], list):
            raise TraceError(f"shape: {name} must be a list of two, got {shown(sizes[name])}")
        pairs[name] = tuple(sizes[name])
    return LayerShape(**(sizes | pairs), filters_per_sample=filters_per_sample)


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
