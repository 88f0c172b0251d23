"""The examples in the description of the trace format run as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import workloads

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "trace-format.md"


def test_examples_write_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, numpy_only, with_package = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(numpy_only, names)
    by_hand = workloads.validate("mine.npz")
    exec(with_package.replace("mine.npz", "trace.npz"), names)
    by_package = workloads.validate("trace.npz")
    assert list(by_hand.layers) == list(by_package.layers)
    assert by_package.loss == 0.7
    exec(reading, names)
    assert capsys.readouterr().out == f"conv1 0 {4 / 9}\n"
