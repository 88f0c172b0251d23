"""A gang: the PEs that share one stream of operands, and the events by which they keep together."""

from __future__ import annotations

import simpy

from gscn_sim.fabric.component import Component
from gscn_sim.schedule import Gang


class GangState(Component):
    """Events of each round of a gang; the value of each is the cycle at which it happened.

    started: every PE has begun the round. buffered: the streamed operand is on its way to the
    global buffer (there at ``buffered_cycle``). streamed: it has arrived at the PEs. drained: every
    PE is done with the round, and the last accumulators are post-processed at ``drained_cycle``.
    written: the round's outputs are in DRAM.
    """

    def __init__(self, env: simpy.Environment, gang: Gang, number: int) -> None:
        super().__init__(env, f"gang[{number}]")
        self.gang = gang
        rounds = range(gang.rounds)
        self.started = [env.event() for _ in rounds]
        self.buffered = [env.event() for _ in rounds]
        self.streamed = [env.event() for _ in rounds]
        self.drained = [env.event() for _ in rounds]
        self.written = [env.event() for _ in rounds]
        self.drained_cycle = [0] * gang.rounds
        self.buffered_cycle = [0] * gang.rounds
        self.fill_order: dict[int, int] = {}
        self.first_round: list[int] = []  # of each fill, in order of use
        for r, fill in enumerate(gang.fill.tolist()):
            if fill not in self.fill_order:
                self.fill_order[fill] = len(self.first_round)
                self.first_round.append(r)
