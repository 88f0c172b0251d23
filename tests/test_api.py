"""The front door as users meet it: names, paths instead of objects, one-line errors, types."""

from __future__ import annotations

import pydoc
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gscn_sim
import workloads
from gscn_sim.errors import ConfigError
from gscn_sim.gpu import GpuError
from workloads import TraceError

ROOT = Path(__file__).resolve().parent.parent
NAMES = {
    *("Config", "Run", "execute", "gpu", "load_config", "open_cache", "simulate", "sweep"),
    *("verify", "__version__"),
    *("StepRun", "characterise_memory", "simulate_step"),
}
SMALL = {"array.pe_rows": 2, "array.pe_cols": 2}


def toy_trace(reuse_sparsity: float | None = None) -> workloads.Trace:
    rng = np.random.default_rng(2)
    layers = [
        workloads.layer_from_arrays(
            f"conv{i}",
            activation=(rng.random((2, 3, 6, 6)) < 0.5).astype(float),
            gradient=(rng.random((2, 4, 6, 6)) < 0.2).astype(float),
            weight=np.ones((4, 3, 3, 3)),
            padding=(1, 1),
        )
        for i in range(2)
    ]
    return workloads.Trace(
        network="toy", batch_size=4, layers=layers, reuse_sparsity=reuse_sparsity
    )


@pytest.fixture(scope="module")
def run() -> gscn_sim.Run:
    return gscn_sim.simulate(toy_trace(), gscn_sim.load_config("gscn-ideal", SMALL))


def test_the_names_can_be_seen() -> None:
    assert set(dir(gscn_sim)) == NAMES
    assert re.match(r"\d+\.\d+", gscn_sim.__version__)
    shown = pydoc.plain(pydoc.render_doc(gscn_sim))
    assert "simulate(" in shown
    assert "load_config(" in shown
    described = pydoc.plain(pydoc.render_doc(gscn_sim.simulate))
    assert "batch_size: 'int | None' = None" in described
    assert "Raises:" in described


def test_paths_and_names_do_what_objects_do(tmp_path: Path) -> None:
    trace = toy_trace()
    workloads.save(trace, tmp_path / "t.npz")
    (tmp_path / "mine.toml").write_text("[array]\npe_rows = 2\npe_cols = 2\n", encoding="utf-8")
    mine = gscn_sim.load_config(tmp_path / "mine.toml")
    objects = gscn_sim.simulate(trace, mine, ("dgrad",))
    for path in (tmp_path / "t.npz", str(tmp_path / "t.npz")):
        for design in (tmp_path / "mine.toml", str(tmp_path / "mine.toml")):
            assert gscn_sim.simulate(path, design, "dgrad").records == objects.records
    assert gscn_sim.simulate(trace).config == gscn_sim.load_config("gscn")
    assert gscn_sim.simulate(trace, "scnn", "dgrad").config.name == "scnn"
    assert gscn_sim.verify(tmp_path / "t.npz", mine, phases="wgrad")["passed"].all()
    by_name = gscn_sim.execute(trace.layers[0], "dgrad")
    np.testing.assert_array_equal(by_name, gscn_sim.execute(trace.layers[0], "dgrad", mine))


@pytest.mark.parametrize(
    ("reuse", "phases", "expected"),
    [
        (None, None, "dgrad wgrad"),
        (0.9, None, "dgrad wgrad pre_dgrad pre_wgrad"),
        (0.9, "dgrad", "dgrad"),
        (None, "wgrad, dgrad", "wgrad dgrad"),
        (None, iter(["forward"]), "forward"),
        (None, (workloads.Phase.WGRAD,), "wgrad"),
    ],
)
def test_phases_are_those_of_the_command(reuse, phases, expected) -> None:
    run = gscn_sim.simulate(toy_trace(reuse), gscn_sim.load_config("gscn-ideal", SMALL), phases)
    assert [str(r.phase) for r in run.records if r.layer == "conv0"] == expected.split()


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TraceError, "trace must be a workloads.Trace or the path of a trace file, got list", [[]]),
        (TraceError, "none.npz: ", ["none.npz"]),
        (ConfigError, "config must be a gscn_sim.Config, the name of a preset", [toy_trace(), 3]),
        (ConfigError, "unknown preset 'gsnc'; presets are", [toy_trace(), "gsnc"]),
        (ConfigError, "unknown phase 'bprop'; phases are", [toy_trace(), "gscn", "bprop"]),
        (ConfigError, "phases must be names or None, got int", [toy_trace(), "gscn", 3]),
        (ConfigError, "no phase given", [toy_trace(), "gscn", ()]),
    ],
)
def test_a_wrong_argument_is_told_what_to_pass(error, message, arguments) -> None:
    with pytest.raises(error, match=re.escape(message)):
        gscn_sim.simulate(*arguments)


def test_an_unknown_gpu_is_refused_before_anything_is_simulated() -> None:
    with pytest.raises(GpuError, match="gtx-1080"):
        gscn_sim.simulate(toy_trace(), gpu="gtx-1080", progress=lambda *_: pytest.fail("began"))


def test_a_run_is_a_few_lines_a_table_and_pictures(run: gscn_sim.Run, tmp_path: Path) -> None:
    lines = repr(run).splitlines()
    assert 2 <= len(lines) <= 5
    assert max(map(len, lines)) < 360
    assert lines[0] == "<Run of toy on gscn-ideal, batch 4: 2 layers, dgrad, wgrad"
    assert run.headline in repr(run)
    shown = run._repr_html_()
    assert shown.startswith(f"<p>{run.headline}</p><table")
    assert shown.count("<tr") == 1 + len(run.summary)
    figure = run.plot(path=tmp_path / "speedup.svg")
    assert [bar.get_label() for bar in figure.axes[0].containers[1::2]] == ["dgrad", "wgrad"]
    assert (tmp_path / "speedup.svg").read_bytes().startswith(b"<?xml")
    assert len(run.plot("slots").axes[0].patches) == 8 * len(run.summary)
    page = run.report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert run.headline in page
    assert "conv1" in page


def test_the_machine_s_facts_do_not_depend_on_the_gpu(run: gscn_sim.Run) -> None:
    alone = gscn_sim.simulate(toy_trace(), gscn_sim.load_config("gscn-ideal", SMALL), gpu=None)
    assert alone.simulation == run.simulation
    assert "gpu_seconds" not in alone.simulation.table
    assert alone.table["gpu_seconds"].isna().all()
    assert run.table["gpu_seconds"].notna().all()
    assert list(alone.simulation.summary["cycles"]) == list(run.summary["cycles"])


def test_a_trace_gives_its_layers_by_name(tmp_path: Path) -> None:
    first = toy_trace()
    later = [replace(layer, iteration=7) for layer in first.layers]
    both = workloads.Trace(network="toy", batch_size=4, layers=[*first.layers, *later])
    workloads.save(both, tmp_path / "t.npz")
    for trace in (both, workloads.load(tmp_path / "t.npz")):
        assert trace["conv1"].iteration == 0
        assert trace["conv1"].gradient == first.layers[1].gradient
        assert trace["conv1", 7].iteration == 7
        assert ("conv1" in trace, "conv2" in trace) == (True, False)
        assert (len(trace), [layer.name for layer in trace]) == (4, ["conv0", "conv1"] * 2)
        assert repr(trace) == (
            "<Trace of toy, batch 4: 2 layers, 2 iterations; trace['conv0'] is a layer>"
        )
        with pytest.raises(TraceError, match=r"no layer 'fc'; layers are conv0, conv1$"):
            trace["fc"]
        with pytest.raises(TraceError, match="'conv1' was recorded at iterations 0, 7, not at 3"):
            trace["conv1", 3]
    made = workloads.synthesize(
        "toy",
        [(layer.name, layer.shape) for layer in first.layers],
        batch_size=4,
        samples=1,
        activation_density=0.5,
        gradient_density=0.5,
        seed=0,
    )
    assert made["conv1"].name == "conv1"


USER = """import gscn_sim
config = gscn_sim.load_config("gscn-ideal").replace(pe={"accumulator_banks": 64})
run = gscn_sim.simulate("trace.npz", config, phases="dgrad"WRONG)
headline: str = run.headline
print(run.network, headline, gscn_sim.gpu.predict, gscn_sim.__version__)
"""


@pytest.mark.parametrize("install", ["normal", "editable"])
def test_type_checkers_see_the_signatures(install: str, tmp_path: Path) -> None:
    """mypy --strict on a user's five lines: right ones pass, a wrong keyword is an error."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    if install == "editable":  # what `pip install -e` leaves with setup.cfg's mode = compat
        (site / "__editable__.gscn_sim.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    else:
        for package in ("gscn_sim", "workloads", "resprop_train"):
            left_out = shutil.ignore_patterns("__pycache__", "*.npz")
            shutil.copytree(ROOT / package, site / package, ignore=left_out)
    for name, keyword in (("right", ""), ("wrong", ", batchsize=4")):
        text = USER.replace("WRONG", keyword)
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    words = ["mypy", "--strict", "--cache-dir", tmp_path / "cache", "right.py", "wrong.py"]
    words += ["--python-executable", tmp_path / "venv/bin/python", "--config-file", "/dev/null"]
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, cwd=tmp_path
    )
    (error,) = (line for line in done.stdout.splitlines() if " error: " in line)
    assert done.returncode == 1
    assert error.startswith('wrong.py:3: error: Unexpected keyword argument "batchsize"')
