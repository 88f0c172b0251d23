"""The machine with one schedule to execute: builds it, runs to the end, collects the counters."""

from __future__ import annotations

import simpy

from gscn_sim.config import Config
from gscn_sim.errors import DeadlockError
from gscn_sim.fabric.array import ArrayRun, FabricResult
from gscn_sim.fabric.component import Probe
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.memory_port import MemoryPort
from gscn_sim.fabric.network import BroadcastNetwork
from gscn_sim.schedule.model import Schedule

__all__ = ["FabricResult", "run_fabric", "run_to_end"]


def run_fabric(schedule: Schedule, config: Config, timeline: Probe | None = None) -> FabricResult:
    """Execute a schedule.

    Raises:
        DeadlockError: some component waits forever; the message names it.
    """
    env = simpy.Environment()
    dram = Dram(env, config, timeline=timeline)
    network = BroadcastNetwork(env, config.network.operand_bytes_per_cycle)
    run = ArrayRun(schedule, config, MemoryPort(dram), network, timeline)
    run.start()
    run_to_end(env, run.processes)
    return run.result(max(run.end_cycle, dram.finish()))


def run_to_end(env: simpy.Environment, processes: dict[str, simpy.Process]) -> None:
    """Run until every named process has ended.

    SimPy returns normally when nothing is left to happen, even if a process still waits.

    Raises:
        DeadlockError: naming the processes that wait forever.
    """
    env.run()
    waiting = [path for path, process in processes.items() if process.is_alive]
    if waiting:
        shown = ", ".join(waiting[:5]) + (" ..." if len(waiting) > 5 else "")
        raise DeadlockError(f"cycle {env.now}: waiting forever: {shown}")
