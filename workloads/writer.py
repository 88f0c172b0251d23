"""Writing trace files, one layer at a time."""

from __future__ import annotations

import os
import zipfile
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from workloads.archive import MAX_METADATA_BYTES, MAX_STEP_BYTES
from workloads.errors import TraceError, one_line
from workloads.files import atomic_file
from workloads.layer import OPERANDS, Layer, Operand, operand_shape, values_problem
from workloads.records import LayerRecord
from workloads.schema import METADATA_MEMBER, STEP_MEMBER, Listed, StepRecord, metadata_json
from workloads.step import Step
from workloads.step_json import operations_json
from workloads.trace import Trace, TraceMetadata, check_member, check_samples


class TraceWriter:
    """Context manager that writes a trace file layer by layer, holding none of them.

    The file appears, whole, when the block ends without exception; otherwise an older file of that
    name stays as it was. ``values`` stores the layers' values too. ``metadata`` are the fields of
    :class:`workloads.Trace` and can be completed by :meth:`update` until the end. The same layers
    and metadata give the same bytes.

    Raises:
        TraceError: bad metadata, no layer added, or the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        network: str,
        batch_size: int,
        values: bool = False,
        **metadata: Any,
    ) -> None:
        self.path = os.fspath(path)
        self._shown_path = one_line(self.path)
        self._metadata = _metadata(network=network, batch_size=batch_size, **metadata)
        self._values = values
        self._records: list[LayerRecord] = []
        self._step: StepRecord | None = None
        self._seen: set[tuple[int, str]] = set()
        self._stack = ExitStack()
        self._archive: zipfile.ZipFile | None = None
        self._failed = False

    def __enter__(self) -> Self:
        try:
            file = self._stack.enter_context(atomic_file(self.path))
        except (OSError, ValueError) as error:
            raise self._cannot_write(error) from None
        self._archive = zipfile.ZipFile(file, "w")
        return self

    def update(self, **metadata: Any) -> None:
        """Replace fields of the metadata, such as what is known only after training."""
        self._metadata = _metadata(**{**self._metadata.metadata(), **metadata})

    def add(self, layer: Layer) -> None:
        """Append one layer to the file.

        Raises:
            TraceError: the layer is there already, has more samples than its batch, has no
                values although they were asked for, or the file cannot be written.
        """
        try:
            check_member(layer, self._metadata.batch_size, self._seen)
            stored = self._stored_values(layer) if self._values else {}
        except TraceError as error:
            self._failed = True
            raise TraceError(f"{self._shown_path}: {error}") from None
        record = LayerRecord.of(
            layer, f"{len(self._records):05d}", {o: v.dtype.name for o, v in stored.items()}
        )
        for operand, member in record.masks.items():
            mask = layer.mask(operand)
            assert mask is not None
            self._write(member, mask.packed)
        for operand, values in stored.items():
            self._write(record.values[operand].member, values)
        self._records.append(record)

    def add_step(self, step: Step) -> None:
        """Put the operations of a training step into the file.

        Raises:
            TraceError: there is one already, it is too long, or the file cannot be written.
        """
        text = operations_json(step.operations)
        if self._step is not None or len(text) > MAX_STEP_BYTES:
            self._failed = True
            raise TraceError(
                f"{self._shown_path}: a trace must have at most one step"
                if self._step is not None
                else f"{self._shown_path}: the operations of a step must take at most "
                f"{MAX_STEP_BYTES} bytes, got {len(text)}"
            )
        self._write(STEP_MEMBER, np.frombuffer(text, dtype=np.uint8))
        self._step = StepRecord(
            metadata=step,
            member=STEP_MEMBER,
            size_bytes=len(text),
            operations=len(step.operations),
        )

    def _stored_values(self, layer: Layer) -> dict[Operand, NDArray[Any]]:
        stored = {o: v for o in OPERANDS if (v := layer.values(o)) is not None}
        if not stored:
            raise TraceError(f"layer {layer.name!r} must hold values to be saved with values")
        for operand, values in stored.items():
            shape = operand_shape(layer.shape, operand, layer.n_samples)
            if problem := values_problem(values, shape, layer.mask(operand)):
                raise TraceError(f"layer {layer.name!r}: {operand}: expected {problem}")
        return stored

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self._finish()
                self._stack.close()
            except BaseException as failure:
                self._discard(failure)
                if isinstance(failure, OSError):
                    raise self._cannot_write(failure) from None
                raise
        else:
            self._discard(error)

    def _finish(self) -> None:
        if self._failed:
            raise TraceError(f"{self._shown_path}: not written, because adding a layer failed")
        if not self._records:
            raise TraceError(f"{self._shown_path}: a trace must have at least one layer, got none")
        try:
            for record in self._records:  # batch_size may have been updated
                batch_size = record.batch_size or self._metadata.batch_size
                check_samples(record.name, record.samples, batch_size)
        except TraceError as error:
            raise TraceError(f"{self._shown_path}: {error}") from None
        content = metadata_json(
            Listed(metadata=self._metadata, records=tuple(self._records), step=self._step)
        )
        if len(content) > MAX_METADATA_BYTES:
            raise TraceError(
                f"{self._shown_path}: metadata must take at most {MAX_METADATA_BYTES} bytes, "
                f"got {len(content)} for {len(self._records)} layers"
            )
        self._write(METADATA_MEMBER, np.frombuffer(content, dtype=np.uint8))
        assert self._archive is not None
        self._archive.close()

    def _discard(self, error: BaseException) -> None:
        """Drop the unfinished file; ``atomic_file`` removes it when it sees the error."""
        if self._archive is not None:
            with suppress(OSError, ValueError):
                self._archive.close()
        with suppress(Exception):
            self._stack.__exit__(type(error), error, None)

    def _write(self, member: str, array: NDArray[Any]) -> None:
        if self._archive is None:
            raise TraceError(f"{self._shown_path}: layers must be added inside the with block")
        array = np.ascontiguousarray(array)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        # A fixed date and system make the bytes depend on nothing but the content.
        info = zipfile.ZipInfo(f"{member}.npy", date_time=(1980, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED
        info.create_system = 3
        info.external_attr = 0o644 << 16
        info.file_size = array.nbytes + 1024  # only decides whether 64-bit sizes are needed
        try:
            with self._archive.open(info, "w") as file:
                np.lib.format.write_array_header_1_0(
                    file, np.lib.format.header_data_from_array_1_0(array)
                )
                file.write(array.reshape(-1).view(np.uint8).data)
        except BaseException as error:
            self._failed = True
            if isinstance(error, OSError):
                raise self._cannot_write(error) from None
            raise

    def _cannot_write(self, error: BaseException) -> TraceError:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        return TraceError(f"{self._shown_path}: cannot write trace: {one_line(reason)}")


def save(trace: Trace, path: str | os.PathLike[str], values: bool = False) -> None:
    """Write ``trace`` to ``path`` (used as given), with the layers' values if asked.

    The file appears whole or not at all, and its bytes depend only on the trace. An older file of
    that name is replaced, also when ``trace`` was loaded from it.

    Raises:
        TraceError: the file cannot be written, or a layer has no values to store.
    """
    with TraceWriter(path, values=values, **trace.metadata()) as writer:
        for layer in trace.layers:
            writer.add(layer)
        if trace.step is not None:
            writer.add_step(trace.step)


def _metadata(**fields: Any) -> TraceMetadata:
    known = set(TraceMetadata.__dataclass_fields__)
    unknown = sorted(set(fields) - known)
    if unknown:
        raise TraceError(
            f"unknown metadata {unknown[0]!r}, must be one of {', '.join(sorted(known))}"
        )
    return TraceMetadata(**fields)
