"""GSCN beside a GPU: what crosses the link, by hand, and that both work at the same time."""

from __future__ import annotations

import math

import pytest
from test_step_run import MACHINE, N, small_step, trace

import gscn_sim
from gscn_sim.step.coprocessor import BACK, GPU, GSCN, THERE, beside_gpu, is_ours
from workloads import Trace
from workloads.step import Operation

__all__ = ["trace"]

ELEMENTS = N * 4 * 6 * 6
WEIGHTS = 4 * 4 * 3 * 3


def test_what_crosses_the_link_by_hand() -> None:
    """G, A and W there, dense, G once though two phases read it; nothing here reads dA or dW."""
    operations = small_step().operations
    ours = {3: 100.0, 4: 200.0}
    assert [i for i, o in enumerate(operations) if is_ours(o)] == list(ours)
    found = beside_gpu(operations, ours, {0: 1e-6, 1: 1e-6, 2: 1e-6}, clock_ghz=1.0, link_gbps=4.0)
    assert found.link_bytes == {THERE: 4 * (2 * ELEMENTS + WEIGHTS), BACK: 0}
    crossing = [math.ceil(size * 4 / 4.0) for size in (ELEMENTS, WEIGHTS, ELEMENTS)]
    assert found.busy_cycles == {GPU: 3000, GSCN: 300, THERE: sum(crossing), BACK: 0}
    # All of it was there before the step: it crosses while the GPU is at the forward pass.
    dgrad, wgrad = (task for task in found.tasks if task.unit == GSCN)
    assert dgrad.start_cycle == 3000
    assert (wgrad.start_cycle, wgrad.end_cycle, found.cycles) == (3100, 3300, 3300)
    assert found.critical_path_cycles == 3200
    assert sum(task.share_cycles for task in found.tasks) == pytest.approx(3300)


def test_results_go_back_where_the_gpu_reads_them() -> None:
    step = small_step()
    dw = step.operations[4].outputs[0]
    update = Operation(
        phase="optimizer",
        kind="optimizer",
        name="sgd",
        inputs=(dw,),
        outputs=(dw,),
        depends_on=(4,),
    )
    operations = (*step.operations, update)
    seconds = dict.fromkeys((0, 1, 2, 6), 1e-6)
    found = beside_gpu(operations, {3: 100.0, 4: 200.0}, seconds, clock_ghz=1.0, link_gbps=4.0)
    assert found.link_bytes[BACK] == 4 * WEIGHTS
    assert found.cycles == 3000 + 300 + WEIGHTS + 1000


def test_a_faster_link_is_never_slower_and_tables_add_up(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn", MACHINE)
    runs = [
        gscn_sim.simulate_step(trace, config, deploy="coprocessor", link_gbps=gbps)
        for gbps in (0.01, 1.0, 64.0)
    ]
    seconds = [run.seconds("gscn") for run in runs]
    assert seconds == sorted(seconds, reverse=True)
    for run in runs:
        assert run.beside is not None
        cycle_s = 1e-9 / config.array.clock_ghz
        assert run.seconds("gscn") == pytest.approx(run.beside.cycles * cycle_s)
        assert max(run.bounds_seconds.values()) <= run.seconds("gscn") * (1 + 1e-12)
        assert run.seconds("gscn") <= sum(run.beside.busy_cycles.values()) * cycle_s
        table = run.resources.set_index("resource")
        assert table.sum(axis=1).to_numpy() == pytest.approx(run.seconds("gscn"))
        assert set(run.table["limited_by"]) <= {"GPU", "gscn", THERE, BACK, "-"}
