"""Errors that a user can cause: each is one line that says where, what, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Collection


class GscnError(Exception):
    """Base of every error that a user's input can cause; command lines print it and exit with 2."""


class GscnWarning(UserWarning):
    """What a user should know although the result stands; command lines print it as one line."""


class ShapeError(GscnError, ValueError):
    """A layer shape that no convolution can have, or an array that does not have its shape."""


class LayerError(GscnError, ValueError):
    """A layer whose name, numbers or operands cannot be used."""


class StepError(GscnError, ValueError):
    """A training step, or an operation of one, that cannot be."""


class TraceError(GscnError):
    """A trace file that cannot be read or written."""


def reason(error: Exception) -> str:
    """Return why a file could not be used, in one line; an OSError's path is left out."""
    return one_line(getattr(error, "strerror", None) or error)


def one_line(text: object) -> str:
    """Return ``text`` with line breaks and other unprintable characters escaped, for messages."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
        for c in str(text)
    )


def did_you_mean(word: str, known: Collection[str], similarity: float = 0.6) -> str:
    """``; did you mean X?`` for the most similar known word, nothing where none is similar."""
    lower = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), list(lower), n=1, cutoff=similarity)
    return f"; did you mean {lower[close[0]]}?" if close else ""
