"""Speed of the simulator: kernels against DNNsim's, whole commands, growth with work.

Run with ``make bench``. Nothing here fails because it is slow: read the table, and the figures that
pytest-benchmark's ``--benchmark-json`` keeps under ``extra_info``.
"""

from __future__ import annotations

import csv
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gscn_sim import load_config, simulate
from gscn_sim.config.view import view
from gscn_sim.dataflows.base import PeTiming
from gscn_sim.mapping.deal import deal_order
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.run.pipeline import costs_later, plan_phase
from workloads import LayerShape, Phase, Trace, layer_from_arrays, load, save

ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "data" / "dnnsim_scnn"
with (CASES / "cycles.csv").open(encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))
DNNSIM_PER_SECOND = (15e6, 85e6)  # useful products, slowest and fastest of these layers
PHASES = "dgrad,wgrad,pre_dgrad,pre_wgrad"


def unpack(masks: Any, operand: str) -> np.ndarray:
    shape = tuple(masks[f"{operand}_shape"].tolist())
    return np.unpackbits(masks[f"{operand}_bits"], count=int(np.prod(shape))).reshape(shape)


@pytest.mark.benchmark(timer=time.process_time)  # wall time on a shared machine says little
@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['masks']}-{r['accumulator_entries']}")
def test_products_a_second(row: dict[str, str], benchmark: Any) -> None:
    """One core, kernels only, on the layers whose cycles are checked against DNNsim."""
    with np.load(CASES / row["masks"]) as masks:
        activation, weight = unpack(masks, "activation"), unpack(masks, "weight")
    shape = LayerShape(
        C=activation.shape[1],
        H=activation.shape[2],
        W=activation.shape[3],
        K=weight.shape[0],
        R=weight.shape[2],
        S=weight.shape[3],
        stride=(int(row["stride"]), int(row["stride"])),
        padding=(int(row["pad"]), int(row["pad"])),
        groups=int(row["groups"]),
    )
    layer = layer_from_arrays("layer", activation=activation, weight=weight, shape=shape)
    config = load_config("dnnsim-scnn", {"pe.accumulator_entries": int(row["accumulator_entries"])})
    problem = make_problem(shape, Phase.FORWARD, 1)
    operands = make_operands(layer, problem)
    plan = plan_phase(layer, problem, operands, config)
    order = deal_order(plan, operands, config.policy.load_balance)
    costs = costs_later(plan, operands, order, view(PeTiming, config))
    benchmark.pedantic(costs.result, rounds=5, warmup_rounds=1)
    products = int(row["useful_products"])
    per_second = products / benchmark.stats.stats.min
    slowest, fastest = DNNSIM_PER_SECOND
    benchmark.extra_info["products_per_second"] = round(per_second)
    benchmark.extra_info["times_dnnsim_fastest"] = round(per_second / fastest, 2)
    benchmark.extra_info["times_dnnsim_slowest"] = round(per_second / slowest, 2)


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("preset", ["gscn-ideal", "gscn"])
@pytest.mark.parametrize("phase", ["dgrad", "wgrad", "pre_dgrad", "pre_wgrad"])
def test_what_rules_cost_the_simulator(phase: str, preset: str, benchmark: Any) -> None:
    """Kernels of a layer of VGG-16 on the ideal and on the buildable machine."""
    layer = load(ROOT / "workloads" / "data" / "vgg16_q10.npz").layers[4]
    config = load_config(preset)
    problem = make_problem(layer.shape, Phase(phase), 16)
    operands = make_operands(layer, problem)
    plan = plan_phase(layer, problem, operands, config)
    order = deal_order(plan, operands, config.policy.load_balance)
    costs = costs_later(plan, operands, order, view(PeTiming, config))
    benchmark.pedantic(costs.result, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("cache", ["off", "costs known", "run known"])
@pytest.mark.parametrize("network", ["resnet8_digits", "resnet34_q10", "vgg16_q10"])
def test_whole_command(network: str, cache: str, tmp_path: Path, benchmark: Any) -> None:
    """``gscn-sim run`` as a process of its own: wall and CPU seconds, memory, SimPy's share.

    With ``costs known`` every run has another clock, so that kernels are looked up and the fabric
    runs; with ``run known`` the same command was given before.
    """
    where = "off" if cache == "off" else str(tmp_path / "cache")
    command = [sys.executable, "-c", "from gscn_sim.cli import main; main()", "run"]
    command += ["--cache", where, "--phase", PHASES]
    command.append(str(ROOT / "workloads" / "data" / f"{network}.npz"))

    cpu_seconds: list[float] = []

    def run() -> str:
        clock = 1.582 + (cache == "costs known") * len(cpu_seconds) / 1000
        given = [*command, "--set", f"array.clock_ghz={clock}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(given, capture_output=True, text=True, check=True, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return done.stderr

    stderr = benchmark.pedantic(run, rounds=2, warmup_rounds=1)
    share = re.search(r"SimPy took (\d+)%", stderr)
    assert (share is None) == (cache == "run known"), stderr
    benchmark.extra_info["simpy_percent"] = int(share[1]) if share else 0
    benchmark.extra_info["cpu_seconds"] = round(min(cpu_seconds[1:]), 2)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    benchmark.extra_info["peak_kbytes_so_far"] = peak


def toy_trace(layers: int, side: int) -> Trace:
    rng = np.random.default_rng(0)
    made = [
        layer_from_arrays(
            f"conv{i}",
            activation=rng.random((1, 32, side, side)) < 0.5,
            gradient=rng.random((1, 32, side, side)) < 0.1,
            weight=np.ones((32, 32, 3, 3)),
            padding=(1, 1),
        )
        for i in range(layers)
    ]
    return Trace(network="toy", batch_size=4, layers=made)


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("side", [28, 56, 112])
def test_time_grows_with_products(side: int, benchmark: Any) -> None:
    """Four times the products each: read ``products_per_second``."""
    trace, config = toy_trace(1, side), load_config()
    run = benchmark.pedantic(simulate, (trace, config), rounds=3, warmup_rounds=1)
    products = sum(record.useful_products for record in run.records)
    benchmark.extra_info["products_per_second"] = round(products / benchmark.stats.stats.min)


@pytest.mark.parametrize("layers", [4, 16, 64])
def test_memory_and_layers(layers: int, tmp_path: Path, benchmark: Any) -> None:
    """Peak memory of ``gscn-sim run`` on ever more layers of one size: read ``peak_mib``."""
    save(toy_trace(layers, 56), tmp_path / "trace.npz")
    command = [sys.executable, "-c", "from gscn_sim.cli import main; main()", "run", "--quiet"]
    command += ["--cache", "off", str(tmp_path / "trace.npz")]

    def run() -> int:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    benchmark.extra_info["peak_mib"] = round(benchmark.pedantic(run, rounds=1) / 1024)
