"""When each round of a schedule begins and ends, without events: times grow until they fit.

For a machine whose memory and network never limit. Every rule says that something happens no
earlier than something else, plus a duration; the smallest times that meet all rules are what
happens.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from gscn_sim.schedule.model import Schedule


@dataclass
class Rules:
    """Policies that the order of events depends on."""

    rounds_ahead: int
    accumulator_sets: int
    staging_rounds: int
    meets: bool
    serial_exchange: bool


@dataclass
class Times:
    """Cycles in all, and for each PE number busy, operand, output and imbalance cycles."""

    cycles: int
    pes: dict[int, tuple[int, int, int, int]]


def settle(schedule: Schedule, rules: Rules) -> Times:
    """Raise times until all rules hold."""
    t: defaultdict[tuple[object, ...], int] = defaultdict(int)
    changed = True

    def at_least(key: tuple[object, ...], *bounds: int) -> None:
        nonlocal changed
        value = max(bounds)
        if value > t[key]:
            t[key] = value
            changed = True

    first_use = []  # of each gang: fill -> its first round, in order of use
    for gang in schedule.gangs:
        order: dict[int, int] = {}
        for r, fill in enumerate(gang.fill.tolist()):
            order.setdefault(fill, r)
        first_use.append(order)
    held = schedule.fills_held
    while changed:
        changed = False
        latest: dict[int, int] = defaultdict(int)
        for fill, owner in enumerate(schedule.fill_owner.tolist()):
            rooms = []
            for g, order in enumerate(first_use):
                if fill in order:
                    place, rounds = list(order).index(fill), list(order.values())
                    if place >= max(held, 1) and held > 1:  # an older one is done with
                        rooms.append(t["started", g, rounds[place - held + 1]])
                    elif place >= 1 and held == 1:  # the one before is in its last round
                        rooms.append(t["started", g, rounds[place] - 1])
            at_least(("filled", fill), latest[owner], *rooms)
            latest[owner] = t["filled", fill]
        for g, gang in enumerate(schedule.gangs):
            for r in range(gang.rounds):
                before, ahead = ("started", g, r - 1), ("started", g, r - rules.rounds_ahead)
                at_least(("buffered", g, r), t["buffered", g, r - 1], t[ahead])
                at_least(
                    ("streamed", g, r), t["streamed", g, r - 1], t[before], t["buffered", g, r]
                )
                filled = t["filled", int(gang.fill[r])]
                for i in range(len(gang.pes)):
                    at_least(("ready", g, i, r), t["end", g, i, r - 1], filled)
                    at_least(
                        ("start", g, i, r),
                        t["ready", g, i, r],
                        t["drained", g, i, r - rules.accumulator_sets],
                        t["written", g, r - rules.accumulator_sets - rules.staging_rounds],
                    )
                    at_least(("started", g, r), t["start", g, i, r])
                    step = int(gang.lockstep_cycles[r])
                    work = step if step >= 0 else int(gang.busy_cycles[i, r])
                    at_least(("computed", g, i, r), t["start", g, i, r] + work)
                    at_least(
                        ("finish", g, i, r), t["computed", g, i, r], filled, t["streamed", g, r]
                    )
                    at_least(("met", g, i, r), t["finish", g, i, r])
                    if rules.meets:
                        everyone = [t["finish", g, j, r] for j in range(len(gang.pes))]
                        at_least(("met", g, i, r), *everyone)
                    exchange, drain = int(gang.exchange_cycles[r]), int(gang.drain_cycles[r])
                    serial = exchange if rules.serial_exchange else 0
                    at_least(("end", g, i, r), t["met", g, i, r] + serial)
                    begin = max(t["drained", g, i, r - 1], t["end", g, i, r])
                    at_least(("drained", g, i, r), begin + drain + exchange - serial)
                    at_least(("written", g, r), t["drained", g, i, r], t["written", g, r - 1])
    cycles = max(t.values(), default=0)
    ends = [
        t["end", g, i, gang.rounds - 1]
        for g, gang in enumerate(schedule.gangs)
        for i in range(len(gang.pes))
    ]
    computed = max(ends, default=0)
    pes = {}
    for g, gang in enumerate(schedule.gangs):
        for i, number in enumerate(gang.pes.tolist()):
            busy = int(gang.busy_cycles[i].sum())
            operand = output = imbalance = 0
            for r in range(gang.rounds):
                at = {
                    name: t[name, g, i, r]
                    for name in ("ready", "start", "computed", "finish", "met", "end")
                }
                operand += at["ready"] - t["end", g, i, r - 1]
                operand += at["finish"] - at["computed"]
                output += at["start"] - at["ready"] + at["end"] - at["met"]
                imbalance += at["met"] - at["finish"]
                imbalance += at["computed"] - at["start"] - int(gang.busy_cycles[i, r])
            imbalance += computed - t["end", g, i, gang.rounds - 1]
            pes[number] = (busy, operand, output + cycles - computed, imbalance)
    return Times(cycles=cycles, pes=pes)
