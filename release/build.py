"""Build the wheel and the source archive, byte for byte the same each time: ``make dist``."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(folder: Path) -> tuple[Path, Path]:
    """Build into ``folder``; returns the source archive and the wheel, which is built from it.

    Dates inside both are those of ``SOURCE_DATE_EPOCH``, by default that of the last commit.
    """
    date = os.environ.get("SOURCE_DATE_EPOCH") or _last_commit()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(
        command, env={**os.environ, "SOURCE_DATE_EPOCH": date}, text=True, capture_output=True
    )
    if done.returncode:
        raise SystemExit(f"building failed:\n{done.stdout}\n{done.stderr}")
    (source,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    normalise(source, int(date))
    return source, wheel


def normalise(archive: Path, date: int) -> None:
    """Rewrite a ``.tar.gz`` with fixed order, dates, owners and modes (setuptools keeps them)."""
    with tarfile.open(archive) as old:
        members = [(m, old.extractfile(m)) for m in sorted(old.getmembers(), key=lambda m: m.name)]
        with (
            archive.with_suffix(".new").open("wb") as raw,
            gzip.GzipFile("", "wb", mtime=date, fileobj=raw) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            for member, content in members:
                member.mtime, member.uid, member.gid = date, 0, 0
                member.uname = member.gname = ""
                member.mode = 0o755 if member.isdir() else 0o644
                member.pax_headers = {}
                new.addfile(member, content)
    archive.with_suffix(".new").replace(archive)


def _last_commit() -> str:
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True, capture_output=True
    )
    return done.stdout.strip() or "315532800"  # no repository: 1980, the oldest that zip can say


if __name__ == "__main__":
    for path in build(Path(sys.argv[1])):
        print(path)
