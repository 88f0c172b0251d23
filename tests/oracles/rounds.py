"""When each round of a schedule begins and ends, without events: times grow until they fit.

For a machine whose memory never limits. Every rule says that something happens no earlier than
something else, plus a duration; the smallest times that meet all rules are what happens. A network
that limits serves what has been asked for in order; who asks first depends on the times, so both
are worked out in turn until neither changes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from gscn_sim.schedule.model import Schedule

Asked = defaultdict[tuple[object, ...], int]


@dataclass
class Rules:
    """Policies that the order of events depends on."""

    rounds_ahead: int
    accumulator_sets: int
    staging_rounds: int
    meets: bool
    serial_exchange: bool
    round_latency: int = 0
    dispatch_latency: int = 0


@dataclass
class Times:
    """Cycles in all, and for each PE number busy, operand, output and imbalance cycles."""

    cycles: int
    pes: dict[int, tuple[int, int, int, int]]


def settle(schedule: Schedule, rules: Rules, rate: int = 0) -> Times:
    """Times that meet all rules on a network of ``rate`` bytes a cycle (0: no limit)."""
    network: dict[tuple[object, ...], tuple[int, int]] = {}
    while True:
        t = meet_rules(schedule, rules, network)
        again = serve(schedule, t, rate)
        if again == network or not rate:
            return account(schedule, t)
        network = again


def serve(schedule: Schedule, t: Asked, rate: int) -> dict[tuple[object, ...], tuple[int, int]]:
    """First and last cycle of every transfer, in the order in which they are asked for.

    In the same cycle: fills that need no room, streams, fills for which room was made.
    """
    sizes = {("fill", i): size for i, size in enumerate(schedule.fill_bytes.tolist())}
    order: list[tuple[tuple[int, ...], tuple[object, ...]]] = []
    for i, owner in enumerate(schedule.fill_owner.tolist()):
        asked = t["asked", "fill", i]
        order.append(((asked, 2 * t["waits", i], owner, i), ("fill", i)))
    for g, gang in enumerate(schedule.gangs):
        for r, size in enumerate(gang.stream_bytes.tolist()):
            sizes["stream", g, r] = size
            order.append(((t["asked", "stream", g, r], 1, g, r), ("stream", g, r)))
    free = Fraction(0)
    found = {}
    for (asked, *_), what in sorted(order):
        if not sizes[what] or not rate:
            found[what] = (asked, asked)
            continue
        begin = max(free, Fraction(asked))
        free = begin + Fraction(sizes[what], rate)
        found[what] = (floor(begin), ceil(free))
    return found


def meet_rules(
    schedule: Schedule, rules: Rules, network: dict[tuple[object, ...], tuple[int, int]]
) -> Asked:
    """Raise times until all rules hold, given when the network delivers what."""
    t: Asked = defaultdict(int)
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
            at_least(("asked", "fill", fill), latest[owner], *rooms)
            at_least(("waits", fill), int(bool(rooms)))
            latest[owner] = t["asked", "fill", fill]
            asked = t["asked", "fill", fill]
            first, last = network.get(("fill", fill), (asked, asked))
            at_least(("arriving", fill), first)
            at_least(("filled", fill), last)
        for g, gang in enumerate(schedule.gangs):
            for r in range(gang.rounds):
                before, ahead = ("started", g, r - 1), ("started", g, r - rules.rounds_ahead)
                at_least(("buffered", g, r), t["buffered", g, r - 1], t[ahead])
                now = ("started", g, r)
                stream = ("asked", "stream", g, r)
                at_least(stream, t["buffered", g, r], t[before if rules.rounds_ahead else now])
                _, last = network.get(("stream", g, r), (0, t[stream]))
                at_least(("streamed", g, r), t["streamed", g, r - 1], last)
                filled = t["filled", int(gang.fill[r])]
                arriving = t["arriving", int(gang.fill[r])]
                for i in range(len(gang.pes)):
                    ready = max(t["end", g, i, r - 1], arriving) + rules.round_latency
                    at_least(("ready", g, i, r), ready)
                    at_least(
                        ("start", g, i, r),
                        t["ready", g, i, r],
                        t["drained", g, i, r - rules.accumulator_sets],
                        t["written", g, r - rules.accumulator_sets - rules.staging_rounds],
                    )
                    at_least(("started", g, r), t["start", g, i, r] + rules.dispatch_latency)
                    step = int(gang.lockstep_cycles[r])
                    work = step if step >= 0 else int(gang.busy_cycles[i, r])
                    at_least(("computed", g, i, r), t["start", g, i, r] + work)
                    at_least(
                        ("finish", g, i, r), t["computed", g, i, r], filled, t["streamed", g, r]
                    )
                    at_least(("met", g, i, r), t["finish", g, i, r])
                    if rules.meets:
                        everyone = [t["finish", g, j, r] for j in range(len(gang.pes))]
                        at_least(("met", g, i, r), max(everyone) + rules.dispatch_latency)
                    exchange, drain = int(gang.exchange_cycles[r]), int(gang.drain_cycles[r])
                    serial = exchange if rules.serial_exchange else 0
                    at_least(("end", g, i, r), t["met", g, i, r] + serial)
                    begin = max(t["drained", g, i, r - 1], t["end", g, i, r])
                    at_least(("drained", g, i, r), begin + drain + exchange - serial)
                    at_least(("written", g, r), t["drained", g, i, r], t["written", g, r - 1])
    return t


def account(schedule: Schedule, t: Asked) -> Times:
    """The cycles in all, and where those of each PE went."""
    cycles = max((cycle for (what, *_), cycle in t.items() if what != "waits"), default=0)
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
