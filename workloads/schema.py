"""The metadata member of a trace file, version 1: JSON to checked objects and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from workloads.archive import Archive
from workloads.errors import TraceError
from workloads.layer import is_int
from workloads.masks import packed_size_bytes
from workloads.records import LayerRecord, canonical_json, check_keys, shown
from workloads.trace import TraceMetadata, check_samples

FORMAT = "gscn-trace"
SCHEMA_VERSION = 1
METADATA_MEMBER = "metadata"
_METADATA_FIELDS = set(TraceMetadata.__dataclass_fields__)


def metadata_json(metadata: TraceMetadata, records: Iterable[LayerRecord]) -> bytes:
    """Return the content of the metadata member: canonical JSON, ASCII."""
    return canonical_json(
        {"format": FORMAT, "schema_version": SCHEMA_VERSION}
        | metadata.metadata()
        | {"layers": [record.to_json() for record in records]}
    )


def parse_metadata(text: bytes, archive: Archive) -> tuple[TraceMetadata, tuple[LayerRecord, ...]]:
    """Return what the metadata member says; raises TraceError naming the file and the key."""
    where = f"member {METADATA_MEMBER + '.npy'!r}"
    with archive.guard(where, "JSON text in UTF-8"):
        obj = json.loads(
            text.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique
        )
    try:
        return _parse(obj)
    except TraceError as error:
        archive.fail(f"{where}: {error}")


def members(records: Iterable[LayerRecord]) -> dict[str, int]:
    """Return the payload bytes that each member of the records must have."""
    sizes: dict[str, int] = {}
    for record in records:
        needs = [
            (member, packed_size_bytes(record.operand_shape(operand)))
            for operand, member in record.masks.items()
        ]
        needs += [
            (stored.member, record.values_size_bytes(operand))
            for operand, stored in record.values.items()
        ]
        for member, size_bytes in needs:
            if member in sizes or member == METADATA_MEMBER:
                raise TraceError(
                    f"layer {record.name!r}: member {member!r} must belong to one operand only"
                )
            sizes[member] = size_bytes
    return sizes


def _parse(obj: object) -> tuple[TraceMetadata, tuple[LayerRecord, ...]]:
    if not isinstance(obj, dict) or obj.get("format") != FORMAT:
        raise TraceError(f"expected an object with format {FORMAT!r}, got {shown(obj)}")
    version = obj.get("schema_version")
    if not is_int(version) or version < 1:
        raise TraceError(f"schema_version must be a positive int, got {shown(version)}")
    if version > SCHEMA_VERSION:
        raise TraceError(
            f"schema_version must be at most {SCHEMA_VERSION}, got {shown(version)}: "
            "written by a newer release"
        )
    check_keys("metadata", obj, {"format", "schema_version", "layers"} | _METADATA_FIELDS)
    metadata = TraceMetadata(**{name: obj[name] for name in _METADATA_FIELDS})
    listed = obj["layers"]
    if not isinstance(listed, list) or not listed:
        raise TraceError(f"layers must be a list of at least one layer, got {shown(listed)}")
    records = tuple(LayerRecord.from_json(index, item) for index, item in enumerate(listed))
    seen = set()
    for record in records:
        check_samples(record.name, record.samples, metadata.batch_size)
        if (record.iteration, record.name) in seen:
            raise TraceError(
                f"layer {record.name!r} (iteration {record.iteration}) must be there only once"
            )
        seen.add((record.iteration, record.name))
    members(records)
    return metadata, records


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    obj = dict(pairs)
    if len(obj) != len(pairs):
        raise ValueError("an object has a key twice")
    return obj
