"""The blocks of the how-tos run as printed, in order, in one folder."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import workloads
from gscn_sim.cli import main

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
GIVEN = ("pip", "onnx", "npy", "sweep", "measure", "fit", "bf16")
"""Lines with these words are not run: files of one's own, other processes, a card of one's own
(tests/gpu/test_gpu_own.py runs those)."""


@pytest.mark.parametrize(
    "page",
    [
        "own-network",
        "own-memory",
        "add-a-gpu",
        "import-a-network",
        "read-the-timeline",
        "record-a-step",
    ],
)
def test_blocks_run_as_printed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_trace("trace.npz")
    if page == "add-a-gpu":
        shipped = (files("gscn_sim.gpu.data") / "gtx-1080ti.toml").read_text(encoding="utf-8")
        own = re.sub(r'^(measured_\w+) = "[^"]*"', r'\1 = ""', shipped, flags=re.M)
        Path("mine.toml").write_text(own, encoding="utf-8")
    text = (HOWTO / f"{page}.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    ran = 0
    for language, block in BLOCK.findall(text):
        if language == "python":
            exec(compile(block, page, "exec"), names)
            ran += 1
        elif language == "toml":
            Path("mine.toml").write_text(block, encoding="utf-8")
        elif block.startswith("layer,"):
            Path("net.csv").write_text(block, encoding="utf-8")
        elif language in ("sh", ""):
            ran += commands(block)
    assert ran >= 2


def commands(block: str) -> int:
    """Run the lines that call the simulator and need nothing else; how many there were."""
    lines = [line for line in block.splitlines() if not set(GIVEN) & set(re.split(r"\W", line))]
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "gscn-sim", line
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, f"{line}\n{result.output}"
    return len(lines)


def save_trace(path: str) -> None:
    """A trace of one small layer."""
    rng = np.random.default_rng(0)
    layer = workloads.layer_from_arrays(
        "conv1",
        activation=rng.random((2, 8, 6, 6)) < 0.5,
        gradient=rng.random((2, 8, 6, 6)) < 0.2,
        weight=np.ones((8, 8, 3, 3)),
        padding=(1, 1),
    )
    workloads.save(workloads.Trace(network="toy", batch_size=4, layers=[layer]), path)
