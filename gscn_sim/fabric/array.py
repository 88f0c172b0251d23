"""One schedule on the PE array: its gangs, its part of the global buffer, its drains."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import simpy

from gscn_sim.config import Config
from gscn_sim.fabric.buffer import GlobalBuffer
from gscn_sim.fabric.component import Component, Probe
from gscn_sim.fabric.drain import Drain
from gscn_sim.fabric.gang import GangState
from gscn_sim.fabric.memory_port import MemoryPort
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


class ArrayRun(Component):
    """A schedule on the array, on a memory and a network that others may use too.

    Its operands and results have their places in memory from the beginning; PEs and fills begin
    with :meth:`start`.
    """

    def __init__(
        self,
        schedule: Schedule,
        config: Config,
        memory: MemoryPort,
        network: BroadcastNetwork,
        timeline: Probe | None = None,
    ) -> None:
        super().__init__(memory.env, memory.path)
        self.schedule = schedule
        self.memory = memory
        self.start_cycle = -1
        self._config = config
        self._timeline = timeline
        self._gangs = [GangState(self.env, gang, i) for i, gang in enumerate(schedule.gangs)]
        self.buffer = GlobalBuffer(self.env, schedule, memory, network, self._gangs)
        self._drains = [Drain(self.env, state, memory, timeline) for state in self._gangs]
        memory.lay_out({drain.path: sum(drain.sizes_bytes) for drain in self._drains})
        self._pes: list[ProcessingElements] = []

    @property
    def started(self) -> bool:
        """Whether the PEs have it."""
        return self.start_cycle >= 0

    def start(self) -> None:
        """Give it to the PEs, now."""
        self.start_cycle = int(self.env.now)
        self.buffer.start()
        self._pes = [
            ProcessingElements(self.env, state, self.buffer, drain, self._config, self._timeline)
            for state, drain in zip(self._gangs, self._drains, strict=True)
        ]

    @property
    def processes(self) -> dict[str, simpy.Process]:
        """Its processes by path, for whoever looks for those that wait forever."""
        prefix = f"{self.path}." if self.path else ""
        fills = enumerate(self.buffer.processes)
        return {
            **{f"{prefix}{pe.path}": pe.process for pe in self._pes},
            **{f"{prefix}{self.buffer.path}.process[{i}]": process for i, process in fills},
        }

    def last_write(self) -> Generator[simpy.Event]:
        """Sleep until the last result has been handed to the memory."""
        for state in self._gangs:
            yield from state.written.cycle_of(state.gang.rounds - 1)

    @property
    def end_cycle(self) -> int:
        """When PEs and drains were done with what they were asked for so far."""
        return max(*(int(pe.end.max()) for pe in self._pes), *(drain.end for drain in self._drains))

    def result(self, end_cycle: int) -> FabricResult:
        """What it took up to ``end_cycle``; PEs wait for their results to be written till then."""
        ends = _per_pe([pe.end for pe in self._pes])
        computed = max(ends)
        tail = end_cycle - computed
        unused = self._config.num_pes - len(ends)
        output_wait = _per_pe([pe.output_wait + tail for pe in self._pes])
        imbalance = _per_pe([pe.imbalance + computed - pe.end for pe in self._pes])
        return FabricResult(
            cycles=end_cycle - self.start_cycle,
            busy=(*_per_pe([pe.busy for pe in self._pes]), *[0] * unused),
            operand_wait=(*_per_pe([pe.operand_wait for pe in self._pes]), *[0] * unused),
            output_wait=(*output_wait, *[tail] * unused),
            imbalance=(*imbalance, *[computed - self.start_cycle] * unused),
            dram_read_bytes=self.memory.counters["read_bytes"],
            dram_write_bytes=self.memory.counters["write_bytes"],
            buffer_read_bytes=self.buffer.counters["read_bytes"],
            buffer_write_bytes=self.buffer.counters["write_bytes"],
            network_bytes=self.buffer.counters["sent_bytes"],
        )


def _per_pe(of_gangs: list[Ints]) -> list[int]:
    return [cycles for gang in of_gangs for cycles in gang.tolist()]
