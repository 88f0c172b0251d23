"""Which kernels this process has compiled and compiles now: what progress can say about it.

Nothing here loads numba.
"""

from __future__ import annotations

_finished: list[str] = []
_begun: list[str] = []


def begin(name: str) -> None:
    """Note that a kernel's compilation begins; those that it calls are compiled within."""
    _begun.append(name)


def end(name: str) -> None:
    """Note that a kernel is compiled."""
    if name in _begun:
        _begun.remove(name)
        _finished.append(name)


def words() -> str:
    """What is compiled now, in words; nothing while nothing is."""
    if not _begun:
        return ""
    return f"compiling, once: {_begun[-1]}, kernel {len(_finished) + 1}"
