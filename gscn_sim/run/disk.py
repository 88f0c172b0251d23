"""Results in a folder that processes share, none of which can execute or be believed when damaged.

An entry is one file: a digest bound to its key, then a compressed document (JSON, arrays after it).
The digest is checked before anything else is looked at. Documents hold numbers, texts, tuples,
lists, dicts, arrays, and dataclasses, named tuples and enums of this project; reading makes nothing
else. Entries lie in a subfolder of their own that nobody but its owner may write to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import math
import os
import secrets
import time
import zlib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, cast

import numpy as np

from workloads.errors import GscnError
from workloads.files import private_folder, read_regular

FOLDER = "results-1"  # the number is that of the format
MAGIC = b"gscn-sim result 1\n"
DIGEST_BYTES = 32
LENGTH_BYTES = 8
CHUNK_BYTES = 1 << 16
MAX_ENTRY_BYTES = 1 << 30
MAX_DEFLATE_RATIO = 1032  # what deflate reaches at best
PACKAGES = ("gscn_sim", "workloads")
_NOT_A_DOCUMENT = (ValueError, LookupError, TypeError, AttributeError, ImportError, zlib.error)
LEFTOVER_SECONDS = 3600.0
"""A temporary file this old was left by a process that was killed."""


class Folder:
    """Values by the digest of what they depend on.

    Raises:
        OSError: the folder cannot be made.
        GscnError: it belongs to somebody else, or others may write to it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = private_folder(Path(folder) / FOLDER)

    def get(self, key: str) -> Any:
        """The value kept under ``key``; None if there is none or it is not whole."""
        path = self._path(key)
        try:
            content = read_regular(path, MAX_ENTRY_BYTES)
        except OSError:
            return None
        body = memoryview(content)[len(MAGIC) + DIGEST_BYTES :]
        if content[: len(MAGIC) + DIGEST_BYTES] != MAGIC + _digest(key, body):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        try:
            value = loads(body)
        except (*_NOT_A_DOCUMENT, GscnError):
            return None  # whole, but of a version whose classes were others
        with contextlib.suppress(OSError):
            os.utime(path)  # the oldest use goes first
        return value

    def put(self, key: str, value: Any) -> int:
        """Keep a value; returns the size of its file in bytes.

        Raises:
            OSError: the disk is full or the folder read-only.
            TypeError: the value holds something that a document cannot.
        """
        body = dumps(value)
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(MAGIC + _digest(key, body))
                file.write(body)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        return len(MAGIC) + DIGEST_BYTES + len(body)

    def cut_back(self, limit_bytes: int) -> None:
        """Delete entries, oldest use first, until they take at most ``limit_bytes``."""
        now = time.time()
        entries = []
        for path, status in self._files():
            if path.suffix == ".tmp":
                if now - status.st_mtime > LEFTOVER_SECONDS:
                    path.unlink(missing_ok=True)
            else:
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= limit_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):  # another process deletes too
                yield path, path.stat()

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.result"


def _digest(key: str, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(MAGIC + key.encode() + b"\0")
    digest.update(body)
    return digest.digest()


def dumps(value: Any) -> bytes:
    """A value as a document: lengths, then deflated JSON and the arrays that it refers to.

    Raises:
        TypeError: it holds something that a document cannot.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    text = json.dumps(_encoded(value, arrays), separators=(",", ":")).encode()
    squeeze = zlib.compressobj(1)
    parts = [squeeze.compress(len(text).to_bytes(LENGTH_BYTES, "little") + text)]
    parts += [squeeze.compress(array.reshape(-1).view(np.uint8).data) for array in arrays]
    parts.append(squeeze.flush())
    size = LENGTH_BYTES + len(text) + sum(array.nbytes for array in arrays)
    return size.to_bytes(LENGTH_BYTES, "little") + b"".join(parts)


def loads(document: bytes | memoryview) -> Any:
    """The value of a document; takes memory for its arrays once.

    Raises:
        ValueError, LookupError, TypeError, AttributeError, ImportError, zlib.error: it is none.
    """
    unpacked = _Unpacked(document)
    length = int.from_bytes(unpacked.take(LENGTH_BYTES).tobytes(), "little")
    value = _decoded(json.loads(unpacked.take(length).tobytes()), unpacked)
    if unpacked.left_bytes:
        raise ValueError("a document of another length")
    return value


class _Unpacked:
    """What a document unpacks to, taken piece by piece."""

    def __init__(self, document: bytes | memoryview) -> None:
        self.left_bytes = int.from_bytes(document[:LENGTH_BYTES], "little")
        if self.left_bytes > MAX_DEFLATE_RATIO * len(document):
            raise ValueError("no document unpacks to so much")
        self._packed = memoryview(document)[LENGTH_BYTES:]
        self._unpack = zlib.decompressobj()

    def take(self, size_bytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The next bytes."""
        if not 0 <= size_bytes <= self.left_bytes:
            raise ValueError("a document that ends early")
        self.left_bytes -= size_bytes
        taken = np.empty(size_bytes, np.uint8)
        done = 0
        while done < size_bytes:
            packed: bytes | memoryview = self._unpack.unconsumed_tail
            if not packed:
                packed, self._packed = self._packed[:CHUNK_BYTES], self._packed[CHUNK_BYTES:]
            piece = self._unpack.decompress(packed, min(CHUNK_BYTES, size_bytes - done))
            if not piece and not len(packed):
                raise ValueError("a document that ends early")
            taken[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)
        return taken

    def array(self, dtype: str, shape: list[int]) -> np.ndarray[Any, Any]:
        """The next array."""
        kind = np.dtype(dtype)
        if kind.hasobject:
            raise ValueError("an array of objects")
        return self.take(math.prod(shape) * kind.itemsize).view(kind).reshape(shape)


def _encoded(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    """What JSON says of a value: itself, an array for a tuple, an object for all else."""
    if isinstance(value, Enum):
        return {"enum": _name(type(value)), "value": value.value}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        if array.dtype.hasobject:
            raise TypeError("an array of objects cannot be kept")
        arrays.append(array)
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: array.dtype.str, "shape": list(value.shape)}
    if type(value) is tuple:
        return [_encoded(item, arrays) for item in value]
    if type(value) is list:
        return {"list": [_encoded(item, arrays) for item in value]}
    if type(value) is dict:
        pairs = value.items()
        return {"dict": [[_encoded(k, arrays), _encoded(v, arrays)] for k, v in pairs]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"tuple": _name(type(value)), "items": [_encoded(item, arrays) for item in value]}
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        fields = {name: _encoded(getattr(value, name), arrays) for name in names}
        return {"class": _name(type(value)), "fields": fields}
    raise TypeError(f"{type(value).__name__} cannot be kept")


def _decoded(found: Any, arrays: _Unpacked) -> Any:
    if isinstance(found, list):
        return tuple(_decoded(item, arrays) for item in found)
    if not isinstance(found, dict):
        return found
    match found:
        case {"array": dtype, "shape": shape}:
            return arrays.array(dtype, shape)
        case {"scalar": dtype, "shape": shape}:
            return arrays.array(dtype, shape)[()]
        case {"list": items}:
            return [_decoded(item, arrays) for item in items]
        case {"dict": pairs}:
            return {_decoded(key, arrays): _decoded(value, arrays) for key, value in pairs}
        case {"enum": name, "value": value}:
            return _class(name, Enum)(value)
        case {"tuple": name, "items": items}:
            return _class(name, tuple)(*(_decoded(item, arrays) for item in items))
        case {"class": name, "fields": fields}:
            made = _class(name, object)
            if not dataclasses.is_dataclass(made):
                raise TypeError(f"{name} is no dataclass")
            values = {key: _decoded(value, arrays) for key, value in fields.items()}
            return cast(Any, made)(**values)
    raise ValueError("a document holds no such object")


def _name(kind: type) -> str:
    if kind.__module__.partition(".")[0] not in PACKAGES or "." in kind.__qualname__:
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} is not of this project")
    return f"{kind.__module__}:{kind.__qualname__}"


def _class(name: str, base: type) -> Any:
    """A class of this project by its name; nothing else can be named."""
    module, _, attribute = name.partition(":")
    if module.partition(".")[0] not in PACKAGES:
        raise ValueError(f"{name} is not of this project")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, type) or not issubclass(found, base) or found.__module__ != module:
        raise TypeError(f"{name} is not what it was")
    return found
