"""Results that have been worked out before, found again by the digest of what they depend on.

Recent ones are in memory, those worth it also in a folder that processes share. An entry that
cannot be read is worked out again; a folder that cannot be written costs only time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from cachetools import LRUCache

Result = TypeVar("Result")
MIB = 1 << 20
MEMORY_BYTES = 512 * MIB
DISK_BYTES = 2048 * MIB
ENVIRONMENT = "GSCN_SIM_CACHE"
OFF = "off"


class Cache:
    """Remembers results by content. Safe for several threads, and its folder for processes.

    ``folder`` None keeps nothing on disk. The folder is cut back to ``disk_bytes``, oldest use
    first, whenever this process has added a sixteenth of that.
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
        self._store = self._on_disk = None
        if folder is not None:
            from joblib import Memory
            from joblib._store_backends import CacheWarning

            # A full or slow disk: the result stands, it is only not kept, or late.
            warnings.filterwarnings("ignore", category=CacheWarning)
            warnings.filterwarnings("ignore", message=r"\s*Persisting input arguments")
            with contextlib.suppress(OSError):
                self._store = Memory(folder, verbose=0, compress=1)
                self._on_disk = self._store.cache(_computed, ignore=["compute"])

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

    def get_on_disk(
        self,
        digest: str,
        compute: Callable[[], Any],
        restore: Callable[[Any], Any] = lambda kept: kept,
    ) -> Any:
        """The result of ``compute``, from memory or from the folder if it is there.

        In memory is what ``restore`` makes of it.
        """
        return self.get(digest, lambda: restore(self._from_disk(digest, compute)))

    def _from_disk(self, digest: str, compute: Callable[[], Result]) -> Result:
        if self._on_disk is None:
            return compute()
        kept = self._on_disk
        try:
            if kept.check_call_in_cache(digest, compute):
                entry = kept.call_and_shelve(digest, compute)
                try:
                    return cast(Result, entry.get())
                except Exception:  # damaged: whatever unpickling makes of it
                    entry.clear()
            value = cast(Result, kept(digest, compute))
        except OSError:
            return compute()
        self._cut_back(size_bytes(value))
        return value

    def _cut_back(self, added_bytes: int) -> None:
        self._added_bytes += added_bytes
        if self._store is not None and self._added_bytes > self.disk_bytes // 16:
            self._added_bytes = 0
            with contextlib.suppress(OSError):  # another process deletes too
                self._store.reduce_size(bytes_limit=self.disk_bytes)


def _computed(digest: str, compute: Callable[[], Result]) -> Result:
    """What the folder files by ``digest``; joblib empties the folder if this source changes."""
    return compute()


def open_cache(place: str | None = None, *, memory_bytes: int = MEMORY_BYTES) -> Cache:
    """A cache in the folder ``place``, else in $GSCN_SIM_CACHE, else in the user's cache folder.

    ``off`` in either keeps nothing on disk.
    """
    place = place or os.environ.get(ENVIRONMENT) or _user_folder()
    return Cache(None if place == OFF else place, memory_bytes=memory_bytes)


def size_bytes(value: object) -> int:
    """About what a value takes in memory: its arrays, and a little for anything else."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, dict):
        return sum(size_bytes(item) for item in value.values()) + 200 * len(value)
    if isinstance(value, list | tuple):
        return sum(map(size_bytes, value)) + 100
    if hasattr(value, "__dict__"):
        return size_bytes(vars(value))
    return sys.getsizeof(value)


def _user_folder() -> str:
    from platformdirs import user_cache_dir

    return user_cache_dir("gscn-sim", appauthor=False)
