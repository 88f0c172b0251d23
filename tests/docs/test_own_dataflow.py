"""A package that is not ours adds a dataflow and a mapping kind, as the how-to says."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from oracles.cases import layers, machine_overrides
from oracles.products import convolve, meetings

import workloads
from gscn_sim import execute, load_config
from gscn_sim.cli import main
from gscn_sim.config.names import DATAFLOWS, MAPPING_KINDS
from gscn_sim.errors import ConfigError
from gscn_sim.results.provenance import code_digest
from gscn_sim.run.pipeline import simulate_phase
from workloads import Layer, Phase

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "inner_join"


def example() -> Any:
    """The example's module, without installing it."""
    spec = importlib.util.spec_from_file_location("inner", EXAMPLE / "gscn_inner_join.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def added() -> Iterator[None]:
    """Both parts, added as a script does."""
    module = example()
    DATAFLOWS.add("inner_join", module.INNER_JOIN)
    MAPPING_KINDS.add("columns", module.columns)
    yield
    DATAFLOWS.remove("inner_join")
    MAPPING_KINDS.remove("columns")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    layer = workloads.layer_from_arrays(
        "conv1",
        activation=rng.random((2, 6, 7, 7)) < 0.5,
        gradient=rng.random((2, 4, 7, 7)) < 0.3,
        weight=np.ones((4, 6, 3, 3)),
        padding=(1, 1),
    )
    path = tmp_path / "trace.npz"
    workloads.save(workloads.Trace(network="toy", batch_size=2, layers=[layer]), path)
    return path


@settings(max_examples=40, deadline=None)
@given(layer=layers(), overrides=machine_overrides())
def test_any_layer_on_any_machine(layer: Layer, overrides: dict[str, Any]) -> None:
    """Identities hold (they raise), and values give the convolution."""
    config = load_config(
        "gscn-ideal", overrides | {"pe.accumulator_entries": 256, "dataflow.wgrad": "inner_join"}
    )
    assert simulate_phase("toy", layer, Phase.WGRAD, config, 3).dataflow == "inner_join"
    values = (layer.values(operand) for operand in ("activation", "gradient", "weight"))
    expected = convolve(layer.shape, "wgrad", *values)
    np.testing.assert_array_equal(execute(layer, "wgrad", config), expected)


@settings(max_examples=30, deadline=None)
@given(layer=layers())
def test_steps_against_loops(layer: Layer) -> None:
    """On one PE: the pairs of each weight and sample, in vectors of 16."""
    overrides = {"dataflow.wgrad": "inner_join", "array.pe_rows": 1, "array.pe_cols": 1}
    config = load_config("gscn-ideal", overrides | {"policy.load_balance": "static"})
    record = simulate_phase("toy", layer, Phase.WGRAD, config, layer.n_samples)
    activation, gradient = layer.values("activation"), layer.values("gradient")
    assert activation is not None
    assert gradient is not None
    pairs = np.zeros((layer.n_samples, *layer.shape.weight_shape), np.int64)
    for k, c, c_in_group, h, w, p, q, rs in meetings(layer.shape):
        met = (gradient[:, k, p, q] != 0) & (activation[:, c, h, w] != 0)
        pairs[:, k, c_in_group, rs // layer.shape.S, rs % layer.shape.S] += met
    assert record.steps == int((-(-pairs // 16)).sum())


def test_found_through_its_entry_points(trace: Path, tmp_path: Path) -> None:
    """As installed: its metadata on the path, the command in a process of its own."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = tmp_path / "site" / f"gscn_inner_join-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    lines = [
        line
        for group, points in groups
        for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    paths = (info.parent, EXAMPLE, ROOT)
    command = [sys.executable, "-c", "from gscn_sim.cli import main; main()", "run", str(trace)]
    done = subprocess.run(
        [
            *(*command, "--phase", "wgrad", "--format", "json", "--cache", str(tmp_path / "c")),
            *("--set", "dataflow.wgrad=inner_join", "--set", "mapping.kind=columns"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["layers"][0]
    assert row["dataflow"] == "inner_join"
    assert row["mapping_reason"].startswith("columns, ")


def test_the_mapping_kind_splits_columns(trace: Path) -> None:
    layer = workloads.load(trace)["conv1"]
    config = load_config("gscn-ideal", {"mapping.kind": "columns", "array.pe_rows": 2})
    assert simulate_phase("toy", layer, Phase.DGRAD, config, 2).mapping.startswith("n1 1x7")


def refused(trace: Path, *settings: str) -> str:
    """What a run says that refuses these settings: one line, exit code 2."""
    options = [word for setting in settings for word in ("--set", setting)]
    done = CliRunner().invoke(main, ["run", str(trace), *options])
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    return done.stderr


def test_names_that_are_not_there(trace: Path) -> None:
    assert "inner_join" in refused(trace, "dataflow.wgrad=outer_join")
    assert "mapping.kind must be one of" in refused(trace, "mapping.kind=diagonals")


def test_a_phase_that_it_cannot_run(trace: Path) -> None:
    message = refused(trace, "dataflow.dgrad=inner_join")
    assert "dataflow.dgrad must be one of cartesian, anticipated, dense, auto" in message


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("no_such_module_here:X", "No module named"),
        ("json:no_such_object", "has no attribute"),
        ("json:JSONDecoder", "must be a Dataflow object, got the class JSONDecoder"),
        ("gscn_sim.dataflows.base:Dataflow", "got the class Dataflow"),
        ("gscn_sim.dataflows.dense:DENSE", "calls itself 'dense'"),
    ],
)
def test_a_plug_in_that_cannot_be_loaded(
    trace: Path, monkeypatch: pytest.MonkeyPatch, place: str, why: str
) -> None:
    point = EntryPoint(name="theirs", value=place, group=DATAFLOWS.group)
    monkeypatch.setitem(DATAFLOWS.__dict__, "_entry_points", {"theirs": point})
    message = refused(trace, "dataflow.wgrad=theirs")
    assert "dataflow 'theirs'" in message
    assert why in message


def test_names_are_taken_once() -> None:
    with pytest.raises(ConfigError, match="dataflow 'dense' is there already"):
        DATAFLOWS.add("dense", DATAFLOWS["dense"])
    with pytest.raises(ConfigError, match="must be a Callable object, got a int"):
        MAPPING_KINDS.add("number", 3)


def test_results_kept_by_others_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest that caches and stores go by covers the package, not only ours."""
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint(name="theirs", value="gscn_theirs.flows:X", group=DATAFLOWS.group)
    monkeypatch.setitem(DATAFLOWS.__dict__, "_entry_points", {"theirs": point})
    package = tmp_path / "gscn_theirs"
    package.mkdir()
    (package / "__init__.py").touch()
    digests = set()
    for text in ("A = 1\n", "A = 2\n"):
        (package / "rules.py").write_text(text)
        digests.add(code_digest.__wrapped__())
    assert len(digests) == 2
