"""Steps as JSON: the side of the format that a trace's step member and a step's own file share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from workloads.errors import GscnError, TraceError
from workloads.records import canonical_json, check_keys, shape_from_json, shape_json, shown
from workloads.step import Operation, StepMetadata, TensorUse, check_order

HEADER = {f.name for f in fields(StepMetadata)}
_PLAIN = ("phase", "kind", "name", "module", "use", "layer_phase", "macs", "attributes", "priced")
_DEFAULTS: dict[str, Any] = {
    "module": "", "use": 1, "inputs": [], "outputs": [], "layer": None,
    "layer_phase": None, "macs": 0, "depends_on": [], "attributes": {}, "priced": True,
}  # fmt: skip
_KEYS = {"phase", "kind", "name", *_DEFAULTS}
Made = TypeVar("Made")


def header_json(step: StepMetadata) -> dict[str, Any]:
    """Return the JSON object of a step without its operations."""
    return step.metadata() | {
        "input_shapes": [list(shape) for shape in step.input_shapes],
        "left_out": dict(step.left_out),
        "versions": dict(step.versions),
    }


def header_from_json(where: str, obj: object) -> StepMetadata:
    """Return what an object says of a step beside its operations; raises TraceError."""
    header = check_keys(where, obj, HEADER)
    for name in ("left_out", "versions"):
        if not isinstance(header[name], dict):
            raise TraceError(f"{where}: {name} must be an object, got {shown(header[name])}")
    shapes = header["input_shapes"]
    if not isinstance(shapes, list) or not all(isinstance(shape, list) for shape in shapes):
        raise TraceError(f"{where}: input_shapes must be a list of lists, got {shown(shapes)}")
    tuples = {"input_shapes": tuple(tuple(shape) for shape in shapes)}
    return _made(where, lambda: StepMetadata(**{**header, **tuples}))


def operations_json(operations: Sequence[Operation]) -> bytes:
    """Return the canonical JSON text of a list of operations; what is default is left out."""
    return canonical_json([_operation_json(operation) for operation in operations])


def operations_from_json(listed: object) -> tuple[Operation, ...]:
    """Return the operations in a JSON list; raises TraceError naming the operation and the key."""
    if not isinstance(listed, list):
        raise TraceError(f"operations must be a list, got {shown(listed)}")
    operations = tuple(_operation(f"operation {i}", item) for i, item in enumerate(listed))
    _made("operations", lambda: check_order(operations))
    return operations


def _operation_json(operation: Operation) -> dict[str, Any]:
    obj = {name: getattr(operation, name) for name in _PLAIN}
    obj["attributes"] = dict(operation.attributes)
    obj["layer"] = None if operation.layer is None else shape_json(operation.layer)
    obj["depends_on"] = list(operation.depends_on)
    for name in ("inputs", "outputs"):
        obj[name] = [
            [use.storage, use.dtype, list(use.shape), use.elements]
            for use in getattr(operation, name)
        ]
    return {key: value for key, value in obj.items() if _DEFAULTS.get(key, Ellipsis) != value}


def _operation(where: str, obj: object) -> Operation:
    if not isinstance(obj, dict):
        raise TraceError(f"{where} must be an object, got {shown(obj)}")
    given = check_keys(where, _DEFAULTS | obj, _KEYS)
    if not isinstance(given["attributes"], dict):
        raise TraceError(f"{where}: attributes must be an object, got {shown(obj['attributes'])}")
    uses = {name: _uses(f"{where}: {name}", given[name]) for name in ("inputs", "outputs")}
    depends_on = given["depends_on"]
    if not isinstance(depends_on, list):
        raise TraceError(f"{where}: depends_on must be a list, got {shown(depends_on)}")
    layer = given["layer"]
    changed = {
        **uses,
        "depends_on": tuple(depends_on),
        "layer": None if layer is None else _made(where, lambda: shape_from_json(layer)),
    }
    return _made(where, lambda: Operation(**{**given, **changed}))


def _uses(where: str, listed: object) -> tuple[TensorUse, ...]:
    if not isinstance(listed, list):
        raise TraceError(f"{where} must be a list, got {shown(listed)}")
    return tuple(_use(where, item) for item in listed)


def _use(where: str, item: object) -> TensorUse:
    if not isinstance(item, list) or len(item) != 4 or not isinstance(item[2], list):
        raise TraceError(
            f"{where} must hold lists of storage, dtype, shape and elements, got {shown(item)}"
        )
    storage, dtype, shape, elements = item
    return _made(
        where,
        lambda: TensorUse(storage=storage, dtype=dtype, shape=tuple(shape), elements=elements),
    )


def _made(where: str, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except (GscnError, TypeError) as error:
        raise TraceError(f"{where}: {error}") from None
