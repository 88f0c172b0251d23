"""Check what is released: equal builds, the right files, and simulating without PyTorch.

``make package-check`` runs it. Two builds must be equal byte for byte. The wheel, which is built
from the source archive, goes into an empty virtual environment with the pinned versions, where
PyTorch must not be and the part of the demo that simulates must run; then the archive replaces it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from build import ROOT, build

WANTED = (
    *("gscn_sim/presets/gscn.toml", "gscn_sim/presets/dram/gddr5x-484.toml"),
    *("gscn_sim/gpu/data/coefficients.toml", "gscn_sim/gpu/data/gtx-1080ti.toml"),
    *("gscn_sim/data/unit_costs.toml", "gscn_sim/report/page/page.js"),
    *("workloads/data/resnet8_digits.npz", "workloads/py.typed", "resprop_train/py.typed"),
)
ONLY = ("gscn_sim", "resprop_train", "workloads")


def check(passed: bool, what: str) -> None:
    """Print one result; a failure ends the run."""
    print(f"{'ok  ' if passed else 'FAIL'} {what}", flush=True)
    if not passed:
        raise SystemExit(1)


def run(words: list[str | Path], folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command outside the sources; it must end with ``code``."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env=clean, text=True, capture_output=True
    )
    if done.returncode != code:
        print(done.stdout, done.stderr)
    command = " ".join([Path(words[0]).name, *map(str, words[1:])])
    check(done.returncode == code, f"{command[:90]} ends with {code}")
    return done


def check_contents(wheel: Path) -> None:
    """The wheel has the data files and nothing but the packages."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    check(names >= set(WANTED), "the wheel has presets, GPU data, costs, page and trace")
    tops = {name.split("/")[0] for name in names}
    check({t for t in tops if not t.endswith(".dist-info")} == set(ONLY), "and only the packages")


def check_installed(wheel: Path, source: Path, folder: Path) -> None:
    """Install into an empty environment and run the simulating part of the demo."""
    place = folder / "venv"
    venv.create(place, with_pip=True, clear=True)
    bin_ = place / "bin"
    pip: list[str | Path] = [bin_ / "python", "-m", "pip", "install", "--quiet"]
    run([*pip, "-c", ROOT / "constraints.txt", wheel], folder)
    run([bin_ / "python", "-c", "import torch"], folder, code=1)
    demo = run([bin_ / "gscn-sim", "demo", "-o", folder / "demo"], folder)
    check("PyTorch is not installed" in demo.stdout, "the demo says that nothing is trained here")
    summary = json.loads((folder / "demo" / "run.json").read_text())["summary"]
    check(summary["speedup"] > 0, f"and simulates: {summary['headline']}")
    run([*pip, "--no-deps", "--force-reinstall", source], folder)
    code = "import workloads; print(workloads.__path__[0])"
    home = Path(run([bin_ / "python", "-c", code], folder).stdout.strip())
    check(home.is_relative_to(place), "what runs is what was installed")
    run([bin_ / "gscn-sim", "trace", "validate", home / "data" / "resnet8_digits.npz"], folder)


def main() -> None:
    """Run every check."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second = build(folder / "first"), build(folder / "second")
        for one, other in zip(first, second, strict=True):
            digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, other)]
            check(digests[0] == digests[1], f"two builds of {one.name} are equal: {digests[0]}")
        source, wheel = first
        check_contents(wheel)
        check_installed(wheel, source, folder)
    print("The packages are sound")


if __name__ == "__main__":
    sys.exit(main())
