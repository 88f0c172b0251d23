"""Who holds a claim in a store, and whether they still live. No clock of any machine is compared.

An owner on this machine lives while its process does: the number with the moment it started, as
numbers are used again. Of an owner elsewhere only its heartbeat can be seen, a number that it
counts up: it is dead when that has stood still for so long by our own monotonic clock.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import threading
import time
import uuid
from pathlib import Path

HEARTBEAT_SECONDS = 2.0
DEAD_AFTER_SECONDS = 20.0


class Owner:
    """This process as an owner of claims."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = uuid.uuid4().hex
        self.host, self.pid, self.started = this_machine(), os.getpid(), start_of(os.getpid())
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._heartbeat, daemon=True)
        self._seen: dict[str, tuple[int, float]] = {}

    def begin(self, connection: sqlite3.Connection) -> None:
        """Enter this owner and keep its heart beating."""
        self._beat(connection)
        self._heart.start()

    def end(self) -> None:
        """Stop the heart."""
        self._stop.set()
        self._heart.join()

    def lives(self, connection: sqlite3.Connection, owner: str | None) -> bool:
        """Whether another owner is alive, as far as can be told by now."""
        row = connection.execute(
            "SELECT host, pid, started, beats FROM owners WHERE id = ?", (owner,)
        ).fetchone()
        if owner is None or row is None:
            return False
        host, pid, started, beats = row
        if host == self.host and self.started:
            return started != "" and start_of(pid) == started
        now = time.monotonic()
        last, since = self._seen.get(owner, (None, now))
        if last != beats:
            since = now
        self._seen[owner] = (beats, since)
        return now - since <= DEAD_AFTER_SECONDS

    def _beat(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO owners VALUES (?, ?, ?, ?, 1) "
            "ON CONFLICT (id) DO UPDATE SET beats = beats + 1",
            (self.id, self.host, self.pid, self.started),
        )

    def _heartbeat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            # The next beat may succeed; a full disk is said elsewhere.
            with contextlib.suppress(sqlite3.Error):
                connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
                with contextlib.closing(connection):
                    self._beat(connection)


def this_machine() -> str:
    """What tells this machine since its start, and this container on it, from all others."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def start_of(pid: int) -> str:
    """When a process of this machine started, in ticks since the machine did; empty if unknown."""
    with contextlib.suppress(OSError, IndexError):
        # The name, in brackets, may hold anything; the state is the first word after it.
        words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "" if words[0] in ("Z", "X") else words[19]
    return ""
