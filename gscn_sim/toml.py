"""TOML from anywhere: regular files of a bounded size, values that a design can have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from workloads.errors import one_line, reason
from workloads.files import read_regular
from workloads.sealed_text import CHANGED, is_whole_text

LIMIT_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_PARTS = 16
"""Of a key with dots. Python's reader takes time in proportion to the square of their number."""
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_LONG_KEY = re.compile(rf"""(?<![\w"'.-])(?:{_PART}[ \t]*\.[ \t]*){{{MAX_PARTS}}}""")


class TomlError(ValueError):
    """Why a text or file is no TOML that can be used, in one line."""


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        TomlError: it cannot be read, is empty, is not what its digest says, or :func:`parse_toml`
            refuses it.
    """
    try:
        text = read_regular(path, LIMIT_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise TomlError(f"cannot be read as a TOML file: {reason(error)}") from None
    if not text.strip("\0 \t\r\n"):  # what a full disk or a crash leaves of a file
        raise TomlError("is empty; a file that shall say nothing must hold a comment")
    if not is_whole_text(text):
        raise TomlError(CHANGED)
    return parse_toml(text)


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text says.

    Raises:
        TomlError: it is no TOML, or holds what no table of ours does: deep nesting, keys of many
            parts, whole numbers of more than 64 bits.
    """
    if _LONG_KEY.search(text):
        raise TomlError(f"a key must have at most {MAX_PARTS} parts with dots between")
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TomlError(f"not valid TOML: {one_line(error)[:200]}") from None
    except (ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise TomlError(f"cannot be used as TOML: {one_line(error)[:200]}") from None
    _check(found, 0)
    return found


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TomlError(f"tables and lists must be nested at most {MAX_DEPTH} deep")
    if isinstance(value, dict):
        for item in value.values():
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise TomlError("a whole number must have at most 64 bits")
