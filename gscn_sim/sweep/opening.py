"""Opening the file of a store: checked, to write or only to read; mended where it is damaged."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gscn_sim.sweep.errors import StoreError
from gscn_sim.sweep.integrity import TABLES, Damage, Row, read_rows, salvage, sum_of
from gscn_sim.sweep.schema import SCHEMA, SCHEMA_VERSION
from workloads.errors import one_line

MAX_CELL_BYTES = 1 << 26
ANY_TEXT = functools.partial(str, encoding="utf-8", errors="surrogateescape")
"""What is no text is read all the same, and is not what its digest says."""
FOREIGN = "is no store of sweeps"


def open_to_write(path: Path) -> tuple[sqlite3.Connection, str]:
    """Open a store, which is made if missing; also say what had to be mended.

    Raises:
        StoreError: a foreign file, a store of another version, a full or read-only disk.
    """
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: {FOREIGN}, nor a regular file")
    with errors_explained(path):
        try:
            connection = _open_to_write(path)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return _from_what_is_left(path, error)
        try:
            return connection, _mended(connection)
        except BaseException:
            connection.close()
            raise


def _open_to_write(path: Path) -> sqlite3.Connection:
    """Raises sqlite3.DatabaseError where the file itself is damaged."""
    connection = _connect(str(path))
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            create(connection)
        _check_schema(connection, path)
        problems = connection.execute("PRAGMA integrity_check(1)").fetchall()
        connection.execute("COMMIT")
        if problems != [("ok",)]:
            raise sqlite3.DatabaseError(str(problems[0][0]))
    except BaseException:
        connection.close()
        raise
    connection.text_factory = ANY_TEXT
    return connection


def _mended(connection: sqlite3.Connection) -> str:
    """Take damaged rows for points that have not run, and count anew; returns what was wrong."""
    connection.execute("BEGIN IMMEDIATE")
    rows, damage = _read(connection)
    if damage:
        for row in rows:
            if row.cells is None:
                connection.execute(
                    "DELETE FROM members WHERE sweep = ? AND position = ?",
                    (row.sweep, row.position),
                )
        for number in [number for (number,) in connection.execute("SELECT id FROM sweeps")]:
            digests = connection.execute(
                "SELECT digest FROM members WHERE sweep = ?", (number,)
            ).fetchall()
            connection.execute(
                "UPDATE sweeps SET places = ?, digests = ? WHERE id = ?",
                (len(digests), sum_of(*(digest for (digest,) in digests)), number),
            )
        connection.execute("DELETE FROM members WHERE sweep NOT IN (SELECT id FROM sweeps)")
        connection.execute("INSERT OR REPLACE INTO meta SELECT 'sweeps', count(*) FROM sweeps")
    connection.execute("COMMIT")
    return str(damage) if damage else ""


def _from_what_is_left(path: Path, error: sqlite3.DatabaseError) -> tuple[sqlite3.Connection, str]:
    """Begin a new store with the rows of a damaged one that can be read; that is kept beside."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with contextlib.closing(_rescued(path, error)) as made:
        try:
            with contextlib.closing(sqlite3.connect(fresh)) as target:
                made.backup(target)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    kept = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    os.replace(path, kept)
    for end in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{end}", f"{kept}{end}")
    os.replace(fresh, path)
    connection = _open_to_write(path)
    lost = _mended(connection)
    return connection, f"the store was damaged and is kept as {kept.name}; {lost or 'no row lost'}"


def _rescued(path: Path, error: sqlite3.DatabaseError) -> sqlite3.Connection:
    """A new store, in memory, with what can be read of a damaged one.

    Raises:
        sqlite3.DatabaseError: ``error``, if nothing can.
    """
    found = []
    for open_damaged in (_as_it_is, _by_our_first_page):
        made = sqlite3.connect(":memory:", isolation_level=None)
        rows = -1
        with contextlib.suppress(sqlite3.Error, OSError):
            with contextlib.closing(open_damaged(path)) as damaged:
                salvage(damaged, made)
            rows = _readable_rows(made)
        found.append((rows, made))
    (_, worse), (most, best) = sorted(found, key=operator.itemgetter(0))
    worse.close()
    if most < 0:
        best.close()
        raise error
    return best


def _readable_rows(made: sqlite3.Connection) -> int:
    """Rows in a store of our version; -1 of another."""
    version = made.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    if version != (str(SCHEMA_VERSION),):
        return -1
    counts = [made.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TABLES]
    return sum(counts)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file's content is to blame; else it is a lock, a full disk or the like."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # Python's own have none
    return code & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _as_it_is(path: Path) -> sqlite3.Connection:
    return _connect(f"{_uri(path)}?immutable=1", uri=True)


def _by_our_first_page(path: Path) -> sqlite3.Connection:
    """A store that is cut off or whose first page is damaged, as SQLite opens neither.

    In memory, with the first page of a new store, which is the same but for the counts in it: all
    stores have the same tables, made in the same order.
    """
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        create(made)
        fresh = made.serialize()
    size = int.from_bytes(fresh[16:18], "big")
    content = bytearray(path.read_bytes())
    pages = -(-len(content) // size)
    content.extend(bytes(pages * size - len(content)))
    content[:size] = fresh[:size]
    content[28:32] = pages.to_bytes(4, "big")
    content[92:96] = content[24:28]  # the count of changes that the number of pages belongs to
    opened = _connect(":memory:")
    opened.deserialize(content)
    return opened


@dataclass(frozen=True, kw_only=True)
class Content:
    """What can be read of a store: the rows of its sweeps, whose number they are, designs."""

    rows: list[Row]
    damage: Damage
    sweeps: list[int]
    configs: dict[str, str]


def read_store(path: Path, sweep: int | None = None) -> Content:
    """All of a store or of one of its sweeps, without changing anything there.

    The folder need not be writable. Of a damaged file it gives what can be read.

    Raises:
        StoreError: no store, a foreign file, or a store of another version.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such store; 'gscn-sim sweep ... -o DIR' makes one")
    with errors_explained(path), contextlib.ExitStack() as stack:
        try:
            connection = _open_to_read(path, stack)
            _check_schema(connection, path)
            return _content(connection, sweep)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            rescued = stack.enter_context(contextlib.closing(_rescued(path, error)))
            return _content(rescued, sweep)


def _content(connection: sqlite3.Connection, sweep: int | None) -> Content:
    connection.execute("BEGIN")  # all queries see the same points
    rows, damage = _read(connection, sweep)
    sweeps = [number for (number,) in connection.execute("SELECT id FROM sweeps ORDER BY id")]
    connection.text_factory = ANY_TEXT
    configs = dict(connection.execute("SELECT digest, json FROM configs"))
    return Content(rows=rows, damage=damage, sweeps=sweeps, configs=configs)


def _open_to_read(path: Path, stack: contextlib.ExitStack) -> sqlite3.Connection:
    """Without changing anything; from a copy where SQLite needs to write beside the file."""
    for options in ("mode=ro", "immutable=1"):
        wal = Path(f"{path}-wal")
        if options == "immutable=1" and wal.exists() and wal.stat().st_size:
            break  # it would not be looked at
        connection = _connect(f"{_uri(path)}?{options}", uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            if not os.access(path, os.R_OK):
                raise
        except BaseException:
            connection.close()
            raise
        else:
            stack.callback(connection.close)
            return connection
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gscn-sim-store-")))
    for end in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{path}{end}", folder / f"store{end}")
    connection = _connect(str(folder / "store"))
    stack.callback(connection.close)
    return connection


def _uri(path: Path) -> str:
    return path.resolve().as_uri()


def _connect(database: str, *, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        database, timeout=60, isolation_level=None, check_same_thread=False, uri=uri
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _read(connection: sqlite3.Connection, sweep: int | None = None) -> tuple[list[Row], Damage]:
    """As :func:`read_rows`; text that is no text makes a row damaged, not the file."""
    try:
        return read_rows(connection, sweep)
    except sqlite3.OperationalError as error:
        if "decode" not in str(error).lower():
            raise
    connection.text_factory = ANY_TEXT
    return read_rows(connection, sweep)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait for locks here as it does elsewhere."""
    for attempts_left in reversed(range(200)):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or not attempts_left:
                raise
            time.sleep(0.05)
        else:
            return


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of a new store."""
    for statement in SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
    connection.execute("INSERT INTO meta VALUES ('sweeps', '0')")


@functools.cache
def _wanted_schema() -> list[tuple[str, str, str | None]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        create(made)
        return _schema(made)


def _schema(connection: sqlite3.Connection) -> list[tuple[str, str, str | None]]:
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError for another version or file, sqlite3.DatabaseError for a damaged schema."""
    found = _schema(connection)
    tables = {name for _, name, sql in found if str(sql).startswith("CREATE TABLE")}
    if not set(TABLES) <= tables:  # nothing that would have to be executed, as views have
        raise StoreError(f"{path}: is an SQLite file, but no store of sweeps")
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    if row is None or row[0] != str(SCHEMA_VERSION):
        version = one_line("unknown" if row is None else row[0])
        raise StoreError(
            f"{path}: is a store of version {version:.20}; this program reads version "
            f"{SCHEMA_VERSION}"
        )
    if found != _wanted_schema():
        raise sqlite3.DatabaseError("its tables are not as they were made")


@contextmanager
def errors_explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line each."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path}: {_said(error)}; what was finished is kept") from None
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: damaged or no store of sweeps: {_said(error)}") from None


def _said(error: sqlite3.Error) -> str:
    """SQLite's message, which may quote what it found in a damaged file."""
    return one_line(error)[:200]
