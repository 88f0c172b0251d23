"""Bank queues that can be built: few write ports, and an adder of several stages.

The rule of :mod:`gscn_sim.kernels.crossbar`, for kernels that walk one step after another. A bank
takes up to ``ports`` products a cycle while at most ``depth`` wait, and retires one a cycle, in
order, unless its sum was added to less than ``stages`` cycles ago. The ports only decide when a
step is done: a product behind another retires no later for them.

What is known of the banks of an accumulator group:

- ``banks`` [3, banks]: ``FREE``, the first cycle in which a bank can retire; ``OFFERED``, ports *
  cycle + the products offered since the step of that cycle began; ``TAKEN``, products so far.
- ``recent`` [2, banks, places]: when the last products of each bank retired, and their outputs.
- ``ready`` [outputs]: the first cycle in which an output can be added to.

With an adder of one stage the latter two are not used, and short.
"""

from __future__ import annotations

from gscn_sim.kernels.compiled import njit

FREE, OFFERED, TAKEN = range(3)
LONG_AGO = -(1 << 60)


@njit(cache=True, nogil=True)
def places_of(depth, stages):
    """Places of ``recent``, a power of two: products that wait, and those inside the adder."""
    places = 1
    while stages > 1 and places < depth + stages:
        places *= 2
    return places


@njit(cache=True, nogil=True)
def take_product(bank, output, now, depth, ports, stages, banks, recent, ready):
    """Send one product of the step of cycle ``now`` to its bank.

    Returns:
        The first cycle in which at most ``depth`` products wait there, and ports * cycle + the
        products that the step has offered the bank so far (:func:`end_step`).
    """
    offered = max(banks[OFFERED, bank], now * ports) + 1
    banks[OFFERED, bank] = offered
    if stages == 1:
        free = max(banks[FREE, bank], now) + 1
        banks[FREE, bank] = free
        return free - depth, offered
    last = recent.shape[2] - 1
    retires = max(banks[FREE, bank], now, ready[output])
    banks[FREE, bank] = retires + 1
    ready[output] = retires + stages
    number = banks[TAKEN, bank]
    banks[TAKEN, bank] = number + 1
    recent[0, bank, number & last] = retires
    recent[1, bank, number & last] = output
    return recent[0, bank, (number - depth) & last] + 1, offered


@njit(cache=True, nogil=True)
def end_step(now, room, offered, ports):
    """When the next step can begin: one cycle later, when all banks have ``room``, and when the
    bank that was ``offered`` most has taken it through its ports."""
    after = max(now + 1, room)
    if offered > after * ports:  # rarely: a division takes longer than the rest
        after = (offered + ports - 1) // ports
    return after


@njit(cache=True, nogil=True)
def remember(banks, recent, now, stages, before):
    """Note in ``before`` [2, banks, places] all that the banks' future depends on."""
    last = recent.shape[2] - 1
    for bank in range(banks.shape[1]):
        if stages == 1:
            before[0, bank, 0] = max(banks[FREE, bank] - now, 0)
            continue
        number = banks[TAKEN, bank] - 1
        for back in range(last + 1):
            at = (number - back) & last
            since = max(recent[0, bank, at] - now, -stages)
            before[0, bank, back], before[1, bank, back] = since, recent[1, bank, at]
            if since == -stages:
                break


@njit(cache=True, nogil=True)
def as_remembered(banks, recent, now, stages, before):
    """Whether the banks' future is the same as it was then."""
    last = recent.shape[2] - 1
    for bank in range(banks.shape[1]):
        if stages == 1:
            if before[0, bank, 0] != max(banks[FREE, bank] - now, 0):
                return False
            continue
        number = banks[TAKEN, bank] - 1
        for back in range(last + 1):
            at = (number - back) & last
            since = max(recent[0, bank, at] - now, -stages)
            if before[0, bank, back] != since:
                return False
            if since == -stages:
                break
            if before[1, bank, back] != recent[1, bank, at]:
                return False
    return True


@njit(cache=True, nogil=True)
def tail_of(banks, now, stages):
    """Cycles from ``now`` until the last sum is there."""
    tail = 0
    for bank in range(banks.shape[1]):
        if banks[FREE, bank] > 0:
            tail = max(tail, banks[FREE, bank] + stages - 1 - now)
    return tail
