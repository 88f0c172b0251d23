"""The same command writes the same bytes, in whatever process and with however many workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MACHINE = ("--set", "array.pe_rows=2", "--set", "array.pe_cols=2", "--gpu", "roofline")
AXES = ("--param", "pe.accumulator_banks=8,32", "--param", "buffer.size_bytes=4096,65536")
HASH_SEEDS = (("0", 1), ("1", 2), ("random", 2))  # with the number of workers


def run(hash_seed: str, folder: Path, *words: object) -> str:
    """Run a command in a process of its own; what it said on stdout."""
    code = "from gscn_sim.cli import main; main()"
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tables_do_not_depend_on_processes_workers_or_hash_seeds(
    toy_trace: Path, tmp_path: Path
) -> None:
    outputs = []
    for seed, workers in HASH_SEEDS:
        folder = tmp_path / f"seed_{seed}"
        run_words = ("run", toy_trace, "-q", *MACHINE, "-o", "layers.csv", "--workers", workers)
        said = run(seed, folder, *run_words, "--timeline", "timeline.json")
        sweep_words = ("sweep", toy_trace, "-q", *MACHINE, *AXES, "-o", "swept", "-j", workers)
        run(seed, folder, *sweep_words)
        files = ("layers.csv", "timeline.json", "swept/sweep.csv")
        outputs.append((said, *((folder / name).read_bytes() for name in files)))
    assert outputs[0] == outputs[1] == outputs[2]
    assert outputs[0][3].count(b"\n") == 5  # a header and four points
