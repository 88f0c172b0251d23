"""The multiplier array and its bank queues, one clock cycle after the other."""

from __future__ import annotations

from dataclasses import dataclass, field

from oracles.crossbar import Bank


@dataclass
class Step:
    """Vectors that meet in one cycle: useful products, and how many pairs there are.

    Of each product its bank and, where the adder takes several cycles, its output.
    ``real_pairs`` leaves out those with a placeholder.
    """

    banks: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    pairs: int = 0
    real_pairs: int = 0


@dataclass
class Wait:
    """Start of a stationary vector (cycles 0), or its end, at least so many cycles later."""

    cycles: int


@dataclass
class Empty:
    """A pairing group without pairs, that is looked at."""


@dataclass
class Group:
    """Start of a pairing group with pairs, whose lists come in so many fragments."""

    fragments: int = 0


@dataclass
class Rules:
    """What takes time inside a PE; the defaults never do."""

    depth: int = 0
    ports: int = 0
    adder_stages: int = 1
    visits: int = 0
    bubble: int = 0
    gather: int = 0


@dataclass
class Outcome:
    """Cycles to the last retired product, and when each mark passed."""

    cycles: int = 0
    marks: list[int] = field(default_factory=list)
    wait_cycles: int = 0
    steps: int = 0


def run_queues(program: list[object], banks: int, rules: Rules) -> Outcome:
    """Execute steps; ``None`` in the program marks the cycle at which the next step may issue.

    Every cycle: if no product of the step before is still held, the next step's products appear at
    the crossbar. Each bank then retires one product (from its queue, or past an empty queue one
    that is held for it), and held products move into its queue while there is room and a port.
    """
    everything = [Bank() for _ in range(banks)]
    held: dict[int, list[int]] = {}
    out = Outcome()
    cycle = 0
    vector_began = group_began = 0
    empty = 0
    is_first = True

    def tick() -> None:
        nonlocal cycle
        for number, bank in enumerate(everything):
            offered = held.pop(number, [])
            if offered or bank.queue or bank.adding:
                ports = rules.ports or len(offered)
                taken = bank.cycle(offered, rules.depth, ports, rules.adder_stages)
                if offered[taken:]:
                    held[number] = offered[taken:]
        cycle += 1

    def wait_until(then: int) -> None:
        while cycle < then:
            tick()
            out.wait_cycles += 1

    for item in program:
        if item is None:
            out.marks.append(cycle)
        elif isinstance(item, Empty):
            if rules.visits and empty % rules.visits == 0:  # the first of so many that are seen
                wait_until(cycle + 1)
            empty += 1
        elif isinstance(item, Group):
            gathered = group_began  # it was read while the group before was computed
            left = item.fragments
            while rules.gather and left > 0:
                left -= rules.gather
                gathered += 1
            wait_until(max(gathered, cycle if is_first else cycle + rules.bubble))
            group_began = cycle
            empty, is_first = 0, False
        elif isinstance(item, Wait):
            if item.cycles == 0:
                vector_began = cycle
            wait_until(vector_began + item.cycles)
        else:
            assert isinstance(item, Step)
            for b, output in zip(item.banks, item.outputs or item.banks, strict=True):
                held.setdefault(b, []).append(output)
            out.steps += 1
            tick()
            while held:
                tick()
    while any(bank.queue or bank.adding for bank in everything):
        tick()
    out.cycles = cycle
    return out
