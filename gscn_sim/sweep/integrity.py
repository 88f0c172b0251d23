"""Whether the rows of a store are what was written: digests, what is missing, and saving the rest.

A finished point and its place in a sweep each carry a digest of all their cells, bound to the
point's key. A sweep knows how many places it has and the sum of their digests, so that rows that
vanish are noticed too.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import math
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gscn_sim.sweep.schema import METRICS, POINT_TEXTS, SCHEMA

Cells = Sequence[Any]
_PACK = struct.Struct(f"<{len(METRICS) + 1}d")
POINT_CELLS = (*POINT_TEXTS, "elapsed_seconds", *METRICS)
"""The columns of a point that its digest covers, in its order."""
TABLES = ("meta", "configs", "sweeps", "points", "members")


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What is wrong with a store's rows, by the positions of points; numbers of sweeps before."""

    rows: tuple[tuple[int, int], ...] = ()
    missing: int = 0

    def __bool__(self) -> bool:
        return bool(self.rows or self.missing)

    def __str__(self) -> str:
        parts = []
        if self.rows:
            some = ", ".join(str(position) for _, position in self.rows[:5])
            more = ", ..." if len(self.rows) > 5 else ""
            parts.append(f"{len(self.rows)} damaged (points {some}{more})")
        if self.missing:
            parts.append(f"{self.missing} missing")
        return "rows of the store: " + " and ".join(parts)


def point_digest(cells: Cells) -> str | None:
    """The digest of a point's cells, ``POINT_CELLS``; None if one cannot be what was written."""
    texts, numbers = cells[: len(POINT_TEXTS)], cells[len(POINT_TEXTS) :]
    try:
        packed = _PACK.pack(*[math.nan if number is None else number for number in numbers])
        return _digest(tuple(texts), packed)
    except (struct.error, ValueError):
        return None


def member_digest(sweep: int, position: int, key: str, code: str, params: str) -> str:
    """The digest of a point's place in a sweep."""
    return _digest((sweep, position, key, code, params))


def _digest(texts: tuple[Any, ...], numbers: bytes = b"") -> str:
    """Of texts, whole numbers and None in marshal's second format, which no release changes."""
    return hashlib.sha256(marshal.dumps(texts, 2) + numbers).hexdigest()[:32]


def sum_of(*digests: str) -> str:
    """The sum of digests, in any order."""
    return f"{sum(int(digest, 16) for digest in digests) % (1 << 128):032x}"


def without(total: str, digest: str) -> str:
    """A sum with one digest taken away."""
    return f"{(int(total, 16) - int(digest, 16)) % (1 << 128):032x}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One place of a sweep with its point; ``cells`` is None where either is damaged."""

    sweep: int
    position: int
    params: str
    cells: Cells | None
    point: int
    finished: bool = True


def read_rows(connection: sqlite3.Connection, sweep: int | None = None) -> tuple[list[Row], Damage]:
    """Every place of the sweeps in order, running ones too, and what is wrong with them.

    Raises:
        sqlite3.Error: the file itself is damaged.
    """
    cells = ", ".join(f"points.{name}" for name in POINT_CELLS)
    where = "" if sweep is None else "WHERE sweep = ?"
    chosen = () if sweep is None else (sweep,)
    query = connection.execute(
        "SELECT sweep, position, params, members.digest, members.point, points.digest, "
        f"{cells} FROM members LEFT JOIN points ON points.id = members.point {where} "
        "ORDER BY sweep, position",
        chosen,
    )
    rows = [_row(found[:6], found[6:]) for found in query]
    damaged = tuple((row.sweep, row.position) for row in rows if row.cells is None)
    tallies: dict[int, list[str]] = {}
    for digest, number in connection.execute(f"SELECT digest, sweep FROM members {where}", chosen):
        tallies.setdefault(number, []).append(digest)
    return rows, Damage(rows=damaged, missing=_missing(connection, tallies, sweep))


def _row(place: Cells, cells: Cells) -> Row:
    sweep, position, params, digest, point, own = place
    key, code, status = cells[:3]
    whole = (
        isinstance(params, str)
        and isinstance(key, str)
        and isinstance(code, str)
        and digest == member_digest(sweep, position, key, code, params)
    )
    running = status == "running" and own is None
    if not running:
        whole = whole and own is not None and own == point_digest(cells)
    whole = whole and not any(isinstance(cell, bytes) for cell in cells)  # no column holds any
    return Row(
        sweep=sweep,
        position=position,
        params=params,
        cells=cells if whole else None,
        point=point,
        finished=not running,
    )


def _missing(
    connection: sqlite3.Connection, tallies: dict[int, list[str]], sweep: int | None
) -> int:
    """Rows that the sweeps say there are and that are not; at least 1 if anything differs."""
    sweeps = connection.execute("SELECT id, places, digests FROM sweeps").fetchall()
    missing = 0
    for number, places, total in sweeps:
        if sweep not in (None, number):
            continue
        found = tallies.pop(number, [])
        with contextlib.suppress(TypeError, ValueError):
            if len(found) == places and total == sum_of(*found):
                continue
        known = isinstance(places, int)
        missing += max(places - len(found), 1) if known else 1
    count = connection.execute("SELECT value FROM meta WHERE name = 'sweeps'").fetchone()
    if count is None or count[0] != str(len(sweeps)):
        missing += 1
    return missing + len(tallies)  # places of sweeps that are not there


def salvage(damaged: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy every row that can still be read into a new store; :func:`read_rows` says which count.

    A table is read from both ends, each up to the first page that cannot be read.
    """
    for statement in SCHEMA.split(";\n"):
        target.execute(statement)
    for table in TABLES:
        names = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
        columns, marks = ", ".join(names), ", ".join("?" for _ in names)
        by = {"members": ("sweep", "position")}.get(table, ("rowid",))
        for direction in ("ASC", "DESC"):
            order = ", ".join(f"{name} {direction}" for name in by)
            for row in _readable(damaged, f"SELECT {columns} FROM {table} ORDER BY {order}"):
                with contextlib.suppress(sqlite3.Error):  # read from both ends, or not whole
                    target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)


def _readable(connection: sqlite3.Connection, query: str) -> Iterator[Cells]:
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError, OverflowError):
        yield from connection.execute(query)
