from __future__ import annotations

import sqlite3
import threading
import time

import pytest
from fake_points import SETTING, WORKLOADS

import gscn_sim.sweep.owners as owners
from gscn_sim.config import load_config
from gscn_sim.sweep import Point, point_config, sweep_table
from gscn_sim.sweep.errors import StoreError
from gscn_sim.sweep.schema import METRICS
from gscn_sim.sweep.store import Outcome, Store

DONE = Outcome(metrics={**dict.fromkeys(METRICS, 2.5), "scope": "backward", "limited_by": "dram"})
FAILED = Outcome(metrics=None, error="does not fit")


def point(banks: int = 16, position: int = 0) -> Point:
    return Point(
        position=position,
        params={"pe.accumulator_banks": banks},
        config=load_config("gscn-ideal", {"pe.accumulator_banks": banks}),
        workload=WORKLOADS[0],
        setting=SETTING,
    )


def store(tmp_path, code: str = "c0de") -> Store:
    return Store(tmp_path / "s.sqlite", code=code, versions={"gscn-sim": "1"})


def test_a_point_runs_once(tmp_path):
    with store(tmp_path) as first:
        sweep = first.sweep_id({"space": 1}, "command")
        assert first.claim(sweep, point()) == "mine"
        assert first.result(point()) is None
        first.finish(point(), DONE)
        assert first.claim(sweep, point()) == "finished"
    with store(tmp_path) as again:
        assert again.sweep_id({"space": 1}, "other command") == sweep
        assert again.claim(sweep, point()) == "finished"
        found = again.result(point())
        assert found is not None
        assert found["speedup"] == 2.5


def test_a_failure_is_a_row_and_is_retried_only_on_demand(tmp_path):
    with store(tmp_path) as first:
        sweep = first.sweep_id({}, None)
        first.claim(sweep, point())
        first.finish(point(), FAILED)
        assert first.claim(sweep, point()) == "finished"
        assert first.claim(sweep, point(), retry_failed=True) == "mine"
        first.finish(point(), DONE)
    row = sweep_table(tmp_path / "s.sqlite").iloc[0]
    assert row["status"] == "done"
    assert row["error"] is None or row["error"] != row["error"]


def test_two_at_once_share_the_work(tmp_path):
    with store(tmp_path) as first, store(tmp_path) as second:
        sweep = first.sweep_id({}, None)
        assert first.claim(sweep, point(16)) == "mine"
        assert second.claim(sweep, point(16)) == "other"
        assert second.claim(sweep, point(32, 1)) == "mine"
        first.finish(point(16), DONE)
        assert second.claim(sweep, point(16)) == "finished"


def test_the_claims_of_the_dead_are_free(tmp_path):
    with store(tmp_path) as first:
        sweep = first.sweep_id({}, None)
        first.claim(sweep, point())
        connection = sqlite3.connect(tmp_path / "s.sqlite")
        connection.execute("UPDATE owners SET pid = 4194305")  # above any Linux pid
        connection.commit()
        with store(tmp_path) as second:
            assert second.claim(sweep, point()) == "mine"
        connection.close()


def test_the_claims_of_one_that_leaves_are_free(tmp_path):
    with store(tmp_path) as first:
        sweep = first.sweep_id({}, None)
        first.claim(sweep, point())
    with store(tmp_path) as second:
        assert second.claim(sweep, point()) == "mine"


def test_another_process_of_the_same_number_is_not_the_owner(tmp_path):
    with store(tmp_path) as first:
        sweep = first.sweep_id({}, None)
        first.claim(sweep, point())
        connection = sqlite3.connect(tmp_path / "s.sqlite")
        with store(tmp_path) as second:
            assert second.claim(sweep, point()) == "other"
            connection.execute("UPDATE owners SET started = '1' WHERE id = ?", (first.owner,))
            connection.commit()
            assert second.claim(sweep, point()) == "mine"
        connection.close()


def test_a_silent_owner_elsewhere_counts_as_dead(tmp_path, monkeypatch):
    """By how long its count has stood still here, whatever any clock says."""
    now = [1000.0]
    monkeypatch.setattr(owners.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(owners.time, "time", lambda: pytest.fail("clocks are not compared"))
    with store(tmp_path) as first:
        sweep = first.sweep_id({}, None)
        first.claim(sweep, point())
        first.me.end()
        connection = sqlite3.connect(tmp_path / "s.sqlite")
        connection.execute("UPDATE owners SET host = 'elsewhere', pid = 1")
        connection.commit()
        with store(tmp_path) as second:
            second.me.end()
            assert second.claim(sweep, point()) == "other"
            now[0] += 15
            connection.execute("UPDATE owners SET beats = beats + 1 WHERE host = 'elsewhere'")
            connection.commit()
            assert second.claim(sweep, point()) == "other"
            now[0] += 15
            assert second.claim(sweep, point()) == "other"
            now[0] += 6
            assert second.claim(sweep, point()) == "mine"
        connection.close()


def test_changed_code_runs_again_and_is_noticed(tmp_path):
    with store(tmp_path, code="old") as old:
        sweep = old.sweep_id({}, None)
        old.claim(sweep, point())
        old.finish(point(), DONE)
        assert old.other_code(sweep) == []
    with store(tmp_path, code="new") as new:
        assert new.other_code(sweep) == ["old"]
        assert new.claim(sweep, point()) == "mine"
        new.finish(point(), FAILED)
    table = sweep_table(tmp_path / "s.sqlite")
    assert list(table["code"]) == ["new"]


def test_the_full_configuration_is_kept(tmp_path):
    with store(tmp_path) as first:
        sweep = first.sweep_id({}, None)
        first.claim(sweep, point(64))
        first.finish(point(64), DONE)
    config = point_config(tmp_path / "s.sqlite", 0)
    assert config["pe.accumulator_banks"] == 64
    assert config["name"] == "gscn-ideal"
    assert config["array.clock_ghz"] == 1.582
    with pytest.raises(StoreError, match="no point 5"):
        point_config(tmp_path / "s.sqlite", 5)


def test_many_writers_lose_nothing(tmp_path):
    counts = []

    def work() -> None:
        with store(tmp_path) as mine:
            sweep = mine.sweep_id({}, None)
            ran = 0
            for position in range(40):
                one = point(position + 1, position)
                if mine.claim(sweep, one) == "mine":
                    mine.finish(one, DONE)
                    ran += 1
            counts.append(ran)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 40
    table = sweep_table(tmp_path / "s.sqlite")
    assert list(table["point"]) == list(range(40))
    assert list(table["pe.accumulator_banks"]) == list(range(1, 41))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no database at all, but long enough to look at" * 30, "damaged or no store"),
        (None, "is an SQLite file, but no store of sweeps"),
    ],
)
def test_foreign_files_are_refused_and_kept(tmp_path, content, message):
    path = tmp_path / "s.sqlite"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message):
        store(tmp_path)
    with pytest.raises(StoreError, match=message):
        sweep_table(path)
    assert len(path.read_bytes()) == len(before)


def test_another_version_is_refused(tmp_path):
    with store(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / "s.sqlite")
    connection.execute("UPDATE meta SET value = '99'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="is a store of version 99; this program reads version 4"):
        store(tmp_path)


def test_a_store_cut_short_is_damaged(tmp_path):
    with store(tmp_path) as first:
        sweep = first.sweep_id({}, None)
        for position in range(30):
            first.claim(sweep, point(position + 1, position))
            first.finish(point(position + 1, position), DONE)
    path = tmp_path / "s.sqlite"
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(StoreError, match=r"s\.sqlite"):
        sweep_table(path)


def test_a_full_disk_is_one_line_and_keeps_what_was_finished(tmp_path):
    with store(tmp_path) as first:
        sweep = first.sweep_id({}, None)
        first.claim(sweep, point())
        first.finish(point(), DONE)
        pages = first.connection.execute("PRAGMA page_count").fetchone()[0]
        first.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="full; what was finished is kept"):  # noqa: PT012
            for position in range(1, 200):
                first.claim(sweep, point(position + 20, position))
        first.connection.execute("PRAGMA max_page_count = 1000000")
    assert sweep_table(tmp_path / "s.sqlite")["status"].iloc[0] == "done"


def test_no_store_and_no_such_sweep(tmp_path):
    with pytest.raises(StoreError, match="no such store"):
        sweep_table(tmp_path)
    with store(tmp_path):
        pass
    with pytest.raises(StoreError, match="no sweep 7; there are"):
        sweep_table(tmp_path / "s.sqlite", 7)


@pytest.mark.parametrize("jump", [-86_400, -3600, 86_400])
@pytest.mark.parametrize("place", ["here", "elsewhere"])
def test_no_jump_of_a_clock_makes_the_living_dead_or_the_dead_alive(
    tmp_path, monkeypatch, jump, place
):
    """Its heart beats by itself; the wall clock jumps while it lives and before it is dead."""
    now, wall = [1000.0], [time.time()]
    monkeypatch.setattr(owners.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(owners.time, "time", lambda: wall[0])
    monkeypatch.setattr(owners, "HEARTBEAT_SECONDS", 0.01)
    if place == "elsewhere":
        with monkeypatch.context() as patch:
            patch.setattr(owners, "this_machine", lambda: "elsewhere")
            first = store(tmp_path)
    else:
        first = store(tmp_path)
    beats = sqlite3.connect(tmp_path / "s.sqlite", timeout=30)

    def count() -> int:
        row = beats.execute("SELECT beats FROM owners WHERE id = ?", (first.owner,)).fetchone()
        return int(row[0])

    with first, store(tmp_path) as second:
        sweep = first.sweep_id({}, None)
        first.claim(sweep, point())
        for _ in range(3):
            assert second.claim(sweep, point()) == "other"
            before = count()
            while count() == before:
                first.me._stop.wait(0.005)
            wall[0] += jump
            now[0] += 15
        first.me.end()
        if place == "here":  # gone, and its number taken by another
            beats.execute("UPDATE owners SET started = '1' WHERE id = ?", (first.owner,))
            beats.commit()
        else:
            assert second.claim(sweep, point()) == "other"
            now[0] += owners.DEAD_AFTER_SECONDS + 1
        assert second.claim(sweep, point()) == "mine"
    beats.close()
