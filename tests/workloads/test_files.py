"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from workloads.files import atomic_file, private_folder, read_regular


@pytest.fixture(params=["unnamed", "named"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test also as on systems without files that have no name."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return str(request.param)


def listing(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_appears_at_the_end_and_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for content in (b"one", b"two"):
        before = listing(tmp_path).get("out")
        with atomic_file(path) as file:
            file.write(content)
            file.flush()
            assert listing(tmp_path).get("out") == before
        assert listing(tmp_path) == {"out": content}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("old", [None, b"old"])
def test_nothing_happens_on_an_exception(
    tmp_path: Path, error: type[BaseException], old: bytes | None
) -> None:
    path = tmp_path / "out"
    if old is not None:
        path.write_bytes(old)
    before = listing(tmp_path)
    with pytest.raises(error), atomic_file(path) as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert listing(tmp_path) == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_nothing_happens_when_finishing_fails(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "broken disk")

    (tmp_path / "out").write_bytes(b"old")
    monkeypatch.setattr(os, call, fails)
    with pytest.raises(OSError, match="broken disk"), atomic_file(tmp_path / "out") as file:
        file.write(b"new")
    assert listing(tmp_path) == {"out": b"old"}


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"), atomic_file(tmp_path / "out") as file:
            file.write(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert listing(tmp_path) == {"out": b"old"}


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_writer_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, kind: str
) -> None:
    if kind == "named":
        pytest.skip("the name of an unfinished file outlives its process")
    (tmp_path / "out").write_bytes(b"old")
    code = (
        "import sys, time; from workloads.files import atomic_file\n"
        "with atomic_file(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
    assert process.returncode != 0
    assert listing(tmp_path) == {"out": b"old"}


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert listing(tmp_path) == {"real": b"new", "link": b"new"}


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "out") as file:
            file.write(b"new")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (Path(os.devnull), "not a regular file"),
        (tmp_path / "missing" / "out", "no such folder"),
    ):
        with pytest.raises(OSError, match=reason), atomic_file(path):
            pytest.fail("must not be reached")


def test_long_names(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with atomic_file(path) as file:
        file.write(b"new")
    assert listing(tmp_path) == {path.name: b"new"}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    with atomic_file(path) as file:
        file.write(b"new")
    status = path.stat()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(status.st_mode) == mode
    assert os.geteuid() != 0 or (status.st_uid, status.st_gid) == (1234, 4321)


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == b"12345"
    with pytest.raises(OSError, match="must be at most 4 bytes, is 5"):
        read_regular(tmp_path / "file", 4)
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "pipe", "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(OSError, match=message):
            read_regular(path)
    # Files of the system say that they hold nothing, and do.
    with pytest.raises(OSError, match="must be at most 1 bytes, grows"):
        read_regular("/proc/self/status", 1)


def test_private_folders(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert private_folder(folder) == folder
