"""Plots in files: the same each time, told without colour, refused where they cannot be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner
from report_commands import command

from gscn_sim.cli import main
from gscn_sim.report.figures import (
    speedup_by_density,
)
from gscn_sim.report.sources import read_source
from gscn_sim.report.static import draw
from workloads import GscnError

pytest.importorskip("plotly", reason="plotly is not installed")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plots_are_the_same_each_time(run_json, sweep_folder, tmp_path, suffix):
    for source, kind in ((run_json, "slots"), (run_json, "speedup"), (sweep_folder, "pareto")):
        for name in ("a", "b"):
            command("plot", source, "--kind", kind, "-o", tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize(("worst", "scale"), [(1.0, "log"), (30.0, "linear")])
def test_an_axis_is_logarithmic_where_values_span_decades(sweep_folder, worst, scale):
    sweep = read_source(sweep_folder)
    sweep.table["speedup"] = [worst, 40.0, 60.0, 80.0]
    (axes,) = draw(sweep).axes
    assert axes.get_yscale() == scale
    axes.figure.draw_without_rendering()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert all(float(text) > 0 for text in labels)


def test_the_front_is_told_without_colour(sweep_folder):
    sweep = read_source(sweep_folder)
    twice = [sweep.table, sweep.table.assign(network="other", trace_digest="other")]
    sweep = replace(sweep, table=pd.concat(twice, ignore_index=True))
    (axes,) = draw(sweep).axes
    looks = {(line.get_marker(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == len(axes.lines) == 2
    assert "None" not in {marker for marker, _ in looks}
    (effects,) = draw(sweep, "effects").axes
    assert len({bar.get_hatch() for bar in effects.patches}) == 2
    assert len({trace["marker"]["symbol"] for trace in speedup_by_density_of_phases()}) == 4


def speedup_by_density_of_phases() -> list[dict]:
    phases = ["dgrad", "wgrad", "pre_dgrad", "pre_wgrad"]
    rows = [
        {"layer": "a", "phase": p, "speedup": 2.0, "useful_products": 1, "dense_macs": 9}
        for p in phases
    ]
    run = SimpleNamespace(layers=pd.DataFrame(rows))
    return speedup_by_density(run)["data"]


def test_the_hypervolume_of_a_sweep_is_drawn(sweep_folder, tmp_path):
    (axes,) = draw(read_source(sweep_folder), "hypervolume").axes
    (line,) = axes.lines
    heights = line.get_ydata()
    assert list(line.get_xdata()) == [1, 2, 3, 4]
    assert all(a <= b for a, b in itertools.pairwise(heights))
    assert 0 < heights[-1] <= 1
    command("sweep", "plot", sweep_folder, "--kind", "hypervolume", "-o", tmp_path / "h.svg")


def test_effects_plot(sweep_folder, tmp_path):
    command(
        "sweep",
        "plot",
        sweep_folder,
        "--kind",
        "effects",
        "-y",
        "area_mm2",
        "-o",
        tmp_path / "e.svg",
    )
    assert "<svg" in (tmp_path / "e.svg").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "not a run; one has the keys summary, layers"),
        ("[1]", "not a run"),
        ("{nope", "cannot be read as the JSON of a run"),
        ('{"summary": {}, "layers": [], "config": {}, "provenance": {}}', "not a whole run"),
    ],
)
def test_a_foreign_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(GscnError, match=message):
        read_source(path)
    result = CliRunner().invoke(main, ["report", str(path), "-o", str(tmp_path / "r.html")])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "r.html").exists()


def test_wrong_kinds_and_suffixes(run_json, sweep_folder, tmp_path):
    for words, message in (
        ((run_json, "--kind", "pareto", "-o", "x.png"), "--kind of a run must be speedup or slots"),
        (
            (sweep_folder, "--kind", "slots", "-o", "x.png"),
            "--kind of a sweep must be one of pareto, ",
        ),
        ((run_json, "-o", "x.bmp"), "must end in .png, .svg, .pdf"),
        ((tmp_path / "none", "-o", "x.png"), "no such store"),
    ):
        result = CliRunner().invoke(main, ["plot", *map(str, words)])
        assert result.exit_code == 2
        assert message in result.stderr


def test_the_plot_command_says_what_it_wrote(run_json, tmp_path):
    target = tmp_path / "p.svg"
    result = CliRunner().invoke(main, ["plot", str(run_json), "-o", str(target)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{target}\n"
    assert target.read_text().lstrip().startswith("<?xml")
