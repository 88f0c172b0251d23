"""The results of sweeps in one SQLite file that several processes may write to at once.

A point is claimed before it runs and finished in one transaction after; the claims of a process
that has died are free again (:mod:`gscn_sim.sweep.owners`). The file is in WAL mode: a kill at any
moment loses no finished point. Every row carries a digest; damaged ones are never results, and
whoever opens the store to write runs their points again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gscn_sim.config.loader import flatten_config
from gscn_sim.sweep.integrity import POINT_CELLS, member_digest, point_digest, sum_of, without
from gscn_sim.sweep.opening import errors_explained, open_to_write
from gscn_sim.sweep.owners import Owner
from gscn_sim.sweep.points import Point, digest
from gscn_sim.sweep.schema import METRICS, TEXT_METRICS
from workloads.errors import one_line

FILE_NAME = "sweep.sqlite"
Claim = Literal["mine", "finished", "other"]
_CELLS = ", ".join(POINT_CELLS)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a point ended: its metrics, or an error."""

    metrics: Mapping[str, float | str] | None
    error: str = ""
    elapsed_seconds: float = 0.0


class Store:
    """One store, open for one writer: a context manager.

    ``mended`` says what was damaged in it and will run again; empty if nothing was.

    Raises:
        StoreError: a foreign file, another version's, a full disk.
    """

    def __init__(self, path: str | Path, *, code: str, versions: Mapping[str, str]) -> None:
        self.path = Path(path)
        self.code, self.versions = code, json.dumps(dict(versions))
        self.connection, self.mended = open_to_write(self.path)
        self.me = Owner(self.path)
        self.owner = self.me.id
        with self._transaction():
            self.me.begin(self.connection)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.me.end()
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
        command = None if command is None else one_line(command)
        with self._transaction():
            entered = self.connection.execute(
                "INSERT OR IGNORE INTO sweeps (digest, command, description) VALUES (?, ?, ?)",
                (key, command, text),
            )
            if entered.rowcount:
                self.connection.execute(
                    "UPDATE meta SET value = (SELECT count(*) FROM sweeps) WHERE name = 'sweeps'"
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
                f"SELECT id, status, owner, digest, {_CELLS} FROM points "
                "WHERE key = ? AND code = ?",
                (key, self.code),
            ).fetchone()
            claim: Claim = "mine"
            if row is None:
                number = self._enter(key, point)
            else:
                number, status, owner, written = row[:4]
                whole = written is not None and written == point_digest(row[4:])
                if whole and (status == "done" or (status == "failed" and not retry_failed)):
                    claim = "finished"
                elif status == "running" and owner != self.owner and self._lives(owner):
                    claim = "other"
                else:
                    self._enter(key, point, number)
            self._place(sweep, point, number)
        return claim

    def finish(self, point: Point, outcome: Outcome) -> None:
        """Enter how a point ended. It is safe on disk, against a kill, when this returns."""
        metrics = outcome.metrics or {}
        names = (*METRICS, *TEXT_METRICS)
        assignments = ", ".join(f"{name} = ?" for name in names)
        key = (point.key, self.code)
        with self._transaction():
            self.connection.execute(
                f"UPDATE points SET status = ?, error = ?, elapsed_seconds = ?, owner = NULL, "
                f"{assignments} WHERE key = ? AND code = ?",
                (
                    "failed" if outcome.metrics is None else "done",
                    one_line(outcome.error) or None,
                    outcome.elapsed_seconds,
                    *(metrics.get(name) for name in names),
                    *key,
                ),
            )
            written = self.connection.execute(
                f"SELECT {_CELLS} FROM points WHERE key = ? AND code = ?", key
            ).fetchone()
            self.connection.execute(
                "UPDATE points SET digest = ? WHERE key = ? AND code = ?",
                (point_digest(written), *key),
            )

    def result(self, point: Point) -> dict[str, Any] | None:
        """The metrics of a point that is done, None if it failed or has not ended."""
        with errors_explained(self.path):
            row = self.connection.execute(
                f"SELECT digest, {_CELLS} FROM points "
                "WHERE key = ? AND code = ? AND status = 'done'",
                (point.key, self.code),
            ).fetchone()
        if row is None or row[0] != point_digest(row[1:]):
            return None
        cells = dict(zip(POINT_CELLS, row[1:], strict=True))
        return {name: cells[name] for name in (*METRICS, *TEXT_METRICS)}

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
                (one_line(trace), trace_digest),
            ).fetchone()
        return int(row[0])

    def _enter(self, key: str, point: Point, number: int | None = None) -> int:
        """Write that a point runs here, into a new row or, all of it, into that of a number."""
        config_digest = None
        if point.config is not None:
            values = {"name": point.config.name, **flatten_config(point.config)}
            config_digest = digest(values)
            self.connection.execute(
                "INSERT OR REPLACE INTO configs VALUES (?, ?)", (config_digest, json.dumps(values))
            )
        workload, setting = point.workload, point.setting
        cells = {
            "key": key,
            "code": self.code,
            "status": "running",
            "owner": self.owner,
            "error": None,
            "digest": None,
            "network": workload.network,
            "trace": one_line(workload.path),
            "trace_digest": workload.digest,
            "batch_size": workload.batch_size,
            "phases": ",".join(setting.phases),
            "gpu": setting.gpu,
            "gpu_model": setting.gpu_model,
            "config_digest": config_digest,
            "versions": self.versions,
        }
        if number is None:
            marks = ", ".join("?" for _ in cells)
            cursor = self.connection.execute(
                f"INSERT INTO points ({', '.join(cells)}) VALUES ({marks})", tuple(cells.values())
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid
        assignments = ", ".join(f"{name} = ?" for name in cells)
        self.connection.execute(
            f"UPDATE points SET {assignments}, runs = runs + 1 WHERE id = ?",
            (*cells.values(), number),
        )
        return number

    def _place(self, sweep: int, point: Point, number: int) -> None:
        """Give a point its place in a sweep, and keep the sweep's sum of digests."""
        params = json.dumps(point.params)
        mine = member_digest(sweep, point.position, point.key, self.code, params)
        place = (sweep, point.position)
        before = self.connection.execute(
            "SELECT digest, point, params FROM members WHERE sweep = ? AND position = ?", place
        ).fetchone()
        if before == (mine, number, params):
            return
        (total,) = self.connection.execute(
            "SELECT digests FROM sweeps WHERE id = ?", (sweep,)
        ).fetchone()
        if before is not None:
            total = without(total, before[0])
        self.connection.execute(
            "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?)", (*place, number, params, mine)
        )
        self.connection.execute(
            "UPDATE sweeps SET places = places + ?, digests = ? WHERE id = ?",
            (before is None, sum_of(total, mine), sweep),
        )

    def _lives(self, owner: str | None) -> bool:
        return self.me.lives(self.connection, owner)

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
