"""The training loops of the how-to run as printed and print what is below them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import workloads

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "record-any-model.md"
SCRIPT = re.compile(r"^## (.*?)$.*?^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.S | re.M)
SCRIPTS = SCRIPT.findall(PAGE.read_text(encoding="utf-8"))


def test_there_are_five() -> None:
    assert len(SCRIPTS) == 5


@pytest.mark.parametrize(("title", "script", "printed"), SCRIPTS, ids=[s[0] for s in SCRIPTS])
def test_script(
    title: str,
    script: str,
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        exec(compile(script, title, "exec"), {})
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    assert without_fractions(out) == without_fractions(printed)
    for got, shown in zip(fractions(out), fractions(printed), strict=True):
        assert got == pytest.approx(shown, abs=0.03)
    (trace,) = tmp_path.glob("*.npz")
    workloads.validate(trace)


def without_fractions(text: str) -> str:
    """The text without numbers behind a point, nor the layers of extreme density."""
    return re.sub(r"density from .*", "", re.sub(r"\d+\.\d+ ", "", text))


def fractions(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(0\.\d{3})\b", text)]
