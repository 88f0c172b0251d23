"""Products of steps through a crossbar to bank queues that hardware can have: the rule, exactly.

``rtl/`` has the same in hardware, equal to the cycle (``tests/rtl``). The kernels of the dataflows
follow it too (:mod:`gscn_sim.kernels.queues`), or its ideal case, any number of ports and one adder
stage.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.compiled import njit

_LONG_AGO = -(1 << 60)


@njit(cache=True, nogil=True)
def run_crossbar(step_ptr, banks, addresses, num_banks, entries, depth, ports, adder_stages, began):
    """Cycles from the first step to the last sum; ``began``, out: the cycle of each step.

    A step's products are offered to their banks, lowest first, from the cycle on in which it
    begins. Each cycle a bank retires the product at the head of its queue (or, past an empty queue,
    the first one offered), unless that one's sum was added to less than ``adder_stages`` cycles
    ago; and it takes up to ``ports`` of those offered, as far as at most ``depth`` wait then. The
    next step begins in the cycle after the last product of this one was taken.

    Args:
        step_ptr: [steps + 1] bounds of each step's products.
        banks, addresses: of each product, in the order of the multipliers.
        entries: partial sums of a bank, above all addresses.
    """
    taken = np.full((num_banks, ports), _LONG_AGO, np.int64)  # when the latest products were
    retired = np.full((num_banks, max(depth, 1)), _LONG_AGO, np.int64)
    count = np.zeros(num_banks, np.int64)
    added = np.full((num_banks, entries), _LONG_AGO, np.int64)
    last = np.full(num_banks, _LONG_AGO, np.int64)
    now, end = 0, 0
    for step in range(len(step_ptr) - 1):
        began[step] = now
        after = now + 1
        for product in range(step_ptr[step], step_ptr[step + 1]):
            bank, address = banks[product], addresses[product]
            number = count[bank]
            take = max(now, taken[bank, number % ports] + 1)
            if depth > 0:
                take = max(take, retired[bank, number % depth])
            retire = max(take, last[bank] + 1, added[bank, address] + adder_stages)
            if depth == 0:
                take = retire
            taken[bank, number % ports] = take
            retired[bank, number % retired.shape[1]] = retire
            count[bank] = number + 1
            added[bank, address] = last[bank] = retire
            after = max(after, take + 1)
            end = max(end, retire + adder_stages)
        now = after
    return max(now, end)
