"""Files appear whole or not at all, and JSON is strict."""

from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pytest

from gscn_sim.files import plain, records, to_json, write_json, write_table, write_text
from workloads import GscnError

FRAME = pd.DataFrame({"layer": ["a", "b"], "cycles": [1, 2], "speedup": [1.5, np.nan]})


def test_csv_is_plain_and_its_origin_is_beside_it(tmp_path):
    write_table(tmp_path / "t.csv", FRAME, {"config": {"x": 1}})
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), FRAME)
    assert json.loads((tmp_path / "t.csv.provenance.json").read_text()) == {"config": {"x": 1}}
    assert sorted(os.listdir(tmp_path)) == ["t.csv", "t.csv.provenance.json"]


def test_json_table_has_null_for_missing(tmp_path):
    write_table(tmp_path / "t.json", FRAME, {})
    rows = json.loads((tmp_path / "t.json").read_text())
    assert rows == [
        {"layer": "a", "cycles": 1, "speedup": 1.5},
        {"layer": "b", "cycles": 2, "speedup": None},
    ]


def test_parquet_round_trip(tmp_path):
    pytest.importorskip("pyarrow")
    write_table(tmp_path / "t.parquet", FRAME, {})
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), FRAME)


def test_parquet_without_pyarrow_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(GscnError, match=r"Parquet needs pyarrow \(pip install"):
        write_table(tmp_path / "t.parquet", FRAME, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["t.xlsx", "t", "csv"])
def test_an_unknown_suffix_is_refused_before_writing(tmp_path, name):
    with pytest.raises(GscnError, match=r"must end in \.csv, \.parquet, \.json"):
        write_table(tmp_path / name, FRAME, {})
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_names_the_file(tmp_path):
    with pytest.raises(GscnError, match=r"no/t\.json: cannot be written"):
        write_json(tmp_path / "no" / "t.json", {})


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.txt"
    write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GscnError, match="No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["t.txt"]


def test_plain_values():
    value = {"a": np.int64(3), 2: np.float32(0.5), "c": [float("inf"), None, True], "d": {"e"}}
    assert plain(value) == {"a": 3, "2": 0.5, "c": [None, None, True], "d": "{'e'}"}
    assert json.loads(to_json({"x": float("nan")})) == {"x": None}
    assert records(FRAME)[0] == {"layer": "a", "cycles": 1, "speedup": 1.5}


def test_a_text_with_a_path_that_is_no_text_is_escaped(tmp_path):
    write_text(tmp_path / "x.html", os.fsdecode(b"tr\xff.npz"))
    assert (tmp_path / "x.html").read_text() == "tr\\udcff.npz"
