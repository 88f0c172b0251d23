"""The machine: builds the components, runs a schedule to its end, collects the counters."""

from __future__ import annotations

from dataclasses import dataclass

import simpy

from gscn_sim.config import Config
from gscn_sim.errors import DeadlockError
from gscn_sim.fabric.buffer import GlobalBuffer
from gscn_sim.fabric.component import Probe
from gscn_sim.fabric.drain import Drain
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.gang import GangState
from gscn_sim.fabric.network import BroadcastNetwork
from gscn_sim.fabric.pe import ProcessingElements
from gscn_sim.problem.geometry import Ints
from gscn_sim.schedule.model import Schedule


@dataclass(frozen=True, kw_only=True)
class FabricResult:
    """What a schedule took: cycles in all, and per PE (those without work included).

    For each PE busy + operand_wait + output_wait + imbalance = cycles.
    """

    cycles: int
    busy: tuple[int, ...]
    operand_wait: tuple[int, ...]
    output_wait: tuple[int, ...]
    imbalance: tuple[int, ...]
    dram_read_bytes: int
    dram_write_bytes: int
    buffer_read_bytes: int
    buffer_write_bytes: int
    network_bytes: int


def run_fabric(schedule: Schedule, config: Config, timeline: Probe | None = None) -> FabricResult:
    """Execute a schedule.

    Raises:
        DeadlockError: some component waits forever; the message names it.
    """
    env = simpy.Environment()
    dram = Dram(env, config, timeline=timeline)
    network = BroadcastNetwork(env, config.network.operand_bytes_per_cycle)
    gangs = [GangState(env, gang, i) for i, gang in enumerate(schedule.gangs)]
    buffer = GlobalBuffer(env, schedule, dram, network, gangs)
    drains = [Drain(env, state, dram, timeline) for state in gangs]
    dram.lay_out({drain.path: sum(drain.sizes_bytes) for drain in drains})
    pes = [
        ProcessingElements(env, state, buffer, drain, config, timeline)
        for state, drain in zip(gangs, drains, strict=True)
    ]
    run_to_end(
        env,
        {
            **{pe.path: pe.process for pe in pes},
            **{f"{buffer.path}.process[{i}]": p for i, p in enumerate(buffer.processes)},
        },
    )
    ends = _per_pe([pe.end for pe in pes])
    computed = max(ends)
    cycles = max(computed, dram.finish(), *(drain.end for drain in drains))
    tail = cycles - computed
    unused = config.num_pes - len(ends)
    output_wait = _per_pe([pe.output_wait + tail for pe in pes])
    imbalance = _per_pe([pe.imbalance + computed - pe.end for pe in pes])
    return FabricResult(
        cycles=cycles,
        busy=(*_per_pe([pe.busy for pe in pes]), *[0] * unused),
        operand_wait=(*_per_pe([pe.operand_wait for pe in pes]), *[0] * unused),
        output_wait=(*output_wait, *[tail] * unused),
        imbalance=(*imbalance, *[computed] * unused),
        dram_read_bytes=dram.counters["read_bytes"],
        dram_write_bytes=dram.counters["write_bytes"],
        buffer_read_bytes=buffer.counters["read_bytes"],
        buffer_write_bytes=buffer.counters["write_bytes"],
        network_bytes=network.counters["bytes"],
    )


def _per_pe(of_gangs: list[Ints]) -> list[int]:
    return [cycles for gang in of_gangs for cycles in gang.tolist()]


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
