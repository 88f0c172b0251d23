"""Compiled kernels: arrays in, integers out.

Numba keeps compiled code beside the sources and notices a change of the file that a function
stands in, but not of the files it calls into: after an update it could run yesterday's code. So
the cache has a folder of its own for each state of all kernel sources.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from numba import config


def cache_folder(sources: Path) -> Path:
    """Where the compiled code of exactly these sources is kept."""
    digest = hashlib.sha256()
    for path in sorted(sources.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sources / "__pycache__" / f"compiled-{digest.hexdigest()[:16]}"


if not config.CACHE_DIR:  # type: ignore[attr-defined]  # the user's own choice stands
    config.CACHE_DIR = str(cache_folder(Path(__file__).parent))  # type: ignore[attr-defined]
