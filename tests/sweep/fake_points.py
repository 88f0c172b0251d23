"""A sweep without a simulator: metrics that a formula gives, and a process to kill."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path

from gscn_sim.sweep import Choices, Point, Setting, Space, SweepPlan, Workload, run_sweep
from gscn_sim.sweep.schema import METRICS
from workloads import GscnError

SETTING = Setting(phases=("dgrad", "wgrad"), gpu="gtx-1080ti", gpu_model="roofline")
WORKLOADS = (
    Workload(path="a.npz", network="a", digest="aa", batch_size=16),
    Workload(path="b.npz", network="b", digest="bb", batch_size=16),
)


def fake_metrics(point: Point) -> dict[str, float | str]:
    """More banks and a faster clock are faster; banks cost area, clock costs energy."""
    assert point.config is not None
    banks, clock = point.config.pe.accumulator_banks, point.config.array.clock_ghz
    if banks == 48:
        raise GscnError("48 banks\nfit no tile")
    if banks == 56:
        raise ZeroDivisionError("56")
    if banks == 40:
        os._exit(9)  # as the kernel kills a process that takes too much memory
    values = dict.fromkeys(METRICS, 1.0)
    values["speedup"] = math.log2(banks) * clock * (2 if point.workload.network == "b" else 1)
    values["energy_j"] = clock**2
    values["area_mm2"] = float(banks)
    return {**values, "scope": "backward", "limited_by": "imbalance"}


def logged_metrics(point: Point) -> dict[str, float | str]:
    """Say in a file which point runs, take some time, then answer."""
    with open(os.environ["POINTS_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{point.key}\n")
    time.sleep(0.01)
    return fake_metrics(point)


def stopping_metrics(point: Point) -> dict[str, float | str]:
    """The first point to come stops its worker, the second kills its own."""
    for name, number in (("STOPPED", signal.SIGSTOP), ("STOPPED", signal.SIGKILL)):
        mark = Path(f"{os.environ[name]}-{number.name}")
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), number)
    return fake_metrics(point)


def plan(banks: tuple[int, ...] = (16, 32, 64), clocks: tuple[float, ...] = (0.8, 1.0), **changes):
    """A grid over banks and clocks on both workloads."""
    space = Space(
        axes=(
            Choices(key="pe.accumulator_banks", options=banks),
            Choices(key="array.clock_ghz", options=clocks),
        )
    )
    return SweepPlan(**{"space": space, "workloads": WORKLOADS, "setting": SETTING, **changes})


def large_plan() -> SweepPlan:
    """Two hundred points that all end well."""
    return plan(banks=tuple(range(64, 114, 2)), clocks=(0.5, 0.7, 0.9, 1.1))


def medium_plan() -> SweepPlan:
    """A hundred and twenty points, which are read in less time than two hundred."""
    return plan(banks=tuple(range(64, 94, 2)), clocks=(0.5, 0.7, 0.9, 1.1))


if __name__ == "__main__":
    run_sweep(
        large_plan(),
        Path(sys.argv[1]),
        workers=int(sys.argv[2]),
        evaluate=logged_metrics,
        code="fake",
    )
