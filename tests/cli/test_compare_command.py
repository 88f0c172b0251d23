"""``gscn-sim compare`` of designs and of saved runs."""

from __future__ import annotations

import io
import json
import re

import pandas as pd
import pytest

SMALL = 'preset = "gscn"\n[array]\npe_rows = 2\npe_cols = 2\n'
QUIET = ("--cache", "off", "-q")


@pytest.fixture
def designs(tmp_path):
    paths = tmp_path / "small.toml", tmp_path / "larger.toml"
    paths[0].write_text(SMALL)
    paths[1].write_text(SMALL.replace("pe_rows = 2", "pe_rows = 4"))
    return paths


def test_two_designs_on_a_trace(invoke, toy_trace, designs):
    result = invoke("compare", *designs, toy_trace, *QUIET)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines[2:])) <= 80  # after the names of the designs
    assert "array.pe_rows 2 4" in [" ".join(line.split()) for line in lines]
    assert any(line.startswith("mind: designs of unlike size: B has 2 times") for line in lines)
    for cause in ("useful", "bank conflict", "imbalance"):
        assert any(line.startswith(cause) for line in lines)


def test_saved_runs_say_the_same(invoke, toy_trace, designs, tmp_path):
    files = []
    for design in designs:
        files.append(design.with_suffix(".json"))
        made = invoke("run", toy_trace, "--config", design, *QUIET, "-o", files[-1])
        assert made.exit_code == 0, made.stderr
    known = invoke("compare", *files, "--format", "csv")
    fresh = invoke("compare", *designs, toy_trace, *QUIET, "--format", "csv")
    mixed = invoke("compare", files[0], designs[1], toy_trace, *QUIET, "--format", "csv")
    assert known.stdout == fresh.stdout == mixed.stdout
    table = pd.read_csv(io.StringIO(known.stdout))
    assert table["layer"].tolist() == ["conv1"] * 2 + ["conv2"] * 4
    out = tmp_path / "out.csv"
    assert invoke("compare", *files, "-o", out).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(out), table)
    document = json.loads(invoke("compare", *files, "--format", "json").stdout)
    assert document["keys"] == [{"key": "array.pe_rows", "a": "2", "b": "4"}]
    assert json.loads((tmp_path / "out.csv.provenance.json").read_text())["causes"]


def test_designs_at_equal_size(invoke, toy_trace, designs, tmp_path):
    words = (toy_trace, *QUIET, "--format", "json")
    result = invoke("compare", *designs, *words, "--iso", "multipliers")  # B to the size of A
    document = json.loads(result.stdout)
    assert document["keys"] == document["cautions"] == []
    said = "larger: 2 x 2 instead of 4 x 2 PEs: multipliers 64 of 64\n"
    assert result.stderr == said
    result = invoke("compare", *designs, *words, "--iso", "multipliers=100")
    assert next(row["a"] for row in json.loads(result.stdout)["sizes"]) == 96
    assert len(result.stderr.splitlines()) == 2
    run = tmp_path / "run.json"
    assert invoke("run", toy_trace, "--config", designs[0], *QUIET, "-o", run).exit_code == 0
    result = invoke("compare", run, designs[1], *words, "--iso", "area")
    assert json.loads(result.stdout)["keys"] == []
    assert re.fullmatch(
        r"larger: 2 x 2 instead of 4 x 2 PEs: area (\S+) of \1 mm2\n", result.stderr
    )
    for arguments, message in (
        ((*designs, toy_trace, "--iso", "area=0.01"), "more than --iso area=0.01"),
        ((*designs, toy_trace, "--iso", "mass=3"), "--iso must be one of area=mm2, "),
        ((run, designs[1], toy_trace, "--iso", "area=3"), "a saved run keeps its size"),
        ((designs[1], run, toy_trace, "--iso", "area"), "a saved run keeps its size"),
    ):
        bad = invoke("compare", *arguments, *QUIET)
        assert (bad.exit_code, len(bad.stderr.splitlines())) == (2, 1)
        assert message in bad.stderr


def test_bad_input_is_one_line(invoke, toy_trace, designs, tmp_path):
    run = tmp_path / "run.json"
    assert invoke("run", toy_trace, "--config", designs[0], *QUIET, "-o", run).exit_code == 0
    (tmp_path / "other.json").write_text("{}")
    for words, message in (
        (("gscn", "gscn-ideal"), "name a TRACE to simulate gscn and gscn-ideal on"),
        ((run, "gscn"), "name a TRACE to simulate gscn on"),
        ((run, run, toy_trace), "two saved runs take neither TRACE nor --phase nor --batch"),
        ((run, run, "--batch", "4"), "two saved runs take neither TRACE nor --phase nor --batch"),
        ((run, "gsnc", toy_trace), "unknown preset 'gsnc'"),
        ((run, tmp_path / "other.json"), "not a run; one has the keys"),
        (("gscn", "gscn", toy_trace, "--phase", "sideways"), "--phase must be one or more of"),
    ):
        result = invoke("compare", *words)
        assert result.exit_code == 2, words
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
