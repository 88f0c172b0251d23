"""Cost of a sweep: its own machinery, real points with a warm cache, two workers, a large store.

Run with ``make bench``. Sizes are reduced; ``GSCN_SIM_BENCH=full`` runs the thousand points and the
hundred thousand rows. The figures under ``extra_info`` come with the machine's load, as wall times
on a shared machine say little.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from gscn_sim.sweep import Choices, Evaluation, Setting, Space, SweepPlan, Workload, run_sweep
from gscn_sim.sweep import sweep_table as table_of
from gscn_sim.sweep.integrity import POINT_CELLS, member_digest, point_digest, sum_of
from gscn_sim.sweep.points import Point
from gscn_sim.sweep.schedulers import Processes
from gscn_sim.sweep.schema import METRICS
from gscn_sim.sweep.space import Params
from gscn_sim.sweep.table import finished

TRACE = Path(__file__).parents[1] / "workloads" / "data" / "resnet34_q10.npz"
FULL = os.environ.get("GSCN_SIM_BENCH") == "full"
POINTS = 1000 if FULL else 10
FREE_POINTS = 1000
ROWS = 100_000 if FULL else 5_000
SETTING = Setting(phases=("dgrad", "wgrad"), gpu="gtx-1080ti", gpu_model="analytical")
# 1,200 designs; the last axes vary fastest.
REALISTIC = Space(
    axes=(
        Choices(key="array.pe_rows", options=(14, 7)),
        Choices(key="pe.accumulator_banks", options=(32, 64)),
        Choices(key="pe.bank_queue_depth", options=(4, 8, 16)),
        Choices(key="pe.stationary_buffer_bytes", options=(8192, 16384)),
        Choices(key="buffer.size_bytes", options=(1 << 20, 1 << 21, 1 << 22, 1 << 23, 1 << 24)),
        Choices(key="array.clock_ghz", options=(0.8, 1.0, 1.2, 1.4, 1.582)),
        Choices(key="dram.preset", options=("gddr5x-484", "hbm2")),
    )
)


def free(point: Point) -> dict[str, float | str]:
    """A point that costs nothing: what is left is the sweep's own work."""
    return {**dict.fromkeys(METRICS, 1.0), "scope": "backward", "limited_by": "imbalance"}


def numbered(count: int) -> SweepPlan:
    """Points that differ in one number."""
    depths = Choices(key="pe.bank_queue_depth", options=tuple(range(count)))
    workload = Workload(path="none.npz", network="none", digest="none", batch_size=1)
    return SweepPlan(space=Space(axes=(depths,)), workloads=[workload], setting=SETTING)


def spread(count: int) -> Iterator[Params]:
    """``count`` designs spread evenly over the realistic space, in its order."""
    step = max(1, REALISTIC.grid_size() // count)
    return islice(REALISTIC.grid(), 0, count * step, step)


def cpu_seconds() -> float:
    """CPU of this process and of children that have ended."""
    spent = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def test_machinery_of_a_point(tmp_path: Path, benchmark: Any) -> None:
    """Claiming, storing and reporting a point whose evaluation is free, and looking one up."""
    plan = numbered(FREE_POINTS)
    began = cpu_seconds()
    benchmark.pedantic(run_sweep, (plan, tmp_path / "s"), {"evaluate": free}, rounds=1)
    spent, wall = cpu_seconds() - began, benchmark.stats.stats.mean
    benchmark.extra_info["cpu_ms_a_point"] = round(1e3 * spent / FREE_POINTS, 2)
    benchmark.extra_info["wall_ms_a_point"] = round(1e3 * wall / FREE_POINTS, 2)
    began = time.perf_counter()
    run_sweep(plan, tmp_path / "s", evaluate=free)
    looked_up = 1e3 * (time.perf_counter() - began) / FREE_POINTS
    benchmark.extra_info["wall_ms_a_known_point"] = round(looked_up, 2)


def test_points_of_resnet34(tmp_path: Path, benchmark: Any) -> None:
    """Designs that differ in DRAM, clock, buffers, queues, banks and grid, one after the other."""
    evaluation = Evaluation(cache=str(tmp_path / "cache"))
    workload = Workload.load(str(TRACE))
    points = [
        Point(
            position=position,
            params=params,
            config=REALISTIC.design(params),
            workload=workload,
            setting=SETTING,
        )
        for position, params in enumerate(spread(POINTS))
    ]
    evaluation(points[0])
    began = cpu_seconds()
    benchmark.pedantic(lambda: [evaluation(point) for point in points], rounds=1)
    benchmark.extra_info["cpu_seconds_a_point"] = round((cpu_seconds() - began) / POINTS, 3)
    benchmark.extra_info["load"] = os.getloadavg()[0]


def test_two_workers(tmp_path: Path, benchmark: Any) -> None:
    """The same sweep with one worker process and with two, a warm cache beside both."""
    depths = tuple(range(1, 201 if FULL else 11))
    space = Space(axes=(Choices(key="buffer.rounds_ahead", options=depths),))
    plan = SweepPlan(space=space, workloads=[Workload.load(str(TRACE))], setting=SETTING)
    evaluation = Evaluation(cache=str(tmp_path / "cache"))
    run_sweep(plan, tmp_path / "warm", evaluate=evaluation, workers=1)
    walls = {}
    for workers in (1, 2):
        began = time.perf_counter()
        with Processes(evaluation, workers) as scheduler:
            run_sweep(plan, tmp_path / f"{workers}", scheduler=scheduler)
        walls[workers] = time.perf_counter() - began
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info["speedup_from_1_to_2"] = round(walls[1] / walls[2], 2)
    benchmark.extra_info["load"] = os.getloadavg()[0]


def filled(path: Path, copies: int) -> None:
    """A store of a thousand points, and ``copies`` more of each put in by hand."""
    run_sweep(numbered(FREE_POINTS), path, evaluate=free)
    connection = sqlite3.connect(path)
    names = [row[1] for row in connection.execute("PRAGMA table_info(points)")]
    kept = ", ".join(name for name in names if name not in ("id", "key"))
    for copy in range(1, copies + 1):
        connection.execute(
            f"INSERT INTO points (key, {kept}) SELECT key || '-{copy}', {kept} FROM points "
            f"WHERE id <= {FREE_POINTS}"
        )
        connection.execute(
            f"INSERT INTO members SELECT sweep, position + {copy * FREE_POINTS}, "
            f"point + {copy * FREE_POINTS}, params, '' FROM members WHERE position < {FREE_POINTS}"
        )
    cells = ", ".join(POINT_CELLS)
    for number, *row in connection.execute(f"SELECT id, {cells} FROM points").fetchall():
        connection.execute("UPDATE points SET digest = ? WHERE id = ?", (point_digest(row), number))
    places = connection.execute(
        "SELECT sweep, position, key, code, params FROM members JOIN points ON id = point"
    ).fetchall()
    digests = [member_digest(*place) for place in places]
    connection.executemany(
        "UPDATE members SET digest = ? WHERE sweep = ? AND position = ?",
        [(digest, *place[:2]) for digest, place in zip(digests, places, strict=True)],
    )
    connection.execute(
        "UPDATE sweeps SET places = ?, digests = ?", (len(digests), sum_of(*digests))
    )
    connection.commit()
    connection.close()


def test_a_large_store_opens_and_filters(tmp_path: Path, benchmark: Any) -> None:
    """Reading all rows of a store into a table and selecting some of them."""
    filled(tmp_path / "s", ROWS // FREE_POINTS - 1)

    def read() -> int:
        return len(finished(table_of(tmp_path / "s"), "`pe.bank_queue_depth` < 10"))

    began = cpu_seconds()
    assert benchmark.pedantic(read, rounds=3) == 10 * ROWS // FREE_POINTS
    benchmark.extra_info["rows"] = ROWS
    benchmark.extra_info["cpu_seconds"] = round((cpu_seconds() - began) / 3, 3)
