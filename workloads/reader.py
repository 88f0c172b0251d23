"""Reading trace files lazily: one layer in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from workloads.archive import Archive, Directory
from workloads.errors import GscnError, TraceError
from workloads.layer import Layer, Operand, values_problem
from workloads.masks import Mask, packed_size_bytes
from workloads.records import LayerRecord, parse_json
from workloads.schema import METADATA_MEMBER, StepRecord, parse_metadata
from workloads.shape import LayerShape
from workloads.step import LazyOperations, Operation, Step
from workloads.step_json import operations_from_json
from workloads.trace import LazyLayers, Trace


def load(path: str | os.PathLike[str]) -> Trace:
    """Return the trace in the file ``path``, whose layers are read when they are iterated over.

    Reads and checks the metadata and the list of members; each layer's masks are checked when it is
    read, its values when they are asked for. Every iteration reads the file again.

    Raises:
        TraceError: one line that names file, layer and member, and what was expected there. From
            here on also whenever a layer is read.
    """
    with Archive(path) as archive:
        listed = parse_metadata(archive.read_text(METADATA_MEMBER), archive)
        archive.check_members(listed.members())
        file = (archive.path, archive.shown_path, archive.directory())
    step = None
    if listed.step is not None:
        operations = StoredOperations(*file, listed.step)
        step = Step(**listed.step.metadata.metadata(), operations=operations)
    layers = StoredLayers(*file, listed.records)
    return Trace(**listed.metadata.metadata(), layers=layers, step=step)


def validate(path: str | os.PathLike[str]) -> Trace:
    """Read all of a trace file, values too, and return its trace; raises TraceError if bad."""
    trace = load(path)
    for layer in trace.layers:
        for operand in layer.stored_values:
            layer.values(operand)
    if trace.step is not None:
        trace.step.operations[0]
    return trace


@dataclass(frozen=True)
class StoredFile:
    """A file that was loaded: opened again whenever it is needed, and refused if it has changed."""

    path: str
    shown_path: str
    directory: Directory

    def open(self) -> Archive:
        """Return the opened file; raises TraceError if it is not the one that was loaded."""
        archive = Archive(self.path, self.shown_path)
        if archive.directory() != self.directory:
            archive.close()
            archive.fail("expected the file that was loaded, but it has changed since")
        return archive


@dataclass(frozen=True)
class StoredLayers(StoredFile, LazyLayers):
    """The layers of a file, read at every iteration or index.

    ``records`` describes the layers without reading them.
    """

    records: tuple[LayerRecord, ...]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Layer]:
        with self.open() as archive:
            for record in self.records:
                yield self._read(archive, record)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> list[Layer]: ...
    def __getitem__(self, index: int | slice) -> Layer | list[Layer]:
        chosen = self.records[index]
        with self.open() as archive:
            if isinstance(chosen, LayerRecord):
                return self._read(archive, chosen)
            return [self._read(archive, record) for record in chosen]

    def keys(self) -> list[tuple[str, int]]:
        """Name and iteration of each layer, from the file's metadata."""
        return [(record.name, record.iteration) for record in self.records]

    def shapes(self) -> list[LayerShape]:
        """The shape of each layer, from the file's metadata."""
        return [record.shape for record in self.records]

    def _read(self, archive: Archive, record: LayerRecord) -> Layer:
        masks = {}
        for operand, member in record.masks.items():
            where = _where(record, member)
            shape = record.operand_shape(operand)
            packed = archive.read(member, where, np.dtype(np.uint8), (packed_size_bytes(shape),))
            try:
                masks[operand] = Mask(shape=shape, packed=packed)
            except GscnError as error:
                archive.fail(f"{where}: {error}")
        return Layer(
            name=record.name,
            shape=record.shape,
            activation=masks.get("activation"),
            gradient=masks.get("gradient"),
            weight=masks.get("weight"),
            stored_values=_FileValues(self, record, masks),
            **record.facts(),
        )


@dataclass(frozen=True, eq=False)
class StoredOperations(LazyOperations, StoredFile):
    """The operations of a file's step, read when the first is asked for and kept then."""

    record: StepRecord

    def __len__(self) -> int:
        return self.record.operations

    @overload
    def __getitem__(self, index: int) -> Operation: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Operation]: ...
    def __getitem__(self, index: int | slice) -> Operation | Sequence[Operation]:
        return self._operations[index]

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations)

    @cached_property
    def _operations(self) -> tuple[Operation, ...]:
        member, size_bytes = self.record.member, self.record.size_bytes
        where = f"step, member {member + '.npy'!r}"
        with self.open() as archive:
            text = archive.read(member, where, np.dtype(np.uint8), (size_bytes,)).tobytes()
            with archive.guard(where, "JSON text in UTF-8"):
                obj = parse_json(text)
            try:
                operations = operations_from_json(obj)
            except TraceError as error:
                archive.fail(f"{where}: {error}")
            if len(operations) != len(self):
                archive.fail(f"{where}: expected {len(self)} operations, got {len(operations)}")
        return operations


@dataclass(frozen=True)
class _FileValues(Mapping[Operand, NDArray[Any]]):
    """The stored values of one layer, read from the file at every access."""

    layers: StoredLayers
    record: LayerRecord
    masks: Mapping[Operand, Mask]

    def __iter__(self) -> Iterator[Operand]:
        return iter(self.record.values)

    def __len__(self) -> int:
        return len(self.record.values)

    def __getitem__(self, operand: Operand) -> NDArray[Any]:
        stored = self.record.values[operand]
        where = _where(self.record, stored.member)
        shape = self.record.operand_shape(operand)
        with self.layers.open() as archive:
            values = archive.read(stored.member, where, np.dtype(stored.dtype), shape)
            if problem := values_problem(values, shape, self.masks.get(operand)):
                archive.fail(f"{where}: expected {problem}")
        return values


def _where(record: LayerRecord, member: str) -> str:
    return f"layer {record.name!r} (iteration {record.iteration}), member {member + '.npy'!r}"
