"""Where compiled code lies and what it depends on: the one place that decides it.

Compiled code of exactly these sources, this numba, this llvmlite and this Python lies in a folder
of its own, named by the digest of all of them. The folder is, in this order:

1. in ``$NUMBA_CACHE_DIR``, where that is set: the user's own choice;
2. in ``__pycache__`` beside the sources, where that can be written to;
3. in the user's cache folder;
4. a private temporary folder, deleted at the end, with a warning that everything will be compiled
   again next time.

What lies beside the sources is used even where nothing can be added to it, as in a container that
runs as another user than the one who built it. Folders elsewhere must belong to this user or root,
and nobody else may write to them.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import platform
import shutil
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

from workloads.errors import GscnError, GscnWarning
from workloads.files import private_folder

ENVIRONMENT = "NUMBA_CACHE_DIR"
TEMPORARY = "GSCN_SIM_COMPILED"
"""Tells worker processes of the temporary folder of the process that started them."""
SOURCES = Path(__file__).parent


def sources_digest(sources: Path = SOURCES) -> str:
    """First 16 hex digits of the SHA-256 of all that compiled code depends on."""
    versions = [platform.python_version(), metadata.version("numba"), metadata.version("llvmlite")]
    digest = hashlib.sha256("\0".join(versions).encode())
    for path in sorted(sources.glob("*.py")):
        digest.update(b"\0" + path.name.encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@functools.cache
def code_folders(sources: Path = SOURCES) -> tuple[tuple[Path, ...], Path]:
    """The folders to look for compiled code in, and the one of them that takes what is new.

    Raises:
        GscnError: ``$NUMBA_CACHE_DIR`` cannot be written to, or others can write to our folder
            there.
    """
    name = f"compiled-{sources_digest(sources)}"
    if chosen := os.environ.get(ENVIRONMENT):
        try:
            folder = private_folder(Path(chosen) / "gscn-sim" / name)
        except OSError as error:
            raise GscnError(f"${ENVIRONMENT} {chosen}: {error.strerror or error}") from None
        return (folder,), folder
    beside = sources / "__pycache__" / name
    if _writable(beside):
        return (beside,), beside
    found = (beside,) if beside.is_dir() else ()
    from platformdirs import user_cache_dir

    with contextlib.suppress(OSError, GscnError):
        user = private_folder(Path(user_cache_dir("gscn-sim", appauthor=False)) / name)
        if _writable(user):
            return (*found, user), user
    temporary = _temporary_folder() / name
    temporary.mkdir(mode=0o700, exist_ok=True)
    return (*found, temporary), temporary


def _temporary_folder() -> Path:
    if inherited := os.environ.get(TEMPORARY):
        return private_folder(inherited)
    made = tempfile.mkdtemp(prefix="gscn-sim-compiled-")
    os.environ[TEMPORARY] = made
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    warnings.warn(
        "compiled kernels cannot be kept, as neither the package nor the home can be written to: "
        f"every start compiles them again; ${ENVIRONMENT} may name a folder",
        GscnWarning,
        stacklevel=2,
    )
    return Path(made)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
