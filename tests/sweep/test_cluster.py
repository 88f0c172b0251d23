"""A Dask cluster on this machine: the same table, whatever happens to its workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from fake_points import fake_metrics, large_plan, logged_metrics, plan

import workloads
from gscn_sim.sweep import Choices, Evaluation, Setting, Space, SweepPlan, Workload, run_sweep
from gscn_sim.sweep import sweep_table as table_of
from gscn_sim.sweep.errors import ClusterError
from gscn_sim.sweep.schedulers import open_scheduler

dask = pytest.importorskip("dask", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def bounded_time():
    """A cluster that has lost all its workers waits for new ones; a test does not."""

    def too_long(*_: object) -> None:
        pytest.fail("the cluster did not answer")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    log = tmp_path_factory.mktemp("cluster") / "log"
    log.touch()
    os.environ["POINTS_LOG"] = str(log)
    with (
        # One death makes a point suspect: with the default of three this would take minutes.
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=str(log.parent),
            silence_logs=50,
        ) as made,
        distributed.Client(made, set_as_default=False) as client,  # as in a process of its own
    ):
        made.client = client
        made.log = log
        yield made
    del os.environ["POINTS_LOG"]


def swept(cluster, made: SweepPlan, path: Path, evaluate) -> pd.DataFrame:
    with open_scheduler(cluster.scheduler_address, evaluate, 1, made.workloads) as scheduler:
        number = run_sweep(made, path, scheduler=scheduler, code="fake")
    return table_of(path, number)


def test_a_worker_killed_in_the_middle_changes_nothing(cluster, tmp_path):
    """Two hundred points; after some of them one worker is killed, and another joins."""
    killed = threading.Event()

    def kill() -> None:
        while len(cluster.log.read_text().split()) < 20:
            time.sleep(0.01)
        victim = next(iter(cluster.client.run(os.getpid).values()))
        os.kill(victim, signal.SIGKILL)
        killed.set()

    killer = threading.Thread(target=kill)
    killer.start()
    found = swept(cluster, large_plan(), tmp_path / "cluster.sqlite", logged_metrics)
    killer.join()
    assert killed.is_set()
    run_sweep(large_plan(), tmp_path / "here.sqlite", evaluate=fake_metrics, code="fake")
    pd.testing.assert_frame_equal(found, table_of(tmp_path / "here.sqlite"))
    counts = Counter(cluster.log.read_text().split())
    assert len(counts) == 200
    assert sum(counts.values()) <= 200 + 3  # what was in flight ran again


def test_failed_points_are_rows(cluster, tmp_path):
    table = swept(cluster, plan(banks=(48, 64), clocks=(1.0,)), tmp_path / "f", fake_metrics)
    assert list(table["error"][:2]) == ["48 banks fit no tile"] * 2
    assert list(table["status"]) == ["failed"] * 2 + ["done"] * 2


def test_a_point_that_kills_every_worker_fails_alone(cluster, tmp_path):
    table = swept(cluster, plan(banks=(40, 64), clocks=(1.0,)), tmp_path / "k", fake_metrics)
    assert list(table["status"]) == ["failed"] * 2 + ["done"] * 2
    assert "workers of the cluster that ran it died" in table["error"].iloc[0]


def test_the_trace_travels_to_the_workers(cluster, tmp_path, digits_trace):
    """The simulator itself, and a trace that the workers would not find under its path."""
    here = tmp_path / "here.npz"
    here.write_bytes(digits_trace.read_bytes())
    trace = workloads.load(here)
    space = Space(
        axes=(Choices(key="array.clock_ghz", options=(0.5, 1.0)),),
        fixed={"array.pe_rows": 2, "array.pe_cols": 2},
    )
    made = SweepPlan(
        space=space,
        workloads=[Workload(path=str(here), network="resnet8", digest=trace.digest, batch_size=2)],
        setting=Setting(phases=("dgrad",), gpu="gtx-1080ti", gpu_model="roofline"),
    )
    evaluation = Evaluation(cache="off")
    with open_scheduler(cluster.scheduler_address, evaluation, 1, made.workloads) as scheduler:
        here.rename(tmp_path / "elsewhere.npz")
        run_sweep(made, tmp_path / "cluster.sqlite", scheduler=scheduler)
    found = table_of(tmp_path / "cluster.sqlite")
    (tmp_path / "elsewhere.npz").rename(here)
    run_sweep(made, tmp_path / "here.sqlite", evaluate=evaluation)
    pd.testing.assert_frame_equal(found, table_of(tmp_path / "here.sqlite"))
    assert set(found["status"]) == {"done"}


def test_nobody_answers_quickly():
    began = time.monotonic()
    with pytest.raises(
        ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"
    ) as e:
        open_scheduler("tcp://127.0.0.1:9", fake_metrics, 1, ())
    assert "\n" not in str(e.value)
    assert time.monotonic() - began < 30


def test_without_workers_it_says_so_and_waits(tmp_path, monkeypatch):
    """A scheduler alone, as on a cluster whose jobs are queued; a worker joins after the word."""
    from gscn_sim.sweep import cluster as clusters

    monkeypatch.setattr(clusters, "LOOK_SECONDS", 0.2)
    said = []
    made = plan(banks=(32, 64), clocks=(1.0,))
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as empty:

        def say(text: str) -> None:
            said.append(text)
            empty.scale(1)

        address = empty.scheduler_address
        with open_scheduler(address, fake_metrics, 1, made.workloads, say) as scheduler:
            number = run_sweep(made, tmp_path / "late", scheduler=scheduler, code="fake")
    assert said == [f"no worker at {address}: waiting for 'dask worker {address}'"]
    assert set(table_of(tmp_path / "late", number)["status"]) == {"done"}


def _another_version() -> None:
    from gscn_sim.sweep import cluster as clusters

    clusters.code_digest = lambda: "another"


def _this_version() -> None:
    from gscn_sim.results.provenance import code_digest
    from gscn_sim.sweep import cluster as clusters

    clusters.code_digest = code_digest


def test_a_worker_of_another_version_is_left_out(cluster, tmp_path):
    """It drains no points into failures: the other worker gets all of them."""
    cluster.client.wait_for_workers(2)
    stale = min(cluster.client.nthreads())
    cluster.client.run(_another_version, workers=[stale])
    said: list[str] = []
    made = plan(banks=tuple(range(64, 84)), clocks=(0.8, 1.0))
    try:
        address = cluster.scheduler_address
        with open_scheduler(address, fake_metrics, 1, made.workloads, said.append) as scheduler:
            number = run_sweep(made, tmp_path / "s", scheduler=scheduler, code="fake")
        assert list(table_of(tmp_path / "s", number)["status"]) == ["done"] * 80
        assert said == [f"worker {stale} has another version of the simulator: left out"]
        cluster.client.run(_another_version)
        with (
            open_scheduler(address, fake_metrics, 1, made.workloads, said.append) as scheduler,
            pytest.raises(ClusterError, match="every worker has another version"),
        ):
            run_sweep(plan(banks=(16,)), tmp_path / "t", scheduler=scheduler, code="fake")
    finally:
        cluster.client.run(_this_version)


def test_a_scheduler_that_dies_is_one_line(tmp_path, monkeypatch):
    """Killed in the middle, as a process of its own; what was finished is kept."""
    log = tmp_path / "log"
    log.touch()
    monkeypatch.setenv("POINTS_LOG", str(log))
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).resolve().parents[2])])
    environment = {**os.environ, "PYTHONPATH": paths}
    file = tmp_path / "address.json"
    common = ("--scheduler-file", str(file), "--dashboard-address", "127.0.0.1:0")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    dask_command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    worker_command = [sys.executable, "-m", "distributed.cli.dask_worker"]
    processes = [
        subprocess.Popen([*dask_command, "--host", "127.0.0.1", "--port", "0", *common], **quiet),
        subprocess.Popen(
            [*worker_command, "--nthreads", "1", "--no-nanny", *common, "--death-timeout", "5"],
            **quiet,
        ),
    ]
    try:
        while not file.exists():
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]

        def kill() -> None:
            while len(log.read_text().split()) < 5:
                time.sleep(0.01)
            processes[0].kill()

        killer = threading.Thread(target=kill)
        killer.start()
        made = large_plan()
        with (
            open_scheduler(address, logged_metrics, 1, made.workloads) as scheduler,
            pytest.raises(ClusterError, match="the scheduler is gone; what was finished is kept"),
        ):
            run_sweep(made, tmp_path / "s", scheduler=scheduler, code="fake")
        killer.join()
        assert len(table_of(tmp_path / "s")) >= 1
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_tls_without_certificates_is_one_line(monkeypatch, tmp_path):
    with pytest.raises(ClusterError, match=r"needs certificates: set distributed\.comm\.tls\.ca"):
        open_scheduler("tls://127.0.0.1:9", fake_metrics, 1, [])
    with (
        dask.config.set(
            {
                "distributed.comm.tls.ca-file": str(tmp_path / "none.pem"),
                "distributed.comm.tls.client.cert": str(tmp_path / "none.pem"),
            }
        ),
        pytest.raises(ClusterError, match="certificates cannot be read"),
    ):
        open_scheduler("tls://127.0.0.1:9", fake_metrics, 1, [])
