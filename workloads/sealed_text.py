"""Text files with a digest of themselves in their first line, a comment for who else reads them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

DIGEST = "digest"
"""The last column of tables whose rows carry one."""
_BEGINNING = '# digest = "'
_LINE = re.compile(_BEGINNING + r'([0-9a-f]{64})"\n')
CHANGED = "is not what was written; if it was changed on purpose, delete its first line, the digest"


def sealed_text(text: str) -> str:
    """The text after a line with its digest."""
    return f'# digest = "{_digest(text)}"\n{text}'


def is_whole_text(text: str) -> bool:
    """Whether a text is what its digest says; one without a digest, as people write it, is."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found = _LINE.match(text)
    if found is None:  # or the line is cut short
        cut_short = bool(text) and _BEGINNING.startswith(text)
        return not (cut_short or text.startswith(_BEGINNING.rstrip(' ="')))
    return found[1] == _digest(text[found.end() :])


def unsealed(text: str) -> str:
    """The text without its line of digest."""
    return _LINE.sub("", text, count=1) if _LINE.match(text) else text


def row_digest(cells: Sequence[str]) -> str:
    """The digest of one row of a table that grows, to stand in its last column."""
    return _digest("\0".join(cells))[:16]


def following_digest(before: str, cells: Sequence[str]) -> str:
    """The digest of a row that stands after the one with the digest ``before``.

    Rows that are lost or moved are told too. That of the column names is before the first row.
    """
    return row_digest([before, *cells])


def first_damaged(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int | None:
    """The place of the first row that is not what was written after those before, if there is one.

    Args:
        columns: all but that of the digests.
        rows: cells, the digest last.
    """
    before = row_digest(columns)
    for place, row in enumerate(rows):
        if len(row) != len(columns) + 1 or row[-1] != following_digest(before, row[:-1]):
            return place
        before = row[-1]
    return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
