"""``gscn-sim demo`` with its training replaced by the trace that ships."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from gscn_sim.cli import demo
from gscn_sim.config import load_config

SHIPPED = Path(str(resources.files("workloads.data").joinpath(demo.SHIPPED_TRACE)))
OPTIONS = ("--gpu", "roofline")


@pytest.fixture(autouse=True)
def nothing_is_compiled_aside(request, monkeypatch):
    """The demo compiles in processes of its own; here only the test about that does."""
    if "compiles" not in request.node.name:
        monkeypatch.setattr(demo, "COMPILE", "pass")


def test_the_demo_compiles_while_it_trains(monkeypatch):
    """What the processes run simulates each phase of the demo on the design that is asked for."""
    seen = []
    monkeypatch.setattr(
        "gscn_sim.run.simulate.simulate",
        lambda trace, config, phases: seen.append((len(trace.layers), config, phases)),
    )
    config = load_config("scnn", {"pe.accumulator_banks": 64})
    monkeypatch.setattr(
        demo.subprocess, "Popen", lambda words, **_: Started(demo.compile_kernels(*words[3:]))
    )
    with demo.compiling(config) as wait:
        wait()
    assert [phases for *_, phases in seen] == [["dgrad"], ["wgrad", "pre_wgrad"]]
    for layers, made, _ in seen:
        assert layers == 7  # one iteration of five
        assert (made.pe, made.dram, made.policy) == (config.pe, config.dram, config.policy)


class Started:
    def __init__(self, _):
        self.wait = self.kill = lambda: None


def test_without_torch_it_uses_the_shipped_trace_and_says_so(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    out = tmp_path / "new" / "demo"
    result = invoke("demo", "-o", out, *OPTIONS)
    assert result.exit_code == 0, result.stderr
    assert "PyTorch is not installed" in result.stdout
    assert "Where the multiplier slots went" in result.stdout
    headline, _, step = result.stdout.splitlines()[-3:]
    assert step.startswith("a whole training step of resnet8, batch 64, on gscn: ")
    assert " than the dense array at the same operations" in step
    assert headline.startswith("backward convolutions with their pre-phases on gscn: ")
    document = json.loads((out / "run.json").read_text())
    assert document["summary"]["headline"] == headline
    assert len(pd.read_csv(out / "layers.csv")) == len(document["layers"])
    assert (out / "timeline.json.gz").stat().st_size > 0


def test_with_torch_it_trains_and_simulates_what_was_recorded(invoke, tmp_path, monkeypatch):
    commands = []

    def train(command):
        commands.append(command)
        shutil.copy(SHIPPED, command[command.index("--trace") + 1])
        return subprocess.Popen(["true"])

    monkeypatch.setattr(demo, "find_spec", lambda name: object())
    monkeypatch.setattr(demo, "_start", train)
    result = invoke("demo", "-o", tmp_path, "--epochs", "3", *OPTIONS)
    assert result.exit_code == 0, result.stderr
    (command,) = commands
    words = " ".join(command[3:])
    assert "--model resnet8 --dataset digits --reuse-sparsity 0.9 --epochs 3" in words
    assert f"$ resprop-train {words}" in result.stdout
    assert (tmp_path / "trace.npz").exists()


def test_a_failed_training_ends_the_demo(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: object())
    monkeypatch.setattr(demo, "_start", lambda command: subprocess.Popen(["false"]))
    result = invoke("demo", "-o", tmp_path, *OPTIONS)
    assert result.exit_code == 2
    assert result.stderr == "error: training ended with exit code 1; its message is above\n"


def test_an_output_folder_that_cannot_be_made(invoke, tmp_path):
    (tmp_path / "file").touch()
    result = invoke("demo", "-o", tmp_path / "file" / "demo", *OPTIONS)
    assert result.exit_code == 2
    assert "cannot be made" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [("--config", "nope"), ("--epochs", "0")])
def test_bad_input_before_training(invoke, tmp_path, words):
    result = invoke("demo", "-o", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stubborn", [False, True])
def test_whatever_ends_the_demo_ends_the_trainer(monkeypatch, stubborn):
    monkeypatch.setattr(demo, "TIDY_SECONDS", 0.5)
    ignoring = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if stubborn else ""
    code = f"import signal, time; {ignoring} print('x', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.read(1)
    wait = process.wait

    def interrupted(timeout=None):
        if timeout is None and process.poll() is None and wait is not None:
            process.wait = wait
            raise KeyboardInterrupt
        return wait(timeout)

    process.wait = interrupted
    with pytest.raises(KeyboardInterrupt):
        demo._ended(process)
    process.stdout.close()
    assert process.returncode == (-signal.SIGKILL if stubborn else -signal.SIGTERM)
