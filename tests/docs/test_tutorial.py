"""The tutorial's blocks run as printed, in order, in one folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial" / "model-to-speedup.md"
BLOCK = re.compile(r"(?:<!-- file: (\S+) -->\n)?^```(python|sh)\n(.*?)^```$", re.S | re.M)


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, f"{words[-1]}\n{done.stderr}"
    return done.stdout


def test_the_tutorial_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", programs, prepend=":")
    monkeypatch.setenv("GSCN_SIM_CACHE", str(tmp_path / "cache"))  # a reader has one
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(found) >= 7
    said = ""
    for name, language, text in found:
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
        elif language == "sh":
            said += run(["bash", "-ec", text], tmp_path)
        else:
            said += run([sys.executable, "-c", text], tmp_path)
    assert "2 iterations (0, 1), 2 layers" in said
    assert len(re.findall(r"on gscn: [\d.]+ [µm]s, .* than gtx-1080ti", said)) == 2
    assert "4 points" in said
    assert {path.name for path in tmp_path.iterdir()} >= {"mine.npz", "layers.csv", "designs"}
