"""The gpu command: tables, formats, errors, files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from gscn_sim.cli import main
from gscn_sim.gpu import layers_frame, predict
from workloads.networks import conv_layers

HEADER = "N,C,H,W,K,R,S,pad_h,pad_w,stride_h,stride_w\n"


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    path = tmp_path / "layers.csv"
    layers_frame([s for _, s in conv_layers("resnet18")][:4], 16).to_csv(path, index=False)
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["gpu", *map(str, args)])


def test_csv_equals_the_python_call(layers: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    result = run(layers, "--device", "v100", "--format", "csv", "-o", out)
    assert result.exit_code == 0, result.output
    expected = predict(pd.read_csv(layers), "v100")
    for text in (out,):
        table = pd.read_csv(text)
        assert list(table.columns) == list(expected.columns)
        assert table["wgrad_ms"].tolist() == pytest.approx(expected["wgrad_ms"].tolist())
    assert result.stdout.startswith("N,C,H,W")


def test_table_and_json(layers: Path) -> None:
    shown = run(layers).stdout
    assert "4 layers on GeForce GTX 1080 Ti, fp32, model analytical" in shown
    assert "80 % of measured / predicted: forward" in shown
    assert max(len(line) for line in shown.splitlines()) <= 100
    rows = json.loads(run(layers, "--format", "json", "--model", "roofline").stdout)
    assert {row["dgrad_algorithm"] for row in rows} == {"roofline"}


def test_far_shapes_warn_on_stderr(tmp_path: Path) -> None:
    path = tmp_path / "far.csv"
    layers_frame([conv_layers("resnet18")[1][1]], 512).to_csv(path, index=False)
    result = run(path)
    assert result.exit_code == 0
    assert "warning: row 1: N 512 is far from 4 to 32" in result.stderr
    assert "warning" not in result.stdout


def test_many_far_shapes_warn_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "far.csv"
    layers_frame([s for _, s in conv_layers("resnet18")], 512).to_csv(path, index=False)
    lines = run(path).stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: row 1: N 512 is far from 4 to 32")
    assert lines[0].endswith("(and 19 more rows, see column gpu_note)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N,C\n1,2\n", "lacks column"),
        ("", "must hold a line of column names, got none"),
        (HEADER + "1,1,0,5,1,1,1,0,0,1,1\n", "row 1: H must be a whole number from 1 to"),
        (
            HEADER + "1,1,5,5,1,1,1,0,0,1,1\n1,1,5,,1,1,1,0,0,1,1\n",
            "line 3, column W: must be a whole",
        ),
        (HEADER + "1,1,5,5,1,7,7,0,0,1,1\n", "row 1: R must be small enough for an output"),
        (HEADER + "9,1,1,5,5,1,1,1,0,0,1,1\n", "every cell must stand under a column"),
        (HEADER.replace("stride_w", "N") + "1,1,5,5,1,1,1,0,0,1,1\n", "got 'N' twice"),
        (
            HEADER.replace("\n", ",dilation\n") + "1,1,5,5,1,1,1,0,0,1,1,2\n",
            "did you mean dilation_",
        ),
        (HEADER.replace("\n", ",dil_h\n") + "1,1,5,5,1,3,3,0,0,1,1,4\n", "R must be small enough"),
        (HEADER + "1,1,5,5,1,1,1,0,0,1,1,0,15\n", "line 2: every cell must stand under"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    result = run(path, "-o", tmp_path / "out.csv")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith(f"error: {path}")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out.csv").exists()


def test_the_reader_is_that_of_all_tables(layers: Path, tmp_path: Path) -> None:
    """Other separators, an index and whole numbers with a point: the same times."""
    expected = run(layers, "--format", "csv").stdout
    frame = pd.read_csv(layers)
    other = tmp_path / "other.csv"
    frame.astype(float).to_csv(other, sep=";", decimal=",", encoding="utf-16")
    assert run(other, "--format", "csv").stdout == expected
    frame.assign(note="a, b", measured_ms=0.5).to_csv(other, index=False)
    result = pd.read_csv(io.StringIO(run(other, "--format", "csv").stdout))
    assert (result["note"] == "a, b").all()
    assert (result["measured_ms"] == 0.5).all()


def test_unknown_device_and_missing_file(layers: Path, tmp_path: Path) -> None:
    result = run(layers, "--device", "rtx")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "must be one of gtx-1080ti, h100, p100" in result.stderr
    assert run(tmp_path / "none.csv").exit_code == 2


def test_report_and_plot(tmp_path: Path) -> None:
    plot = tmp_path / "scatter.svg"
    result = run("report", "--device", "p100", "--plot", plot, "--format", "csv")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("device,phase,filter,layers,mean_percent")
    assert plot.read_bytes().startswith(b"<?xml")
    assert run("report", "--plot", tmp_path / "x.gif").exit_code == 2


@pytest.mark.parametrize("by", ["filter", "layer", "network"])
def test_reports_fit_a_hundred_columns(by: str) -> None:
    shown = run("report", "--by", by).stdout
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert "gtx-1080ti" in shown


def test_report_of_networks() -> None:
    result = run("report", "--by", "network", "--device", "gtx-1080ti", "--format", "json")
    rows = {row["network"]: row for row in json.loads(result.stdout)}
    assert rows["resnet34"]["measured_backward_ms"] == pytest.approx(34.6, abs=0.01)


def test_fit_writes_a_file_that_predicts(layers: Path, tmp_path: Path) -> None:
    """With two measured shapes only, so that the cross-validation is short."""
    import gscn_sim.gpu.fitting as fitting

    original = fitting.measured_layers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "measured_layers", lambda device: original(device)[:6])
        out = tmp_path / "c.toml"
        result = run("fit", "--device", "p100", "-o", out, "--held-out", tmp_path / "h.csv")
    assert result.exit_code == 0, result.output
    assert run(layers, "--device", "p100", "--coefficients", out).exit_code == 0
    held_out = pd.read_csv(tmp_path / "h.csv")
    assert held_out["dgrad_predicted_ms"].notna().all()
    assert run("fit", "--device", "nope", "-o", tmp_path / "d.toml").exit_code == 2
    assert not (tmp_path / "d.toml").exists()
