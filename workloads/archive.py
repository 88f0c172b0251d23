"""An npz file from anywhere, read without trusting it."""

from __future__ import annotations

import functools
import io
import math
import os
import stat
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any, NoReturn, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from workloads.errors import TraceError, one_line, reason

MAX_METADATA_BYTES = 1 << 26
MAX_STEP_BYTES = 1 << 25
MAX_HEADER_BYTES = 4096
MAX_DEFLATE_RATIO = 1032  # what deflate reaches at best
CHUNK_BYTES = 1 << 20

# What the libraries below raise on bytes that are not what they should be.
_LIBRARY_ERRORS = (
    *(OSError, EOFError, ValueError, OverflowError, RuntimeError, SyntaxError),
    *(LookupError, TypeError, struct.error, zipfile.BadZipFile, zlib.error),
    *(Warning, tokenize.TokenError),  # both from numpy, about odd headers
)
Directory = tuple[tuple[str, int, int], ...]
"""Name, CRC-32 and size of every member, in the order of the file."""


class Archive:
    """A zip file of npy arrays, opened for reading; a context manager.

    Sizes are checked against each other, the caller's and the file's own before anything is
    allocated. ``shown_path`` is the path in messages.

    Raises:
        TraceError: the file cannot be opened or is no zip file.
    """

    def __init__(self, path: str | os.PathLike[str], shown_path: str | None = None) -> None:
        self.shown_path = one_line(os.fspath(path)) if shown_path is None else shown_path
        self._stack = ExitStack()
        try:
            self.path = os.path.abspath(os.fspath(path))
            status = os.stat(self.path)
        except FileNotFoundError:
            self.fail("no such file")
        except (OSError, ValueError) as error:
            self.fail(f"cannot be read: {reason(error)}")
        if stat.S_ISDIR(status.st_mode):
            self.fail("expected a trace file, got a folder")
        if not stat.S_ISREG(status.st_mode):
            self.fail("expected a trace file, got something that is not a regular file")
        self._size_bytes = status.st_size
        try:
            with self.guard("", "a trace file (npz), whole"):
                self._zip = self._stack.enter_context(zipfile.ZipFile(self.path))
            self._infos = {info.filename: info for info in self._zip.infolist()}
            if len(self._infos) != len(self._zip.infolist()):
                self.fail("expected each member once, got one twice")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def fail(self, message: str) -> NoReturn:
        """Raise TraceError with ``message`` about this file."""
        raise TraceError(f"{self.shown_path}: {message}")

    @contextmanager
    def guard(self, where: str, expected: str) -> Iterator[None]:
        """Turn whatever a library raises inside the block into one line of TraceError."""
        try:
            yield
        except MemoryError as error:
            self.fail(f"{where}{': ' if where else ''}not enough memory: {one_line(error)[:200]}")
        except _LIBRARY_ERRORS as error:
            what = one_line(error)[:200] or type(error).__name__
            self.fail(f"{where}{': ' if where else ''}expected {expected}: {what}")

    def directory(self) -> Directory:
        """Return what tells this file's content from another's."""
        return tuple((info.filename, info.CRC, info.file_size) for info in self._zip.infolist())

    def check_members(self, payload_bytes: Mapping[str, int]) -> None:
        """Raise TraceError unless the file has the metadata and exactly these members and sizes."""
        expected = {f"{member}.npy" for member in payload_bytes} | {"metadata.npy"}
        for name in sorted(expected - self._infos.keys()):
            self.fail(f"member {name!r}: expected, because the metadata names it, but missing")
        for name in sorted(self._infos.keys() - expected):
            self.fail(f"member {one_line(name)!r}: not expected, the metadata does not name it")
        for member, size_bytes in payload_bytes.items():
            self._check_sizes(
                self._infos[f"{member}.npy"], f"member {member + '.npy'!r}", size_bytes
            )

    def read_text(self, member: str) -> bytes:
        """Return the bytes of a one-dimensional uint8 member that holds text, 64 MiB at most."""
        where = f"member {member + '.npy'!r}"
        info = self._infos.get(f"{member}.npy")
        if info is None:
            self.fail(f"{where}: expected in a trace file, but missing")
        if info.file_size > MAX_METADATA_BYTES + MAX_HEADER_BYTES:
            self.fail(f"{where}: expected at most {MAX_METADATA_BYTES} bytes, got {info.file_size}")
        self._check_sizes(info, where, None)
        with self.guard(where, "an undamaged array"), self._zip.open(info) as stream:
            shape, fortran_order, dtype = _read_header(stream)
            text = stream.read()
        if dtype != np.uint8 or fortran_order or shape != (len(text),):
            self.fail(f"{where}: expected uint8 of shape {(len(text),)}, got {dtype} of {shape}")
        return text

    def read(
        self, member: str, where: str, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> NDArray[Any]:
        """Return an array of exactly this dtype (little-endian in the file) and shape."""
        info = self._infos[f"{member}.npy"]
        size_bytes = math.prod(shape) * dtype.itemsize
        self._check_sizes(info, where, size_bytes)
        with self.guard(where, "an undamaged array"), self._zip.open(info) as stream:
            got_shape, fortran_order, got_dtype = _read_header(stream)
            stored = dtype.newbyteorder("<")
            if (got_shape, fortran_order, got_dtype) != (shape, False, stored):
                order = ", Fortran order" if fortran_order else ""
                self.fail(
                    f"{where}: expected {stored} of shape {shape}, "
                    f"got {got_dtype} of shape {got_shape}{order}"
                )
            data = np.empty(size_bytes, dtype=np.uint8)
            view = data.data
            done = 0
            while done < size_bytes:
                count = stream.readinto(view[done : done + CHUNK_BYTES])  # type: ignore[attr-defined]
                if not count:
                    self.fail(f"{where}: expected {size_bytes} bytes of data, got {done}")
                done += count
            if stream.read(1):  # reading to the end also checks the CRC
                self.fail(f"{where}: expected {size_bytes} bytes of data, got more")
        if dtype == np.bool_ and size_bytes and data.max() > 1:
            self.fail(f"{where}: expected bools of 0 and 1, got {data.max()}")
        return data.view(stored).reshape(shape).astype(dtype, copy=False)

    def _check_sizes(self, info: zipfile.ZipInfo, where: str, payload_bytes: int | None) -> None:
        """Refuse a member whose declared sizes cannot be true, before it is unpacked."""
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            self.fail(
                f"{where}: expected to be stored or deflated, got method {info.compress_type}"
            )
        if info.flag_bits & 0x1:
            self.fail(f"{where}: expected without password, got it encrypted")
        if info.compress_size > self._size_bytes:
            self.fail(
                f"{where}: expected to fit into the file's {self._size_bytes} bytes, "
                f"got {info.compress_size}"
            )
        if info.file_size > MAX_DEFLATE_RATIO * (info.compress_size + 1):
            self.fail(
                f"{where}: expected at most {MAX_DEFLATE_RATIO} times its {info.compress_size} "
                f"packed bytes, got {info.file_size}"
            )
        header_bytes = info.file_size - (payload_bytes or 0)
        if payload_bytes is not None and not 0 < header_bytes <= MAX_HEADER_BYTES:
            self.fail(
                f"{where}: expected an array of {payload_bytes} bytes after its header, "
                f"got {info.file_size} in all"
            )


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, Fortran order and dtype from the start of an npy array."""
    start = stream.read(8)
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(start, 0)
    length = stream.read(width)
    size_bytes = int.from_bytes(length, "little")
    if size_bytes > MAX_HEADER_BYTES:
        raise ValueError(f"npy header must take at most {MAX_HEADER_BYTES} bytes")
    return _parsed_header(start + length + stream.read(size_bytes))


@functools.lru_cache(maxsize=1024)
def _parsed_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """What a header says; those of the layers of a long recording are all the same."""
    stream = io.BytesIO(header)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy and the parser only warn about some odd headers
        version = npy.read_magic(stream)
        if version == (1, 0):
            return npy.read_array_header_1_0(stream, max_header_size=MAX_HEADER_BYTES)
        if version == (2, 0):
            return npy.read_array_header_2_0(stream, max_header_size=MAX_HEADER_BYTES)
        raise ValueError(f"npy version must be 1.0 or 2.0, got {version[0]}.{version[1]}")
