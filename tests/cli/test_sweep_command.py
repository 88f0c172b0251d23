"""``gscn-sim sweep`` and the questions to its store, with the real simulator on a tiny trace."""

from __future__ import annotations

import io
import json
import re
from importlib.resources import files

import pandas as pd
import pytest

from gscn_sim.config import load_config

COMMON = ("--gpu", "roofline", "--set", "array.pe_rows=2", "--set", "array.pe_cols=2", "-j", "1")
AXES = ("--param", "pe.accumulator_banks=8,32", "--param", "array.clock_ghz=0.5:1.0:2")


@pytest.fixture
def swept(invoke, toy_trace, tmp_path):
    result = invoke("sweep", toy_trace, *AXES, *COMMON, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "4 points; table: " in result.stdout
    return tmp_path / "out"


def test_a_point_is_what_run_says(invoke, toy_trace, swept):
    table = pd.read_csv(swept / "sweep.csv")
    assert len(table) == 4
    point = table.iloc[1]
    assert (point["pe.accumulator_banks"], point["array.clock_ghz"]) == (8, 1.0)
    words = ("--set", "pe.accumulator_banks=8", "--set", "array.clock_ghz=1.0")
    document = json.loads(invoke("run", toy_trace, *COMMON[:-2], *words, "--format", "json").stdout)
    for name in ("cycles", "seconds", "speedup", "energy_j", "slots_useful", "dram_read_bytes"):
        assert point[name] == pytest.approx(document["summary"][name], rel=1e-12)
    assert point["scope"] == "backward_with_pre"
    assert point["trace_digest"] == document["provenance"]["trace"]["digest"]


def test_the_same_command_resumes_and_writes_the_same_table(invoke, toy_trace, swept):
    before = (swept / "sweep.csv").read_bytes()
    assert invoke("sweep", toy_trace, *AXES, *COMMON, "-o", swept).exit_code == 0
    assert (swept / "sweep.csv").read_bytes() == before
    origin = json.loads((swept / "sweep.csv.provenance.json").read_text())
    assert [axis["key"] for axis in origin["sweep"]["space"]["axes"]] == [
        "pe.accumulator_banks",
        "array.clock_ghz",
    ]


def test_a_dry_run_keeps_nothing(invoke, toy_trace, tmp_path):
    words = (*AXES, *COMMON, "--constraint", "pe.accumulator_banks > 8", "--dry-run")
    cache = ("--cache", tmp_path / "cache")
    result = invoke("sweep", toy_trace, *words, *cache)
    assert result.exit_code == 0, result.stderr
    assert "4 combinations, 2 rejected" in result.stdout
    assert re.search(r"^pe.accumulator_banks > 8 +2 +2$", result.stdout, re.MULTILINE)
    assert "2 designs on one trace and batch: 2 points" in result.stdout
    assert "by 1 worker: " in result.stdout
    assert "(2 tried here)" in result.stdout
    folder = ("-o", tmp_path / "out")
    assert invoke("sweep", toy_trace, *words, *cache, *folder).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.npz"]


def test_a_dry_run_knows_what_is_there(invoke, toy_trace, swept):
    before = {path.name: path.read_bytes() for path in swept.iterdir()}
    result = invoke("sweep", toy_trace, *AXES, *COMMON, "--dry-run", "-o", swept)
    assert "4 of 4 points looked at are there already" in result.stdout
    assert "nothing is left to simulate" in result.stdout
    assert {path.name: path.read_bytes() for path in swept.iterdir()} == before


def test_a_dry_run_of_nothing_is_one_line(invoke, toy_trace):
    words = ("--constraint", "num_pes > 4", "--dry-run")
    result = invoke("sweep", toy_trace, *AXES, *COMMON, *words)
    assert result.exit_code == 2
    assert result.stderr == "error: no design meets the constraints\n"
    result = invoke("sweep", toy_trace, *AXES, *COMMON)
    assert result.exit_code == 2
    assert "Missing option '-o' / '--output'; only --dry-run needs none." in result.stderr


def test_metrics_by_expression(invoke, swept, tmp_path):
    table = pd.read_csv(swept / "sweep.csv")
    product = table["energy_j"] * table["seconds"]
    for metric in ("energy_j * seconds", "edp_js"):
        rows = json.loads(
            invoke("sweep", "best", swept, "--metric", metric, "--format", "json").stdout
        )
        assert [row[metric] for row in rows] == pytest.approx(sorted(product))
        assert invoke("sweep", "best", swept, "--metric", metric).exit_code == 0
        assert invoke("sweep", "sensitivity", swept, "--metric", metric).exit_code == 0
    words = ("--objective", "edp_js,max(area_mm2, 1)", "--format", "csv")
    front = pd.read_csv(io.StringIO(invoke("sweep", "pareto", swept, *words).stdout))
    assert front["edp_js"].min() == pytest.approx(product.min())
    plot = ("-x", "area_mm2 * seconds", "-y", "speedup / area_mm2", "-o", tmp_path / "a.svg")
    assert invoke("sweep", "plot", swept, *plot).exit_code == 0


@pytest.mark.parametrize("command", ["best", "sensitivity"])
@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("energy_j *", "cannot be evaluated"),
        ("energy_j * beauty", "unknown name 'beauty'; there are cycles, seconds, "),
        ("speedup > 2", "must be a number"),
        ("pe.accumulator_banks * 2", "cannot be evaluated"),
        ("speedup / (area_mm2 - area_mm2)", "no point has a value of"),
    ],
)
def test_a_metric_that_does_not_parse_is_one_line(invoke, swept, command, metric, message):
    result = invoke("sweep", command, swept, "--metric", metric)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_answers(invoke, swept, tmp_path):
    for command in ("pareto", "best", "sensitivity", "export"):
        result = invoke("sweep", command, swept)
        assert result.exit_code == 0, result.stderr
        assert max(map(len, result.stdout.splitlines())) <= 80
    effects = pd.read_csv(
        io.StringIO(invoke("sweep", "sensitivity", swept, "--format", "csv").stdout)
    )
    assert effects["axis"].iloc[0] == "array.clock_ghz"
    exported = tmp_path / "all.csv"
    assert invoke("sweep", "export", swept, "-o", exported, "--format", "csv").exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(exported), pd.read_csv(swept / "sweep.csv"))


def test_presets_at_equal_multipliers(invoke, toy_trace, tmp_path):
    out = tmp_path / "out"
    words = ("--param", "config=gscn,scnn", "--iso", "multipliers=70", "--gpu", "roofline")
    result = invoke("sweep", toy_trace, *words, "-j", "1", "-o", out)
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(out / "sweep.csv")
    assert list(table["total_multipliers"]) == [64, 64]
    assert "These designs are of unlike size: " in result.stdout  # their area and bandwidth
    assert "64 multipliers" not in result.stdout
    one = invoke("run", toy_trace, "--config", "scnn", *words[2:], "--format", "json")
    assert one.stderr.startswith("scnn: 2 x 2 instead of 8 x 8 PEs: multipliers 64 of 70\n")
    seconds = json.loads(one.stdout)["summary"]["seconds"]
    assert table["seconds"].iloc[1] == pytest.approx(seconds, rel=1e-12)
    origin = json.loads((out / "sweep.csv.provenance.json").read_text())
    assert origin["sweep"]["space"]["iso"] == ["multipliers=70"]


@pytest.mark.parametrize("command", ["best", "pareto", "sensitivity", "export"])
def test_former_names_answer_the_same_with_a_note(invoke, swept, command):
    now = invoke("sweep", command, swept, "--format", "csv")
    before = invoke(command, swept, "--format", "csv")
    assert (before.exit_code, before.stdout) == (0, now.stdout)
    first, *rest = before.stderr.splitlines()
    assert re.fullmatch(rf"note: (\S+) {command} is now \1 sweep {command}", first)
    assert rest == now.stderr.splitlines()


def test_a_plot_of_a_sweep_by_its_former_name_is_the_same_file(invoke, swept, tmp_path):
    now, before = tmp_path / "now.svg", tmp_path / "before.svg"
    assert invoke("sweep", "plot", swept, "-o", now).stderr == ""
    note = invoke("plot", swept, "-o", before).stderr
    assert note == "note: gscn-sim plot of a sweep is now gscn-sim sweep plot\n"
    assert now.read_bytes() == before.read_bytes()


def test_two_points_of_a_sweep_compared(invoke, swept, toy_trace, tmp_path):
    table = pd.read_csv(swept / "sweep.csv")
    result = invoke("sweep", "compare", swept, "0", "3", "--format", "json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    everything = next(row for row in document["phases"] if row["phase"] == "all")
    for side, point in (("a", 0), ("b", 3)):
        assert everything[f"{side}_seconds"] == pytest.approx(table["seconds"].iloc[point])
    keys = {row["key"]: (row["a"], row["b"]) for row in document["keys"]}
    assert keys == {"pe.accumulator_banks": ("8", "32"), "array.clock_ghz": ("0.5", "1.0")}
    assert "A: point 0 (pe.accumulator_banks=8, array.clock_ghz=0.5)" in (
        invoke("sweep", "compare", swept, "0", "3").stdout
    )
    for words, message in (
        (("0", "0"), "nothing to compare"),
        (("0", "4"), "no point 4 that is done; there are 4 points"),
    ):
        result = invoke("sweep", "compare", swept, *words)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert message in result.stderr
    toy_trace.write_bytes((tmp_path / "out" / "sweep.csv").read_bytes())
    assert invoke("sweep", "compare", swept, "0", "3").exit_code == 2


def test_points_on_unlike_work_are_not_compared(invoke, toy_trace, tmp_path):
    out = tmp_path / "out"
    words = ("--param", "batch=2,4", "--param", "pe.accumulator_banks=8,32")
    assert invoke("sweep", toy_trace, *words, *COMMON, "-o", out).exit_code == 0
    result = invoke("sweep", "compare", out, "0", "1")
    assert result.exit_code == 2
    assert result.stderr == "error: points 0 and 1 have not the same batch size: 2 and 4\n"


def test_a_mistyped_question_is_told_from_a_missing_trace(invoke, tmp_path):
    result = invoke("sweep", "bset", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == "error: no such trace or question 'bset'; did you mean best?\n"


def test_the_best_design_as_a_file(invoke, swept, tmp_path):
    file = tmp_path / "best.toml"
    result = invoke("sweep", "best", swept, "--save-config", file, "--format", "json", "-n", "1")
    (row,) = json.loads(result.stdout)
    design = load_config(file)
    assert design.pe.accumulator_banks == row["pe.accumulator_banks"]
    assert design.array.clock_ghz == row["array.clock_ghz"] == 1.0
    assert design.num_pes == 4


def test_where_selects(invoke, swept):
    words = ("--where", "`array.clock_ghz` < 0.7", "--format", "json")
    rows = json.loads(invoke("sweep", "export", swept, *words).stdout)
    assert [row["array.clock_ghz"] for row in rows] == [0.5, 0.5]


def test_a_space_file_with_a_search_over_two_batches(invoke, toy_trace, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text(
        f"""
        traces = ["{toy_trace.name}"]
        batch = [2, 4]
        constraints = ["num_pes * multipliers <= 256"]
        [axes]
        pe.accumulator_banks = {{ min = 4, max = 64 }}
        [derived]
        array.pe_rows = "256 // (multipliers * array.pe_cols)"
        """
    )
    words = ("--space", space, "--search", "random", "--budget", "3", "--gpu", "roofline")
    out = tmp_path / "out"
    result = invoke("sweep", *words, "--set", "array.pe_cols=4", "-j", "2", "-o", out)
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(out / "sweep.csv")
    assert list(table["batch_size"]) == [2, 4] * 3
    assert set(table["total_multipliers"]) == {256}
    assert "speedup[toy/2]" in invoke("sweep", "best", out, "--format", "csv").stdout


def test_a_sweep_takes_gpus_by_name_only(invoke, toy_trace, tmp_path):
    mine = tmp_path / "mine.toml"
    shipped = files("gscn_sim.gpu.data") / "p100.toml"
    mine.write_text(shipped.read_text(encoding="utf-8"))
    words = (*COMMON, "--gpu", f"roofline:{mine}", "-o", tmp_path / "out")
    result = invoke("sweep", toy_trace, *AXES, *words)
    assert result.exit_code == 2
    assert "GPU device must be one of gtx-1080ti, h100, p100" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--param", "pe.nope=1,2"), "unknown key 'pe.nope'"),
        (("--param", "pe.accumulator_banks=0,1"), "must be a positive int, got 0"),
        (("--param", "pe.accumulator_banks"), "--param must be KEY"),
        (("--param", "batch=0"), "batch must be a positive int, got 0"),
        (("--param", "batch=4", "--param", "batch=8"), "an axis is given twice"),
        ((*AXES, "--constraint", "nope < 3"), "unknown name 'nope'"),
        ((*AXES, "--constraint", "num_pes > 10000"), "no design meets the constraints"),
        ((*AXES, "--search", "random"), "needs a --budget"),
        ((*AXES, "--iso", "area=many"), "--iso area must be a positive number, got 'many'"),
        (("--param", "dram.channels=1,2", "--iso", "bandwidth_gbs=9"), "and by --iso"),
        ((*AXES, "--budget", "soon"), "--budget must be designs, as 200, or time"),
        ((*AXES, "--objective", "beauty"), "objective 'beauty' must be one of"),
        ((*AXES, "--scheduler", "cloud"), "--scheduler must be local or tcp://HOST:PORT"),
        ((*AXES, "--scheduler", "tcp://127.0.0.1:9"), "no Dask scheduler answers at tcp://"),
        ((*AXES, "--scheduler", "ftp://x"), "no Dask scheduler answers at ftp://x"),
        (("--space", "no.toml"), "no.toml: cannot be read"),
        (("--param", "dram.row_bytes=1000"), "dram.row_bytes must be a multiple"),
    ],
)
def test_bad_input_is_one_line(invoke, toy_trace, tmp_path, words, message):
    out = tmp_path / "out"
    result = invoke("sweep", toy_trace, *words, *COMMON, "-o", out)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not (out / "sweep.csv").exists()


def test_bad_stores_and_questions_are_one_line(invoke, swept, tmp_path):
    (tmp_path / "sweep.sqlite").write_bytes(b"not a database" * 999)
    for words, message in (
        (("sweep", "best", tmp_path), "damaged or no store"),
        (("sweep", "best", tmp_path / "none"), "no such store"),
        (("sweep", "best", swept, "--metric", "beauty"), "must be one of"),
        (
            ("sweep", "best", swept, "--where", "nonsense >"),
            "--where 'nonsense >': cannot be evaluated",
        ),
        (("sweep", "pareto", swept, "--where", "speedup < 0"), "no finished point meets"),
        (("sweep", "sensitivity", swept, "--metric", "area"), "metric 'area' must be one of"),
        (("sweep", "export", swept, "--sweep", "9"), "no sweep 9"),
        (("sweep", "export", swept, "-o", "t.xlsx"), "must end in .csv"),
    ):
        result = invoke(*words)
        assert result.exit_code == 2, words
        assert len(result.stderr.splitlines()) == 1
        assert message in result.stderr


def test_a_sweep_in_which_everything_fails_says_why(invoke, toy_trace, tmp_path):
    out = tmp_path / "out"
    words = ("--param", "dram.row_bytes=2048,4096", "--param", "dram.burst_bytes=96,160")
    result = invoke("sweep", toy_trace, *words, *COMMON, "-o", out)
    assert result.exit_code == 2
    assert "every point failed, the first with: dram." in result.stderr.splitlines()[-1]
    assert set(pd.read_csv(out / "sweep.csv")["status"]) == {"failed"}
