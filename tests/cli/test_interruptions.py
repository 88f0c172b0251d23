"""A command that is stopped in the middle leaves old outputs as they were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRACE = ROOT / "workloads" / "data" / "resnet34.npz"


def command(*words: object, **environment: str) -> subprocess.Popen[str]:
    code = "from gscn_sim.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_the_old_files(tmp_path: Path, number: signal.Signals) -> None:
    out, timeline = tmp_path / "layers.csv", tmp_path / "timeline.json"
    for path in (out, timeline):
        path.write_text("old")
    process = command("run", TRACE, "-q", "-o", out, "--timeline", timeline)
    time.sleep(3)  # wherever it is by then: it needs far longer
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    # 130 from the command; the bare signal if Python itself was still starting.
    assert process.returncode in ((130, -number) if number == signal.SIGINT else (-number,))
    assert process.returncode != 130 or errors.split() == ["interrupted"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "layers.csv": "old",
        "timeline.json": "old",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_one_line(toy_trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    process = command("run", toy_trace, "-q", "-o", folder / "out.csv")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert errors.strip().splitlines()[-1].endswith("Permission denied")
    assert list(folder.iterdir()) == []
