"""The metadata member of a trace file, versions 1 and 2: JSON to checked objects and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from workloads.archive import MAX_STEP_BYTES, Archive
from workloads.errors import TraceError
from workloads.layer import is_int
from workloads.masks import packed_size_bytes
from workloads.records import (
    LayerRecord,
    canonical_json,
    check_keys,
    complete,
    member_name,
    parse_json,
    shown,
)
from workloads.step import StepMetadata
from workloads.step_json import HEADER, header_from_json, header_json
from workloads.trace import TraceMetadata, check_samples

FORMAT = "gscn-trace"
SCHEMA_VERSION = 2
METADATA_MEMBER = "metadata"
STEP_MEMBER = "step"
VERSION_1_MEANS: dict[str, Any] = {"method": None, "step": None}
_METADATA_FIELDS = set(TraceMetadata.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """A step without its operations: what the metadata member lists, and where the rest is."""

    metadata: StepMetadata
    member: str
    size_bytes: int
    operations: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the record."""
        return header_json(self.metadata) | {
            "member": self.member,
            "size_bytes": self.size_bytes,
            "operations": self.operations,
        }


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What the metadata member of a file says."""

    metadata: TraceMetadata
    records: tuple[LayerRecord, ...]
    step: StepRecord | None

    def members(self) -> dict[str, int]:
        """Return the payload bytes that each member must have; raises TraceError."""
        sizes = members(self.records)
        if self.step is not None:
            if self.step.member in sizes or self.step.member == METADATA_MEMBER:
                raise TraceError(f"step: member {self.step.member!r} must be the step's only")
            sizes[self.step.member] = self.step.size_bytes
        return sizes


def metadata_json(listed: Listed) -> bytes:
    """Return the content of the metadata member: canonical JSON, ASCII."""
    step = listed.step
    return canonical_json(
        {"format": FORMAT, "schema_version": SCHEMA_VERSION}
        | listed.metadata.metadata()
        | {"layers": [record.to_json() for record in listed.records]}
        | {"step": None if step is None else step.to_json()}
    )


def parse_metadata(text: bytes, archive: Archive) -> Listed:
    """Return what the metadata member says; raises TraceError naming the file and the key."""
    where = f"member {METADATA_MEMBER + '.npy'!r}"
    with archive.guard(where, "JSON text in UTF-8"):
        obj = parse_json(text)
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


def _parse(obj: object) -> Listed:
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
    keys = {"format", "schema_version", "layers", "step"} | _METADATA_FIELDS
    obj = complete("metadata", obj, keys, VERSION_1_MEANS if version == 1 else {})
    metadata = TraceMetadata(**{name: obj[name] for name in _METADATA_FIELDS})
    listed = obj["layers"]
    if not isinstance(listed, list) or not listed:
        raise TraceError(f"layers must be a list of at least one layer, got {shown(listed)}")
    records = tuple(
        LayerRecord.from_json(index, item, version) for index, item in enumerate(listed)
    )
    seen = set()
    for record in records:
        check_samples(record.name, record.samples, record.batch_size or metadata.batch_size)
        if (record.iteration, record.name) in seen:
            raise TraceError(
                f"layer {record.name!r} (iteration {record.iteration}) must be there only once"
            )
        seen.add((record.iteration, record.name))
    listed = Listed(metadata=metadata, records=records, step=_step(obj["step"]))
    listed.members()
    return listed


def _step(obj: object) -> StepRecord | None:
    if obj is None:
        return None
    fields = check_keys("step", obj, HEADER | {"member", "size_bytes", "operations"})
    member = member_name("step: member", fields["member"])
    for key in ("size_bytes", "operations"):
        if not is_int(fields[key]) or not 1 <= fields[key] <= MAX_STEP_BYTES:
            raise TraceError(
                f"step: {key} must be an int from 1 to {MAX_STEP_BYTES}, got {shown(fields[key])}"
            )
    return StepRecord(
        metadata=header_from_json("step", {key: fields[key] for key in HEADER}),
        member=member,
        size_bytes=fields["size_bytes"],
        operations=fields["operations"],
    )
