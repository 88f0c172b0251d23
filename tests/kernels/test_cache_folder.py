"""Compiled code is never older than the sources it came from, never damaged, and ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gscn_sim.kernels import compiled, place
from gscn_sim.kernels.place import code_folders, sources_digest
from workloads import GscnError
from workloads.errors import GscnWarning

ROOT = Path(__file__).resolve().parents[2]
DAMAGES = int(os.environ.get("DAMAGES", "200"))


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files, a home of their own, and nothing remembered."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv(place.TEMPORARY, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "banks.py").write_text("a = 1\n")
    (folder / "pairing.py").write_text("b = 1\n")
    code_folders.cache_clear()
    yield folder
    code_folders.cache_clear()


def test_any_change_of_any_source_or_version_moves_the_code(sources, monkeypatch):
    digests = {sources_digest(sources)}
    assert sources_digest(sources) in digests
    (sources / "banks.py").write_text("a = 2\n")
    digests.add(sources_digest(sources))
    (sources / "banks.py").rename(sources / "hashes.py")
    digests.add(sources_digest(sources))
    monkeypatch.setattr(place.metadata, "version", lambda name: f"99 {name}")
    digests.add(sources_digest(sources))
    monkeypatch.setattr(place.metadata, "version", lambda name: "100" if name == "numba" else "99")
    digests.add(sources_digest(sources))
    assert len(digests) == 5


def test_the_order_of_places(sources, tmp_path, monkeypatch):
    name = f"compiled-{sources_digest(sources)}"
    beside = sources / "__pycache__" / name
    assert code_folders(sources) == ((beside,), beside)

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
    code_folders.cache_clear()
    chosen = tmp_path / "chosen" / "gscn-sim" / name
    assert code_folders(sources) == ((chosen,), chosen)
    assert chosen.stat().st_mode & 0o777 == 0o700

    monkeypatch.delenv("NUMBA_CACHE_DIR")
    locked = {beside}
    writable = place._writable
    monkeypatch.setattr(
        place, "_writable", lambda folder: folder not in locked and writable(folder)
    )
    code_folders.cache_clear()
    home = tmp_path / "home" / "gscn-sim" / name
    assert code_folders(sources) == ((beside, home), home)

    locked.add(home)
    code_folders.cache_clear()
    with pytest.warns(GscnWarning, match="compiled kernels cannot be kept"):
        folders, temporary = code_folders(sources)
    assert folders == (beside, temporary)
    assert temporary.parent.stat().st_mode & 0o777 == 0o700
    code_folders.cache_clear()
    assert code_folders(sources) == (folders, temporary)  # as a worker process finds it
    shutil.rmtree(temporary.parent)


def test_a_chosen_folder_that_others_may_write_to_is_refused(sources, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
    _, chosen = code_folders(sources)
    chosen.chmod(0o777)
    code_folders.cache_clear()
    with pytest.raises(GscnError, match="others may write to it"):
        code_folders(sources)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    code_folders.cache_clear()
    with pytest.raises(GscnError, match=r"\$NUMBA_CACHE_DIR .*file: "):
        code_folders(sources)


def package(tmp_path: Path) -> Path:
    """A small package beside a copy of ours: one kernel that calls another's."""
    home = tmp_path / "site"
    for name in ("gscn_sim/kernels", "workloads"):
        (home / name).mkdir(parents=True)
    for name in ("compiled.py", "compiling.py", "place.py", "__init__.py"):
        shutil.copy(ROOT / "gscn_sim/kernels" / name, home / "gscn_sim/kernels")
    for name in ("errors.py", "files.py"):
        shutil.copy(ROOT / "workloads" / name, home / "workloads")
    (home / "gscn_sim/__init__.py").touch()
    (home / "workloads/__init__.py").touch()
    (home / "gscn_sim/kernels/inner.py").write_text(
        "from gscn_sim.kernels.compiled import njit\n"
        "@njit(cache=True)\ndef step(x):\n    return x + 1\n"
    )
    (home / "gscn_sim/kernels/outer.py").write_text(
        "from gscn_sim.kernels.compiled import njit\n"
        "from gscn_sim.kernels.inner import step\n"
        "@njit(cache=True)\ndef twice(x):\n    return 2 * step(x)\n"
    )
    return home


def twice(home: Path, **environment: str) -> tuple[int, bool, str]:
    """What a new process works out, whether it had to compile for that, and what it said."""
    code = (
        "from gscn_sim.kernels.outer import twice; print(twice(20)); "
        "print(sum(twice.stats.cache_misses.values()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(home), **environment},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    answer, misses = map(int, ran.stdout.split())
    return answer, misses > 0, ran.stderr


@pytest.mark.parametrize("chosen", [True, False])
def test_a_change_of_a_called_kernel_is_noticed_wherever_the_code_lies(tmp_path, chosen):
    home = package(tmp_path)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "chosen") if chosen else ""}
    assert twice(home, **environment)[:2] == (42, True)
    assert twice(home, **environment)[:2] == (42, False)
    inner = home / "gscn_sim/kernels/inner.py"
    inner.write_text(inner.read_text().replace("x + 1", "x + 2"))
    assert twice(home, **environment)[:2] == (44, True)


def double(x):
    return 2 * x


def test_damaged_and_moved_code_is_not_believed(tmp_path, monkeypatch, survived):
    monkeypatch.setattr(compiled, "code_folders", lambda: ((tmp_path,), tmp_path))
    kernel = compiled.njit(cache=True)(double)
    assert (kernel(3), kernel(1.5)) == (6, 3.0)
    whole, other = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    first = min(tmp_path.iterdir())

    def found() -> bool:
        """Whether the code of the first file is loaded."""
        return None not in [
            kernel._cache.load_overload(args, kernel.targetctx) for args in kernel.signatures
        ]

    assert found()
    generator = np.random.default_rng(2)
    for _ in range(DAMAGES):
        damaged = bytearray(whole)
        damaged[int(generator.integers(len(whole)))] ^= 1 << int(generator.integers(8))
        first.write_bytes(damaged)
        assert not found()
    survived("damage", "compiled code", compiled_again=DAMAGES)
    for damaged in (whole + b"x", whole[:-1], b"", other):
        first.write_bytes(damaged)
        assert not found()
    first.write_bytes(whole)
    assert found()
    again = compiled.njit(cache=True)(double)
    assert again(3) == 6
    assert sum(again.stats.cache_hits.values()) == 1


LITERALS = """
import numpy as np
from gscn_sim.kernels.compiled import njit
@njit(cache=True)
def add(x, y):
    return x + y
@njit(cache=True)
def total(values):
    if values.size > 9:
        raise ValueError("too many", values.size)
    found = 0
    for value in np.cumsum(values)[::-1]:
        found = add(found, value)
        found = add(found, 1)
    return found
"""


def test_a_kernel_is_compiled_for_types_not_for_literals_and_loads_without_the_compiler(tmp_path):
    """``found`` begins as a literal; np.cumsum is code of numba's own, compiled into the kernel."""
    home = package(tmp_path)
    (home / "gscn_sim/kernels/outer.py").write_text(LITERALS)
    code = (
        "import sys, numpy as np; from gscn_sim.kernels.outer import add, total\n"
        "print(total(np.arange(4)), len(add.overloads), 'numba.np.arraymath' in sys.modules)\n"
        "try: total(np.arange(20))\n"
        "except ValueError as error: print(*error.args)\n"
        "print(total(np.arange(3.0)))"  # still compiles what is new
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(home)},
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for _ in range(2)
    ]
    assert said[0] == ["14 1 True", "too many 20", "7.0"]
    assert said[1] == ["14 0 False", "too many 20", "7.0"]  # the caller holds all it needs
