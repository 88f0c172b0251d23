"""A whole step beside the run of its layers, as a ratio of CPU time: ``make bench``.

Both warm: kernels compiled, their results in the cache. Asked for: at most twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gscn_sim
import workloads

TRACE = Path(workloads.__file__).parent / "data" / "resnet34_q10.npz"
PHASES = ("forward", "dgrad", "wgrad", "pre_dgrad", "pre_wgrad")
ROUNDS = 5


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_a_step_and_its_layers(benchmark: Any, tmp_path: Path) -> None:
    """The least of some rounds of each, in turn: what load adds, it adds to both."""
    trace, config = workloads.load(TRACE), gscn_sim.load_config()
    cache = gscn_sim.open_cache(str(tmp_path))

    def layers() -> object:
        return gscn_sim.simulate(trace, config, PHASES, gpu=None, batch_size=16, cache=cache)

    def step() -> object:
        return gscn_sim.simulate_step(trace, config, gpu=None, batch_size=16, cache=cache)

    layers()
    step()
    rounds = [(cpu_seconds(layers), cpu_seconds(step)) for _ in range(ROUNDS)]
    benchmark.pedantic(step, rounds=1)
    of_layers, of_step = (min(times) for times in zip(*rounds, strict=True))
    benchmark.extra_info |= {
        "layers_cpu_seconds": of_layers,
        "step_cpu_seconds": of_step,
        "ratio": of_step / of_layers,
    }
    print(f"layers {of_layers:.2f} s, step {of_step:.2f} s of CPU: {of_step / of_layers:.2f}x")
