"""Damaged, hostile and read-only stores: nothing wrong is believed, what is whole stays usable."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_points import fake_metrics, large_plan, medium_plan, plan

from gscn_sim.sweep import point_config, run_sweep, sweep_table
from gscn_sim.sweep.errors import StoreError
from gscn_sim.sweep.integrity import POINT_CELLS, member_digest, point_digest, sum_of
from gscn_sim.sweep.table import point_configs
from workloads import GscnError
from workloads.errors import GscnWarning

DAMAGES = int(os.environ.get("DAMAGES", "60"))
ROOT = Path(__file__).resolve().parents[2]


def run(path: Path, made, **options) -> tuple[pd.DataFrame, list[str]]:
    said: list[str] = []
    number = run_sweep(
        made,
        path,
        **{
            "evaluate": fake_metrics,
            "code": "fake",
            "report": lambda state: said.append(state.message),
            **options,
        },
    )
    return sweep_table(path, number), [text for text in said if "runs again" in text]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[bytes, pd.DataFrame]:
    path = tmp_path_factory.mktemp("whole") / "s.sqlite"
    table, said = run(path, large_plan())
    assert not said
    return path.read_bytes(), table


@pytest.fixture(scope="module")
def medium(tmp_path_factory) -> tuple[bytes, pd.DataFrame]:
    path = tmp_path_factory.mktemp("medium") / "s.sqlite"
    table, said = run(path, medium_plan())
    assert not said
    return path.read_bytes(), table


def read(path: Path) -> tuple[pd.DataFrame, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return sweep_table(path), [str(w.message) for w in caught]


def spoiled(content: bytes, number: int, random: np.random.Generator) -> bytes:
    """One fault: a bit, some bytes, a stretch of zeros, a stretch moved, a page lost, a cut."""
    damaged = bytearray(content)
    start = int(random.integers(len(damaged)))
    match number % 6:
        case 0 | 1:
            damaged[start] ^= 1 << int(random.integers(8))
        case 2:
            damaged[start : start + 8] = random.bytes(len(damaged[start : start + 8]))
        case 3:
            damaged[start : start + 64] = bytes(len(damaged[start : start + 64]))
        case 4:
            other = int(random.integers(len(damaged) - 64))
            length = len(damaged[start : start + 64])
            damaged[start : start + length] = content[other : other + length]
        case 5 if number % 12 == 5:
            page = start // 4096 * 4096
            damaged[page : page + 4096] = bytes(4096)
        case 5:
            del damaged[start:]
    return bytes(damaged)


def check_line(text: str) -> None:
    assert text.isprintable()


def is_part_of(found: pd.DataFrame, wanted: pd.DataFrame) -> bool:
    rows = wanted.set_index(["sweep", "point"])
    return found.empty or found.set_index(["sweep", "point"]).equals(
        rows.loc[found.set_index(["sweep", "point"]).index]
    )


def test_no_damage_is_believed(tmp_path, medium, survived):
    """Each read gives the whole table, or a part of it and a warning, or one line of error."""
    content, table = medium
    random = np.random.default_rng(4)
    tally = {"whole": 0, "part": 0, "refused": 0}
    for number in range(DAMAGES):
        path = tmp_path / f"{number}.sqlite"
        path.write_bytes(spoiled(content, number, random))
        try:
            found, said = read(path)
        except StoreError as error:
            check_line(str(error))
            tally["refused"] += 1
        else:
            assert is_part_of(found, table), number
            complete = len(found) == len(table)
            assert complete or said, f"{number}: {len(found)} rows, and nothing said"
            assert all(text.isprintable() for text in said)
            tally["whole" if complete else "part"] += 1
        path.unlink()
    survived(
        "damage",
        "store of a sweep, read",
        whole_table=tally["whole"],
        part_and_a_warning=tally["part"],
        refused=tally["refused"],
    )
    assert tally["part"] > DAMAGES // 20, tally
    assert tally["refused"] <= max(DAMAGES // 50, 3), tally


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_of_a_store_cut_off_the_beginning_stays(tmp_path, whole, keep):
    content, table = whole
    path = tmp_path / "s.sqlite"
    path.write_bytes(content[: int(keep * len(content))])
    found, said = read(path)
    assert is_part_of(found, table)
    assert len(said) == 1 or len(found) == len(table)
    assert len(found) > (keep - 0.25) * len(table)


@pytest.mark.parametrize("place", [*range(0, 100, 7), 105, 110, 1000, 3000, 4000])
def test_a_damaged_first_page_costs_nothing(tmp_path, whole, place):
    """It says where the tables are, which is the same in every store."""
    content, table = whole
    path = tmp_path / "s.sqlite"
    path.write_bytes(content[:place] + b"\xa5" * 16 + content[place + 16 :])
    found, _ = read(path)
    pd.testing.assert_frame_equal(found, table)


def test_a_resumed_sweep_mends_the_damage(tmp_path, whole, survived):
    """The table in the end is that of an undamaged sweep, or the store is refused in one line."""
    content, table = whole
    random = np.random.default_rng(5)
    mended = refused = 0
    tried = max(DAMAGES // 25, 12)
    for number in range(tried):
        path = tmp_path / f"{number}" / "s.sqlite"
        path.parent.mkdir()
        path.write_bytes(spoiled(content, number, random))
        try:
            found, said = run(path, large_plan())
        except StoreError as error:
            check_line(str(error))
            refused += 1
            continue
        found["sweep"] = 1  # a damaged description makes it another sweep
        pd.testing.assert_frame_equal(found, table)
        mended += bool(said)
    survived("damage", "store of a sweep, resumed", the_same_table=tried - refused, refused=refused)
    assert mended


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.fixture
def small(tmp_path) -> Path:
    path = tmp_path / "s.sqlite"
    run(path, plan())
    return path


@pytest.mark.parametrize(
    ("change_to", "left"),
    [
        ("UPDATE points SET speedup = speedup + 1e-12 WHERE id = 3", 11),
        ("UPDATE points SET speedup = 'fast' WHERE id = 3", 11),
        ("UPDATE points SET speedup = NULL WHERE id = 3", 11),
        ("UPDATE points SET network = x'ff' WHERE id = 3", 11),
        ("UPDATE points SET network = cast(x'ff' AS TEXT) WHERE id = 3", 11),
        ("UPDATE points SET status = 'running' WHERE id = 3", 11),
        ("UPDATE points SET config_digest = NULL WHERE id = 3", 11),
        ("UPDATE points SET key = 'x' WHERE id = 3", 11),
        ("DELETE FROM points WHERE id = 3", 11),
        ("DELETE FROM members WHERE position = 3", 11),
        ("UPDATE members SET position = 99 WHERE position = 3", 11),
        ("UPDATE members SET point = 4 WHERE position = 2", 11),
        ("UPDATE members SET params = '[' WHERE position = 3", 11),
        ("DELETE FROM sweeps", 12),
        ("UPDATE sweeps SET digests = 'zz'", 12),
        ("UPDATE sweeps SET places = 'many'", 12),
    ],
)
def test_a_changed_row_is_left_out_and_runs_again(small, change_to, left):
    before = sweep_table(small)
    change(small, change_to)
    with pytest.warns(GscnWarning, match=r"rows of the store: .* left out here"):
        found = sweep_table(small)
    assert len(found) == left
    assert is_part_of(found, before)
    after, said = run(small, plan())
    assert len(said) == 1
    pd.testing.assert_frame_equal(after, before)
    assert run(small, plan())[1] == []


def forged(path: Path, **cells: object) -> None:
    """Change a row and its digest with it, as one who means it would."""
    connection = sqlite3.connect(path)
    for name, value in cells.items():
        table = "members" if name == "params" else "points"
        connection.execute(f"UPDATE {table} SET {name} = ?", (value,))
    names = ", ".join(POINT_CELLS)
    for number, *row in connection.execute(f"SELECT id, {names} FROM points").fetchall():
        connection.execute("UPDATE points SET digest = ? WHERE id = ?", (point_digest(row), number))
    found = connection.execute(
        "SELECT sweep, position, key, code, params FROM members JOIN points ON id = point"
    ).fetchall()
    digests = [member_digest(*row) for row in found]
    for row, digest in zip(found, digests, strict=True):
        connection.execute("UPDATE members SET digest = ? WHERE position = ?", (digest, row[1]))
    connection.execute("UPDATE sweeps SET digests = ?", (sum_of(*digests),))
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "cells",
    [
        {"speedup": "fast"},
        {"params": "not json"},
        {"params": "[1]"},
        {"params": '{"speedup": 1}'},
        {"params": '{"x": {}}'},
        {"params": '{"x": null}'},
        {"params": f'{{"x": {10**30}}}'},
        {"params": "[" * 100_000},
        {"network": b"\xff\xfe"},
    ],
)
def test_forged_rows_are_left_out(small, cells, survived):
    forged(small, **cells)
    with pytest.warns(GscnWarning, match="12 damaged"):
        assert len(sweep_table(small)) == 0
    survived("hostile", "rows of a store with digests to match", left_out=1)


@pytest.mark.parametrize(
    "text", ["{", "[1]", '"x"', "", '{"pe.accumulator_banks": 9}', "[" * 90_000]
)
def test_a_broken_configuration_is_one_line(small, text):
    connection = sqlite3.connect(small)
    connection.execute("UPDATE configs SET json = ?", (text,))
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="the configuration of point 0 is damaged"):
        point_config(small, 0)
    assert point_configs(small) == {}
    change(small, "DELETE FROM configs")
    with pytest.raises(StoreError, match="no point 0 with a configuration"):
        point_config(small, 0)


ENDLESS = "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n FROM r) SELECT n FROM r"


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (
            ("ALTER TABLE points RENAME TO p", f"CREATE VIEW points AS {ENDLESS}"),
            "no store of sweeps",
        ),
        (("DROP TABLE points",), "no store of sweeps"),
        (("DELETE FROM meta",), "version unknown"),
        (("UPDATE meta SET value = x'00'",), "version"),
    ],
)
def test_other_databases_are_refused(small, statements, message, survived):
    change(small, *statements)
    for use in (sweep_table, lambda path: run(path, plan())):
        with pytest.raises(StoreError, match=message):
            use(small)
    survived("hostile", "databases in a store's place", refused=1)


def test_a_trigger_does_not_run(small):
    """Other tables than ours, or more: only what is data is taken over."""
    before = sweep_table(small)
    change(
        small,
        "CREATE TRIGGER t AFTER UPDATE ON points BEGIN DELETE FROM members; END",
    )
    pd.testing.assert_frame_equal(sweep_table(small), before)
    after, said = run(small, plan(banks=(16, 32, 64, 128)))
    assert "is kept as s.sqlite.damaged-" in said[0]
    assert len(after) == 16


def test_pipes_and_folders_are_no_stores(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null"), tmp_path):
        with pytest.raises(GscnError):
            run(path, plan())
        with pytest.raises(StoreError, match="no such store"):
            sweep_table(path)


SCRIPT = """
import os, sys
from click.testing import CliRunner
from gscn_sim.cli import main
def all_of_them():
    for words in (["best"], ["export", "--format", "csv"], ["pareto"], ["sensitivity"]):
        ran = CliRunner().invoke(main, ["sweep", words[0], sys.argv[1], *words[1:]])
        assert ran.exit_code == 0, (words, ran.output, ran.exception)
all_of_them()  # loads what others may not read
os.setgroups([]); os.setgid(65534); os.setuid(65534)
all_of_them()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("wal", [False, True])
def test_a_read_only_store_answers(tmp_path, wal):
    """Somebody who may only read: folder and file, also beside a writer that is at work."""
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    path = tmp_path / "sweep.sqlite"
    run(path, plan())
    holder = sqlite3.connect(path)
    if wal:
        holder.execute("UPDATE sweeps SET command = 'x'")
        holder.commit()
        assert Path(f"{path}-wal").stat().st_size
        for end in ("-wal", "-shm"):
            Path(f"{path}{end}").chmod(0o644)
    else:
        holder.close()
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    holder.close()
    assert ran.returncode == 0, ran.stderr
