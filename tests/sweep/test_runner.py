from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from fake_points import (
    WORKLOADS,
    fake_metrics,
    large_plan,
    logged_metrics,
    plan,
    stopping_metrics,
)

from gscn_sim.sweep import Choices, Expression, Objective, Space, run_sweep, sweep_table
from gscn_sim.sweep.errors import SpaceError

KILLS = int(os.environ.get("KILLS", "4"))


def run(path: Path, made, **options) -> pd.DataFrame:
    number = run_sweep(made, path, **{"evaluate": fake_metrics, "code": "fake", **options})
    return sweep_table(path, number)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "sweep.sqlite"


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    """The keys of the points that ran, one a line."""
    file = tmp_path / "log"
    file.touch()
    monkeypatch.setenv("POINTS_LOG", str(file))
    return file


def test_every_design_on_every_workload_in_order(path):
    table = run(path, plan())
    assert list(table["point"]) == list(range(12))
    assert list(table["network"]) == ["a", "b"] * 6
    assert list(table["pe.accumulator_banks"]) == [16] * 4 + [32] * 4 + [64] * 4
    assert list(table["speedup"][:2]) == [pytest.approx(3.2), pytest.approx(6.4)]
    assert set(table["status"]) == {"done"}


def test_failed_points_are_rows(path):
    table = run(path, plan(banks=(48, 56, 64), clocks=(1.0,)))
    assert list(table["status"]) == ["failed"] * 4 + ["done"] * 2
    assert table["error"].iloc[0] == "48 banks fit no tile"
    assert table["error"].iloc[2] == "internal error: ZeroDivisionError: 56"
    assert table["speedup"].isna().sum() == 4


def test_it_resumes_without_running_anything_twice(path, log):
    first = run(path, plan(), evaluate=logged_metrics)
    again = run(path, plan(), evaluate=logged_metrics)
    pd.testing.assert_frame_equal(first, again)
    assert len(log.read_text().split()) == 12


def test_a_larger_sweep_in_the_same_store_uses_what_is_there(path, log):
    run(path, plan(banks=(16, 32)), evaluate=logged_metrics)
    table = run(path, plan(banks=(32, 64)), evaluate=logged_metrics)
    assert list(table["sweep"].unique()) == [2]
    assert len(table) == 8
    counts = Counter(log.read_text().split())
    assert set(counts.values()) == {1}
    assert len(counts) == 12
    assert len(sweep_table(path, 1)) == 8


def test_processes_and_one_process_give_the_same_table(tmp_path):
    one = run(tmp_path / "one.sqlite", plan(banks=(16, 32, 48)))
    two = run(tmp_path / "two.sqlite", plan(banks=(16, 32, 48)), workers=2)
    pd.testing.assert_frame_equal(one, two)


def test_a_worker_that_dies_costs_its_point_only(path):
    table = run(path, plan(banks=(16, 40, 64), clocks=(1.0,)), workers=2)
    assert list(table["status"]) == ["done", "done", "failed", "failed", "done", "done"]
    assert "worker process died" in table["error"].iloc[2]


@pytest.mark.parametrize("search", ["nsga2", "tpe", "random"])
def test_a_search_resumes_to_the_same_table(tmp_path, log, search):
    options = {
        "search": search,
        "objectives": (
            Objective(metric="speedup", maximize=True),
            Objective(metric="area_mm2", maximize=False),
        ),
    }
    space = Space(
        axes=(
            Choices(key="pe.accumulator_banks", options=tuple(range(64, 128))),
            Choices(key="array.clock_ghz", options=(0.5, 1.0, 1.5)),
        )
    )
    whole = run(tmp_path / "whole", plan(space=space, budget=70, **options))
    part, resumed = tmp_path / "part", plan(space=space, budget=70, **options)
    run(part, plan(space=space, budget=40, **options), evaluate=logged_metrics)
    table = run(part, resumed, evaluate=logged_metrics)
    assert set(Counter(log.read_text().split()).values()) == {1}
    if search == "random":  # a population's or batch's size bounds what a small budget shows
        pd.testing.assert_frame_equal(table, whole)
    again = run(part, resumed, evaluate=logged_metrics)
    pd.testing.assert_frame_equal(table, again)


def test_a_search_improves_the_geometric_mean_over_the_workloads(path):
    made = plan(
        banks=tuple(range(64, 128)),
        clocks=tuple(i / 10 for i in range(5, 25)),
        search="nsga2",
        budget=160,
        objectives=(Objective(metric="speedup", maximize=True),),
    )
    table = run(path, made)
    late = table["point"] >= 2 * 64
    assert table[late]["speedup"].mean() > table[~late]["speedup"].mean()


def test_a_deadline_stops_and_the_same_command_goes_on(path):
    messages = []
    run(path, plan(), minutes=0, report=lambda p: messages.append(p.message))
    assert len(sweep_table(path)) == 0
    assert any("the same command goes on" in message for message in messages)
    assert len(run(path, plan())) == 12


def test_progress_says_totals_estimates_and_reuse(path):
    states = []
    run(path, plan(banks=(16, 48)), report=states.append)
    assert states[-1].total == 8
    assert (states[-1].finished, states[-1].failed, states[-1].reused) == (8, 4, 0)
    assert any("s a point: about" in state.message for state in states)
    run(path, plan(banks=(16, 48)), report=states.append)
    assert (states[-1].finished, states[-1].reused) == (8, 8)


def test_changed_traces_are_noticed(path):
    from dataclasses import replace

    run(path, plan())
    changed = (replace(WORKLOADS[0], digest="other"), WORKLOADS[1])
    messages = []
    table = run(path, plan(workloads=changed), report=lambda p: messages.append(p.message))
    assert any(m.startswith("a.npz has changed: 6 points here") for m in messages)
    assert set(table["trace_digest"]) == {"other", "bb"}


def test_no_design_meets_the_constraints(path):
    space = Space(
        axes=(Choices(key="pe.accumulator_banks", options=(16, 32)),),
        constraints=(Expression("pe.accumulator_banks > 99"),),
    )
    with pytest.raises(SpaceError, match="no design meets the constraints"):
        run(path, plan(space=space))


def test_a_large_grid_with_a_constraint_begins_at_once(path):
    """A million designs: constraints are looked at when a design's turn comes."""
    space = Space(
        axes=(
            Choices(key="pe.bank_queue_depth", options=tuple(range(1000))),
            Choices(key="pe.accumulator_banks", options=tuple(range(64, 1064))),
        ),
        constraints=(Expression("pe.accumulator_banks > 65"),),
    )
    began = time.process_time()
    states = []
    table = run(path, plan(space=space, budget=3), report=states.append)
    assert time.process_time() - began < 10
    assert len(table) == 6
    assert states[-1].total is None
    assert list(table["pe.accumulator_banks"].unique()) == [66, 67, 68]


def test_a_stopped_worker_beside_a_killed_one_hangs_nobody(path, tmp_path, monkeypatch):
    """One worker is stopped, the other killed: the points run again, the parent ends."""
    monkeypatch.setenv("STOPPED", str(tmp_path / "stopped"))
    table = run(path, plan(), workers=2, evaluate=stopping_metrics)
    assert list(table["status"]) == ["done"] * 12


def test_a_search_needs_a_budget_and_a_sweep_a_trace():
    with pytest.raises(SpaceError, match="needs a --budget"):
        plan(search="random")
    with pytest.raises(SpaceError, match="at least one trace"):
        plan(workloads=())


def start(path: Path, workers: int = 1) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("fake_points.py")
    return subprocess.Popen([sys.executable, str(script), str(path), str(workers)])


def test_kill_9_loses_nothing_and_repeats_only_what_was_in_flight(tmp_path, log, survived):
    """Two hundred points, killed at random moments; then the last start may finish."""
    path = tmp_path / "killed.sqlite"
    moments = random.Random(5)
    for kill in range(KILLS):
        process = start(path, workers=1 + kill % 2)
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0.1, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = run(path, large_plan(), evaluate=logged_metrics)
    # Orphaned workers of killed sweeps end by themselves; their log lines are all there by now.
    counts = Counter(log.read_text().split())
    pd.testing.assert_frame_equal(killed, run(tmp_path / "whole.sqlite", large_plan()))
    connection = sqlite3.connect(path)
    claims = connection.execute("SELECT sum(runs - 1) FROM points").fetchone()[0]
    connection.close()
    assert len(counts) == 200
    assert sum(counts.values()) - 200 <= claims <= 3 * KILLS
    survived("kills", "SIGKILL of a sweep of 200 points", went_on_to_the_same_table=KILLS)


def test_two_processes_in_one_store_share_the_work(tmp_path, log):
    path = tmp_path / "shared.sqlite"
    both = [start(path), start(path)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    counts = Counter(log.read_text().split())
    assert len(counts) == 200
    assert set(counts.values()) == {1}
    pd.testing.assert_frame_equal(sweep_table(path), run(tmp_path / "whole.sqlite", large_plan()))
