"""Mutations: of bytes, of values, and of what a JSON or TOML document holds."""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np
from hypothesis import strategies as st

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, 4, -1, 7, 8, 65_535, 65_536, 2**24, 2**24 + 1, 2**31, 2**32),
    *(2**53, 2**63 - 1, 2**63, 10**30, -(2**63), 0.0, -0.0, 0.5, 1.0, 1.5, 1e-300, 1e300, -1.5),
    *("", "a", "0", "nan", "x" * 200, "x" * 201, "a\nb", "\u202e", "é", "\x00", "conv1"),
    *("activation", "float64", "<f8", "metadata", "../a", "gscn", "[]", [], {}, [1], [1, 1]),
    *([0, 0], [2, 2], [1, 1, 1], ["1", 1], [[1, 1]], {"a": 1}, [None], ["post_wgrad"], "matmul"),
)
hostile = st.sampled_from(HOSTILE)


def cases(all_of_them: int) -> int:
    """How many to try: all with ``make fuzz``, else a quarter, so that testing takes minutes."""
    return all_of_them if os.environ.get("FUZZ") == "all" else all_of_them // 4


def spoil(content: bytes, generator: np.random.Generator) -> bytes:
    """Bytes with one to three faults: flips, overwriting, cuts, insertions, copies, truncation."""
    damaged = bytearray(content)
    for _ in range(int(generator.integers(1, 4))):
        start = int(generator.integers(max(len(damaged), 1)))
        length = int(generator.integers(1, 40))
        match int(generator.integers(7)):
            case 0 if damaged:
                damaged[start] ^= 1 << int(generator.integers(8))
            case 1:
                damaged[start : start + length] = generator.bytes(length)
            case 2:
                del damaged[start : start + length]
            case 3:
                damaged[start:start] = generator.bytes(length)
            case 4:
                other = int(generator.integers(max(len(damaged), 1)))
                damaged[start : start + length] = damaged[other : other + length]
            case 5:
                damaged[start : start + length] = bytes(length)
            case 6 if generator.random() < 0.3:
                del damaged[start:]
    return bytes(damaged)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a document of dicts and lists, the document itself left out."""
    found = []
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in items:
        found += [(*path, key), *places(value, (*path, key))]
    return found


@st.composite
def spoiled(draw: st.DrawFn, document: Any) -> Any:
    """A copy with one to three changes: a value replaced, moved, left out, added or renamed."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        paths = places(changed)
        if not paths:
            break
        *way, last = draw(st.sampled_from(paths))
        parent = changed
        for key in way:
            parent = parent[key]
        match draw(st.integers(0, 5)):
            case 0 | 1:
                parent[last] = copy.deepcopy(draw(hostile))
            case 2:
                value = parent[last]
                if type(value) in (int, float):
                    parent[last] = draw(st.sampled_from([value + 1, value - 1, value * 2, -value]))
                else:
                    parent[last] = copy.deepcopy(draw(hostile))
            case 3:
                del parent[last]
            case 4:
                source = changed
                for key in draw(st.sampled_from(paths)):
                    if not isinstance(source, dict | list):
                        break
                    try:
                        source = source[key]
                    except (KeyError, IndexError):
                        break
                parent[last] = copy.deepcopy(source)
            case 5 if isinstance(parent, dict):
                name = draw(st.sampled_from(["extra", "C", "name", "values", "", "loss"]))
                parent[name] = copy.deepcopy(draw(hostile))
    return changed
