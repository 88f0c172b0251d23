"""The tutorial on choosing a design runs, block after block, in one session."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("plotly", reason="plotly is not installed")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "which-design.md"


def test_every_block_runs_and_its_claims_hold(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert sum("assert" in block[1] for block in blocks) >= 5
    names: dict[str, Any] = {}
    for block in blocks:
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], str(PAGE), "exec"), names)
    assert "[array]" in capsys.readouterr().out
    assert (tmp_path / "designs.html").stat().st_size > 100_000
