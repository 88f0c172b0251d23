"""A gang: the PEs that share one stream of operands, and the events by which they keep together."""

from __future__ import annotations

import simpy

from gscn_sim.fabric.component import Component
from gscn_sim.schedule import Gang


class GangState(Component):
    """Events of each round of a gang.

    started: every PE has begun the round. finished: every PE has computed it. buffered: the
    streamed operand is on its way to the global buffer (there at ``buffered_cycle``).
    streamed: it has arrived at the PEs. drained: every PE's accumulators are post-processed.
    written: the round's outputs are in DRAM.
    """

    def __init__(self, env: simpy.Environment, gang: Gang, number: int) -> None:
        super().__init__(env, f"gang[{number}]")
        self.gang = gang
        rounds = range(gang.rounds)
        self.started = [env.event() for _ in rounds]
        self.finished = [env.event() for _ in rounds]
        self.buffered = [env.event() for _ in rounds]
        self.streamed = [env.event() for _ in rounds]
        self.drained = [env.event() for _ in rounds]
        self.written = [env.event() for _ in rounds]
        self._missing_start = [len(gang.pes)] * gang.rounds
        self._missing_finish = [len(gang.pes)] * gang.rounds
        self._missing_drain = [len(gang.pes)] * gang.rounds
        self.drained_cycle = [0] * gang.rounds
        self.buffered_cycle = [0] * gang.rounds
        self.fill_order: dict[int, int] = {}
        self.first_round: list[int] = []  # of each fill, in order of use
        for r, fill in enumerate(gang.fill.tolist()):
            if fill not in self.fill_order:
                self.fill_order[fill] = len(self.first_round)
                self.first_round.append(r)

    def start(self, r: int) -> None:
        """A PE begins round ``r``."""
        self._missing_start[r] -= 1
        if self._missing_start[r] == 0:
            self.started[r].succeed()

    def finish(self, r: int) -> None:
        """A PE has computed round ``r``."""
        self._missing_finish[r] -= 1
        if self._missing_finish[r] == 0:
            self.finished[r].succeed()

    def drain(self, r: int, cycle: int) -> None:
        """A PE's accumulators of round ``r`` will be post-processed at ``cycle``."""
        self.drained_cycle[r] = max(self.drained_cycle[r], cycle)
        self._missing_drain[r] -= 1
        if self._missing_drain[r] == 0:
            self.drained[r].succeed()
