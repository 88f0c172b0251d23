"""The recorder's copies on disk: believed only as they were written, gone with their maker."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resprop_train.spool import Spool
from workloads import layer_from_arrays
from workloads.errors import GscnWarning, TraceError
from workloads.layer import Layer

DAMAGES = int(os.environ.get("DAMAGES", "60"))
ROOT = Path(__file__).resolve().parents[2]


def layer() -> Layer:
    random = np.random.default_rng(0)
    return layer_from_arrays(
        "conv",
        activation=random.integers(0, 2, (2, 3, 4, 4)),
        gradient=random.integers(0, 2, (2, 5, 4, 4)),
        weight=np.ones((5, 3, 1, 1)),
    )


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("planted",)


def test_no_damage_to_a_copy_is_unpickled(tmp_path, monkeypatch, survived):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    spool = Spool(tmp_path / "t.npz")
    for number in range(DAMAGES):
        copy = spool.put(layer())
        whole = copy.path.read_bytes()
        place = int(random.integers(len(whole)))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        others = (bytes(damaged), whole[:place], whole + b"\0", pickle.dumps(Trap()))
        copy.path.write_bytes(others[number % len(others)])
        with pytest.raises(TraceError, match=r"t\.npz: nothing written: a recorded layer has cha"):
            spool.take(copy)
        copy.path.write_bytes(whole)
        assert spool.take(copy).digest == layer().digest
    spool.end()
    assert list(tmp_path.iterdir()) == []
    survived("damage", "what a recorder keeps until the end", refused=DAMAGES)


SCRIPT = """
import sys
from pathlib import Path
from resprop_train.spool import Spool
spool = Spool(Path(sys.argv[1]))
(Path(spool._folder.name) / "0.pickle").write_bytes(bytes(2_000_000))
print("ready", flush=True)
sys.stdin.read()
"""


def recording(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_a_killed_recording_left_is_deleted_by_the_next(tmp_path, survived):
    path = tmp_path / "t.npz"
    with recording(path) as killed, recording(path) as living:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(list(tmp_path.iterdir())) == 2
        with pytest.warns(GscnWarning, match=r"recording that was killed had left 2\.0 MB in \.t"):
            spool = Spool(path)
        assert len(list(tmp_path.iterdir())) == 2, "the living one's and this one's"
        spool.end()
        Spool(tmp_path / "other.npz").end()
        assert living.poll() is None
        living.communicate()
    assert list(tmp_path.iterdir()) == []
    survived("kills", "SIGKILL of a recorder", cleared_by_the_next=1)
