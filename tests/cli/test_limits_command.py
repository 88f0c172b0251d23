"""``gscn-sim limits`` from a trace file to a table."""

from __future__ import annotations

import io
import json

import pandas as pd

from gscn_sim.run.limits import ALL, LIFTS, NONE

SMALL = ("--set", "array.pe_rows=2", "--set", "array.pe_cols=2", "--cache", "off", "-q")


def test_a_row_for_each_limit(invoke, toy_trace, tmp_path):
    result = invoke("limits", toy_trace, *SMALL, "-o", tmp_path / "limits.csv")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for name in (NONE, *LIFTS, ALL):
        assert any(line.startswith(name) for line in lines)
    table = pd.read_csv(tmp_path / "limits.csv")
    assert table["lifted"].tolist() == [NONE, *LIFTS, ALL]
    origin = json.loads((tmp_path / "limits.csv.provenance.json").read_text())
    assert origin["config"]["array.pe_rows"] == 2


def test_for_programs(invoke, toy_trace):
    answer = invoke("limits", toy_trace, *SMALL, "--phase", "dgrad", "--format", "json")
    rows = json.loads(answer.stdout)["limits"]
    printed = invoke("limits", toy_trace, *SMALL, "--phase", "dgrad", "--format", "csv").stdout
    assert pd.read_csv(io.StringIO(printed))["seconds"].tolist() == [r["seconds"] for r in rows]


def test_bad_input_is_one_line(invoke, toy_trace):
    result = invoke("limits", toy_trace, *SMALL, "--phase", "sideways")
    assert result.exit_code == 2
    assert "--phase must be one or more of forward, dgrad" in result.stderr
