"""Crossbar and bank queues with few write ports and a slow adder, one clock cycle after another."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

Product = tuple[int, int]  # bank, address


@dataclass
class Bank:
    queue: list[int] = field(default_factory=list)  # addresses
    adding: dict[int, int] = field(default_factory=dict)  # address -> cycles in which it must wait

    def cycle(self, offered: list[int], depth: int, ports: int, adder_stages: int) -> int:
        """One clock cycle; how many of the offered products the bank takes."""
        head = [*self.queue, *offered][:1]
        retires = bool(head) and head[0] not in self.adding
        taken = max(0, min(ports, depth - len(self.queue) + retires, len(offered)))
        self.queue += offered[:taken]
        if retires:
            self.queue.pop(0)
        assert len(self.queue) <= depth
        self.adding = {address: left - 1 for address, left in self.adding.items() if left > 1}
        if retires and adder_stages > 1:
            self.adding[head[0]] = adder_stages - 1
        return taken


def crossbar_cycles(
    steps: list[list[Product]], banks: int, depth: int, ports: int, adder_stages: int
) -> tuple[int, list[int]]:
    """Cycles of all steps, and when each began."""
    all_banks = [Bank() for _ in range(banks)]
    waiting = deque(steps)
    held: list[Product] | None = None
    began: list[int] = []
    cycle = 0
    while True:
        if held is None and waiting:
            held = list(waiting.popleft())
            began.append(cycle)
        if held is None and not any(bank.queue or bank.adding for bank in all_banks):
            return cycle, began
        for number, bank in enumerate(all_banks):
            offered = [product for product in held or [] if product[0] == number]
            taken = bank.cycle([address for _, address in offered], depth, ports, adder_stages)
            for product in offered[:taken]:
                assert held is not None
                held.remove(product)
        if not held:
            held = None
        cycle += 1
