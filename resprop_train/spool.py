"""Layers on disk from their backward pass until the trace is written."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workloads.errors import GscnWarning, TraceError, one_line
from workloads.layer import Layer

SUFFIX = ".recording"
LOCK = "lock"
"""A file that is locked while the process lives that the folder belongs to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """One layer on disk, and what tells that it is still what was written."""

    path: Path
    digest: bytes


class Spool:
    """A private folder of layers beside a trace, deleted by :meth:`end`.

    What recordings to the same trace have left that were killed is deleted first, with a warning.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, trace: Path) -> None:
        self.trace = trace
        folder = trace.resolve().parent
        _delete_leftovers(trace, folder)
        self._folder = tempfile.TemporaryDirectory(
            prefix=f".{trace.name[:40]}.", suffix=SUFFIX, dir=folder
        )
        self._lock = open(Path(self._folder.name) / LOCK, "wb")  # noqa: SIM115
        _locked(self._lock)
        self._copies = 0

    def put(self, layer: Layer) -> Copy:
        """Keep a layer.

        Raises:
            OSError: the disk is full, for one.
        """
        content = pickle.dumps(layer)
        path = Path(self._folder.name) / f"{self._copies}.pickle"
        path.write_bytes(content)
        self._copies += 1
        return Copy(path=path, digest=hashlib.sha256(content).digest())

    def take(self, copy: Copy) -> Layer:
        """The layer again, whose copy is deleted.

        Raises:
            TraceError: the copy is not what was written.
            OSError: it cannot be read.
        """
        content = copy.path.read_bytes()
        if hashlib.sha256(content).digest() != copy.digest:  # before anything is unpickled
            raise TraceError(
                f"{one_line(self.trace)}: nothing written: a recorded layer has changed on disk "
                f"since, in {one_line(copy.path)}"
            )
        copy.path.unlink()
        layer = pickle.loads(content)
        assert isinstance(layer, Layer)
        return layer

    def end(self) -> None:
        """Delete the folder and all in it."""
        self._lock.close()
        self._folder.cleanup()


def _delete_leftovers(trace: Path, folder: Path) -> None:
    """Delete the folders of recordings to the same trace whose processes are gone."""
    for left in _leftovers(trace, folder):
        with suppress(OSError), _owned(left / LOCK) as nobody_has_it:
            if nobody_has_it:
                size = sum(path.stat().st_size for path in left.iterdir())
                shutil.rmtree(left)
                warnings.warn(
                    f"{one_line(trace)}: a recording that was killed had left {size / 1e6:.1f} MB "
                    f"in {one_line(left.name)}: deleted",
                    GscnWarning,
                    stacklevel=2,
                )


def _leftovers(trace: Path, folder: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            ours = entry.name.startswith(f".{trace.name[:40]}.") and entry.name.endswith(SUFFIX)
            if ours and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


@contextmanager
def _owned(lock: Path) -> Iterator[bool]:
    """Whether the lock could be taken, for as long as the block lasts."""
    with open(lock, "rb+") as file:
        yield _locked(file)


def _locked(file: BinaryIO) -> bool:
    """Lock a file; False if somebody else has, or the system knows no such locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
