"""The worked examples of the documentation hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "timing-rules.md"


def test_worked_examples() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert len(blocks) >= 12
    names: dict[str, Any] = {}
    for block in blocks[:1]:
        assert "assert" not in block[1]  # the set-up
    for block in blocks[1:]:
        assert "assert" in block[1]
    for block in blocks:
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], str(PAGE), "exec"), names)
