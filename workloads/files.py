"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of ``path`` when the block ends without exception.

    Until then an existing file keeps its content; after an exception nothing is left behind, on
    Linux not even after a kill. A symbolic link is followed and stays a link.

    Raises:
        OSError: the folder is missing or cannot be written, the disk is full, or ``path`` is
            something other than a regular file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise OSError("not a regular file")
    if not target.parent.is_dir():
        raise OSError(f"no such folder: {target.parent}")
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.tmp")
    try:
        with _new_file(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _give_name(file, temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _new_file(temporary: Path) -> BinaryIO:
    """Open a file without a name where the system has such, else ``temporary``."""
    with suppress(OSError, AttributeError):  # neither every system nor every file system has them
        descriptor = os.open(temporary.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
        return os.fdopen(descriptor, "w+b")
    return open(temporary, "xb")


def _give_name(file: BinaryIO, temporary: Path) -> None:
    """Link a file without a name to ``temporary``."""
    if temporary.exists():
        return
    folder = os.open(temporary.parent, os.O_RDONLY)
    try:  # with a folder's descriptor Python calls linkat(), which follows the link in /proc
        os.link(f"/proc/self/fd/{file.fileno()}", temporary.name, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a crash, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
