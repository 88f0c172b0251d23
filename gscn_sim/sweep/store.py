"""The results of sweeps in one SQLite file that several processes may write to at once.

A point is claimed before it runs and finished in one transaction after. Whoever claims also keeps a
heartbeat; the claims of a process that has died are free again. The file is in WAL mode: a kill at
any moment loses no finished point.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gscn_sim.config.loader import flatten_config
from gscn_sim.sweep.errors import StoreError
from gscn_sim.sweep.points import Point, digest
from gscn_sim.sweep.schema import METRICS, SCHEMA, SCHEMA_VERSION, TEXT_METRICS

HEARTBEAT_SECONDS = 2.0
DEAD_AFTER_SECONDS = 20.0
FILE_NAME = "sweep.sqlite"
Claim = Literal["mine", "finished", "other"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a point ended: its metrics, or an error."""

    metrics: Mapping[str, float | str] | None
    error: str = ""
    elapsed_seconds: float = 0.0


class Store:
    """One store, open for one writer: a context manager.

    Raises:
        StoreError: no store, a damaged or foreign file, another version's, a full disk.
    """

    def __init__(self, path: str | Path, *, code: str, versions: Mapping[str, str]) -> None:
        self.path = Path(path)
        self.code, self.versions = code, json.dumps(dict(versions))
        self.owner = uuid.uuid4().hex
        self.stop = threading.Event()
        self.connection = connect(self.path, create=True)
        with self._transaction():
            self._beat(self.connection)
        self.heart = threading.Thread(target=self._heartbeat, daemon=True)
        self.heart.start()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop.set()
        self.heart.join()
        try:
            with self._transaction():
                self.connection.execute(
                    "UPDATE points SET owner = NULL WHERE owner = ? AND status = 'running'",
                    (self.owner,),
                )
                self.connection.execute("DELETE FROM owners WHERE id = ?", (self.owner,))
        finally:
            self.connection.close()

    def sweep_id(self, description: Mapping[str, Any], command: str | None) -> int:
        """The number of a sweep with this description, which is entered if it is new."""
        key = digest(description)
        text = json.dumps(description, allow_nan=False)
        with self._transaction():
            self.connection.execute(
                "INSERT OR IGNORE INTO sweeps (digest, command, description) VALUES (?, ?, ?)",
                (key, command, text),
            )
            found = self.connection.execute("SELECT id FROM sweeps WHERE digest = ?", (key,))
            return int(found.fetchone()[0])

    def claim(self, sweep: int, point: Point, *, retry_failed: bool = False) -> Claim:
        """Enter a point into a sweep and try to get it to run.

        Returns "mine" (run it, then :meth:`finish`), "finished" (there is a result), or "other"
        (a process that lives has it).
        """
        key = point.key
        with self._transaction():
            row = self.connection.execute(
                "SELECT id, status, owner FROM points WHERE key = ? AND code = ?", (key, self.code)
            ).fetchone()
            claim: Claim = "mine"
            if row is None:
                number = self._insert(key, point)
            else:
                number, status, owner = row
                if status == "done" or (status == "failed" and not retry_failed):
                    claim = "finished"
                elif status == "running" and owner != self.owner and self._alive(owner):
                    claim = "other"
                else:
                    self.connection.execute(
                        "UPDATE points SET status = 'running', owner = ?, error = NULL, "
                        "runs = runs + 1 WHERE id = ?",
                        (self.owner, number),
                    )
            self.connection.execute(
                "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)",
                (sweep, point.position, number, json.dumps(point.params)),
            )
        return claim

    def finish(self, point: Point, outcome: Outcome) -> None:
        """Enter how a point ended. It is safe on disk, against a kill, when this returns."""
        metrics = outcome.metrics or {}
        names = (*METRICS, *TEXT_METRICS)
        assignments = ", ".join(f"{name} = ?" for name in names)
        with self._transaction():
            self.connection.execute(
                f"UPDATE points SET status = ?, error = ?, elapsed_seconds = ?, owner = NULL, "
                f"{assignments} WHERE key = ? AND code = ?",
                (
                    "failed" if outcome.metrics is None else "done",
                    outcome.error or None,
                    outcome.elapsed_seconds,
                    *(metrics.get(name) for name in names),
                    point.key,
                    self.code,
                ),
            )

    def result(self, point: Point) -> dict[str, Any] | None:
        """The metrics of a point that is done, None if it failed or has not ended."""
        names = (*METRICS, *TEXT_METRICS)
        with errors_explained(self.path):
            row = self.connection.execute(
                f"SELECT {', '.join(names)} FROM points "
                "WHERE key = ? AND code = ? AND status = 'done'",
                (point.key, self.code),
            ).fetchone()
        return None if row is None else dict(zip(names, row, strict=True))

    def other_code(self, sweep: int) -> list[str]:
        """Digests of other versions of the simulator that entered points of this sweep."""
        with errors_explained(self.path):
            rows = self.connection.execute(
                "SELECT DISTINCT code FROM points JOIN members ON members.point = points.id "
                "WHERE sweep = ? AND code != ?",
                (sweep, self.code),
            )
            return [code for (code,) in rows]

    def earlier_traces(self, trace: str, trace_digest: str) -> int:
        """Finished points of a trace of this path whose content was another."""
        with errors_explained(self.path):
            row = self.connection.execute(
                "SELECT count(*) FROM points WHERE trace = ? AND trace_digest != ?",
                (trace, trace_digest),
            ).fetchone()
        return int(row[0])

    def _insert(self, key: str, point: Point) -> int:
        config_digest = None
        if point.config is not None:
            values = {"name": point.config.name, **flatten_config(point.config)}
            config_digest = digest(values)
            self.connection.execute(
                "INSERT OR IGNORE INTO configs VALUES (?, ?)", (config_digest, json.dumps(values))
            )
        workload, setting = point.workload, point.setting
        cursor = self.connection.execute(
            "INSERT INTO points (key, code, status, owner, network, trace, trace_digest, "
            "batch_size, phases, gpu, gpu_model, config_digest, versions) "
            "VALUES (?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(key, self.code, self.owner),
                *(workload.network, workload.path, workload.digest, workload.batch_size),
                *(",".join(setting.phases), setting.gpu, setting.gpu_model),
                *(config_digest, self.versions),
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _alive(self, owner: str | None) -> bool:
        row = self.connection.execute(
            "SELECT host, pid, heartbeat FROM owners WHERE id = ?", (owner,)
        ).fetchone()
        if row is None or time.time() - row[2] > DEAD_AFTER_SECONDS:
            return False
        return row[0] != socket.gethostname() or Path(f"/proc/{row[1]}").exists() or _no_proc()

    def _heartbeat(self) -> None:
        while not self.stop.wait(HEARTBEAT_SECONDS):
            try:
                connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
                self._beat(connection)
                connection.close()
            except sqlite3.Error:  # the next beat may succeed; a full disk is said elsewhere
                continue

    def _beat(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)",
            (self.owner, socket.gethostname(), os.getpid(), time.time()),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with errors_explained(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise


def store_path(path: str | Path) -> Path:
    """The store of a sweep's folder, or the path itself if it is a file."""
    path = Path(path)
    return path / FILE_NAME if path.is_dir() else path


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open a store, checked.

    Raises:
        StoreError: no store, a damaged or foreign file, or a store of another version.
    """
    if not create and not path.is_file():
        raise StoreError(f"{path}: no such store; 'gscn-sim sweep ... -o DIR' makes one")
    with errors_explained(path):
        connection = sqlite3.connect(
            path, timeout=60, isolation_level=None, check_same_thread=False
        )
        try:
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE" if create else "BEGIN")
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if create and not tables:
                _create(connection)
            _check_version(connection, path)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
    return connection


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


def _create(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE name = 'meta' AND type = 'table'"
    ).fetchone()[0]
    row = (
        connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
        if found
        else None
    )
    if row is None:
        raise StoreError(f"{path}: is an SQLite file, but no store of sweeps")
    if row[0] != str(SCHEMA_VERSION):
        raise StoreError(
            f"{path}: is a store of version {row[0]}; this program reads version {SCHEMA_VERSION}"
        )


@contextmanager
def errors_explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line each."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path}: {error}; what was finished is kept") from None
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: damaged or no store of sweeps: {error}") from None


def _no_proc() -> bool:
    """Where the system does not list its processes, only the heartbeat tells."""
    return not Path("/proc").is_dir()
