"""The multiplier array and its bank queues, one clock cycle after the other."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Step:
    """Vectors that meet in one cycle: banks of the useful products, and how many pairs there are.

    ``real_pairs`` leaves out those with a placeholder.
    """

    banks: list[int] = field(default_factory=list)
    pairs: int = 0
    real_pairs: int = 0


@dataclass
class Wait:
    """Start of a stationary vector (cycles 0), or its end, at least so many cycles later."""

    cycles: int


@dataclass
class Outcome:
    """Cycles to the last retired product, and when each mark passed."""

    cycles: int = 0
    marks: list[int] = field(default_factory=list)
    scan_cycles: int = 0
    steps: int = 0


def run_queues(program: list[object], banks: int, depth: int) -> Outcome:
    """Execute steps; ``None`` in the program marks the cycle at which the next step may issue.

    Every cycle: if no product of the step before is still held, the next step's products appear at
    the crossbar. Each bank then retires one product (from its queue, or past an empty queue one
    that is held for it), and held products move into its queue while there is room.
    """
    queue = [0] * banks
    held = [0] * banks
    out = Outcome()
    cycle = 0
    vector_began = 0

    def tick() -> None:
        nonlocal cycle
        for b in range(banks):
            if queue[b] > 0:
                queue[b] -= 1
            elif held[b] > 0:
                held[b] -= 1
            while held[b] > 0 and queue[b] < depth:
                held[b] -= 1
                queue[b] += 1
        cycle += 1

    for item in program:
        if item is None:
            out.marks.append(cycle)
        elif isinstance(item, Wait):
            if item.cycles == 0:
                vector_began = cycle
            while cycle < vector_began + item.cycles:
                tick()
                out.scan_cycles += 1
        else:
            assert isinstance(item, Step)
            for b in item.banks:
                held[b] += 1
            out.steps += 1
            tick()
            while any(held):
                tick()
    while any(queue):
        tick()
    out.cycles = cycle
    return out
