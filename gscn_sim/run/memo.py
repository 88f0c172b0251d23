"""Results that have been worked out before, found again by the digest of what they depend on.

Recent ones are in memory, those worth it also in a folder that processes share. An entry that
cannot be read is worked out again; a folder that cannot be written costs only time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from cachetools import LRUCache

from gscn_sim.results.provenance import code_digest
from gscn_sim.run.disk import Folder
from gscn_sim.stages import Later

Result = TypeVar("Result")
MIB = 1 << 20
MEMORY_BYTES = 512 * MIB
DISK_BYTES = 2048 * MIB
ENVIRONMENT = "GSCN_SIM_CACHE"
OFF = "off"


class Cache:
    """Remembers results by content. Safe for several threads, and its folder for processes.

    It is a :class:`gscn_sim.stages.Caller`: give it to whoever calls stages. ``folder`` None keeps
    nothing on disk. The folder is cut back to ``disk_bytes``, oldest use first, whenever this
    process has added a sixteenth of that.

    Raises:
        GscnError: the folder belongs to somebody else, or others may write to it.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        memory_bytes: int = MEMORY_BYTES,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        self.disk_bytes = disk_bytes
        self.hits = self.misses = 0
        self._memory: LRUCache[Hashable, Any] = LRUCache(memory_bytes, getsizeof=size_bytes)
        self._lock = threading.Lock()
        self._added_bytes = 0
        self._on_disk: Folder | None = None
        if folder is not None:
            with contextlib.suppress(OSError):
                self._on_disk = Folder(folder)

    def __call__(
        self, stage: Callable[..., Result], *arguments: object, keep: bool = False
    ) -> Result:
        """What a stage returns for these arguments, by their digest."""
        key = digest_of(stage, *arguments)

        def compute() -> Result:
            return stage(*arguments)

        return self.get_on_disk(key, compute) if keep else self.get(key, compute)

    @property
    def used_bytes(self) -> int:
        """About what the results in memory take."""
        return int(self._memory.currsize)

    def get(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """The result of ``compute``, from memory if it is there."""
        with self._lock:
            if key in self._memory:
                self.hits += 1
                return cast(Result, self._memory[key])
        self.misses += 1
        value = compute()
        with self._lock, contextlib.suppress(ValueError):  # larger than the whole memory
            self._memory[key] = value
        return value

    def get_on_disk(self, digest: str, compute: Callable[[], Result]) -> Result:
        """The result of ``compute``, from memory or from the folder if it is there."""
        return self.get(digest, lambda: self._from_disk(digest, compute))

    def _from_disk(self, digest: str, compute: Callable[[], Result]) -> Result:
        if self._on_disk is None:
            return compute()
        kept = self._on_disk.get(digest)
        if kept is not None:
            return cast(Result, kept)
        value = compute()
        # A full disk, or a class from elsewhere: the result stands, it is only not kept.
        with contextlib.suppress(OSError, TypeError):
            self._cut_back(self._on_disk.put(digest, value))
        return value

    def _cut_back(self, added_bytes: int) -> None:
        self._added_bytes += added_bytes
        if self._on_disk is not None and self._added_bytes > self.disk_bytes // 16:
            self._added_bytes = 0
            self._on_disk.cut_back(self.disk_bytes)


def open_cache(place: str | None = None, *, memory_bytes: int = MEMORY_BYTES) -> Cache:
    """A cache in the folder ``place``, else in $GSCN_SIM_CACHE, else in the user's cache folder.

    ``off`` in either keeps nothing on disk.
    """
    place = place or os.environ.get(ENVIRONMENT) or _user_folder()
    return Cache(None if place == OFF else place, memory_bytes=memory_bytes)


def digest_of(stage: Callable[..., Any], *arguments: object) -> str:
    """SHA-256 (hex) of a call: the code, the stage, every argument by value or by its digest."""
    found = hashlib.sha256(code_digest().encode())
    for part in (stage, *arguments):
        found.update(repr(_plain(part)).encode() + b"\0")
    return found.hexdigest()


def _plain(value: object) -> object:
    """A value whose ``repr`` says all that it stands for."""
    if isinstance(value, Later):
        return "later", _plain(value.stage), _plain(value.arguments)
    digest = getattr(value, "digest", None)
    if isinstance(digest, str):
        return type(value).__qualname__, digest
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        each = [_plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
        return type(value).__qualname__, each
    if callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', value)}"
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a stage cannot be remembered by an argument of {type(value)}")


def size_bytes(value: object) -> int:
    """About what a value takes in memory: its arrays, and everything that its parts hold."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes) + 100
    if isinstance(value, str | bytes | int | float | None):
        return sys.getsizeof(value)
    if isinstance(value, dict):
        return (
            sys.getsizeof(value)
            + sum(map(size_bytes, value))
            + sum(map(size_bytes, value.values()))
        )
    if isinstance(value, list | tuple | set | frozenset):
        return sys.getsizeof(value) + sum(map(size_bytes, value))
    size = sys.getsizeof(value)
    if dataclasses.is_dataclass(value) and not hasattr(value, "__dict__"):
        return size + sum(size_bytes(getattr(value, f.name)) for f in dataclasses.fields(value))
    return size + (size_bytes(vars(value)) if hasattr(value, "__dict__") else 0)


def _user_folder() -> str:
    from platformdirs import user_cache_dir

    return user_cache_dir("gscn-sim", appauthor=False)
