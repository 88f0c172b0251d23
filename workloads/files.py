"""Files that appear whole or not at all, files that are what they seem, folders of our own."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from workloads.errors import GscnError

TEXT_LIMIT_BYTES = 1 << 24


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of ``path`` when the block ends without exception.

    Until then an existing file keeps its content; after an exception nothing is left behind, on
    Linux not even after a kill. A symbolic link is followed and stays a link. The new file has the
    permissions of the one that it replaces.

    Raises:
        OSError: the folder is missing or cannot be written, the disk is full, or ``path`` is
            something other than a regular file.
    """
    target = Path(os.path.realpath(path))
    before = target.stat() if target.exists() else None
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise OSError("not a regular file")
    if not target.parent.is_dir():
        raise OSError(f"no such folder: {target.parent}")
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.tmp")
    try:
        with _new_file(temporary) as file:
            yield file
            file.flush()
            if before is not None:
                _give_permissions(file, before)
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


def _give_permissions(file: BinaryIO, before: os.stat_result) -> None:
    """Owner, as far as the system lets us, and mode of the file that is replaced."""
    with suppress(OSError, AttributeError):
        os.fchown(file.fileno(), before.st_uid, before.st_gid)
    with suppress(OSError, AttributeError):  # in this order: a change of owner may drop bits
        os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be read, or is a folder, pipe or device; ``strerror`` says which.
    """
    # Non-blocking, or opening a pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder, not a file")
        raise OSError(errno.EINVAL, "is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | os.PathLike[str], limit_bytes: int = TEXT_LIMIT_BYTES) -> bytes:
    """The content of a regular file of at most ``limit_bytes``.

    Raises:
        OSError: it cannot be read, is a folder, pipe or device, or is larger; ``strerror`` says
            which.
    """
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        if status.st_size > limit_bytes:
            raise OSError(errno.EFBIG, f"must be at most {limit_bytes} bytes, is {status.st_size}")
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, f"must be at most {limit_bytes} bytes, grows while it is read")
    return content


def private_folder(path: str | os.PathLike[str]) -> Path:
    """A folder into which only its owner, this user or root, may write; it is made if missing.

    What is found there may be believed, as far as its own digests are right.

    Raises:
        OSError: it cannot be made.
        GscnError: it belongs to somebody else, or others may write to it.
    """
    folder = Path(path)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another process was faster
            folder.mkdir(mode=0o700)
    status = folder.stat()
    if not hasattr(os, "geteuid"):
        return folder
    if status.st_uid not in (0, os.geteuid()):
        raise GscnError(
            f"{folder}: belongs to another user (number {status.st_uid}), who could plant results "
            "there; name a folder of your own, or 'off'"
        )
    if status.st_mode & 0o022:
        raise GscnError(
            f"{folder}: others may write to it and could plant results there; "
            f"chmod go-w {shlex.quote(str(folder))} mends it, once what it holds is no one else's"
        )
    return folder


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a crash, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
