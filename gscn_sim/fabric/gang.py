"""A gang: the PEs that share one stream of operands, and the cycles by which they keep together."""

from __future__ import annotations

import simpy

from gscn_sim.fabric.component import Calendar, Component
from gscn_sim.schedule.model import Gang


class GangState(Component):
    """What happens to each round of a gang, and when.

    started: every PE has begun the round (decided as it happens). buffering, buffered: the first
    and the last byte of the streamed operand are in the global buffer. streamed: it has arrived at
    the PEs. written: the round's outputs are in DRAM. ``sending_cycle``: when the last stream asked
    for can begin to travel.
    """

    def __init__(self, env: simpy.Environment, gang: Gang, number: int) -> None:
        super().__init__(env, f"gang[{number}]")
        self.gang = gang
        self.started = Calendar(env)
        self.buffering = Calendar(env)
        self.buffered = Calendar(env)
        self.streamed = Calendar(env)
        self.written = Calendar(env)
        self.sending_cycle = 0
        self.fill_order: dict[int, int] = {}
        self.first_round: list[int] = []  # of each fill, in order of use
        for r, fill in enumerate(gang.fill.tolist()):
            if fill not in self.fill_order:
                self.fill_order[fill] = len(self.first_round)
                self.first_round.append(r)
