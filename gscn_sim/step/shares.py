"""How a time is shared out among what ran in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise


def shared_cycles(ran: Sequence[range]) -> list[float]:
    """Each one's share of the whole: every cycle is shared equally by those in progress.

    ``ran``: from which cycle to which each was in progress.
    """
    marks = sorted({0, *(when.start for when in ran), *(when.stop for when in ran)})
    begins: dict[int, list[int]] = defaultdict(list)
    ends: dict[int, list[int]] = defaultdict(list)
    for n, when in enumerate(ran):
        if when:
            begins[when.start].append(n)
            ends[when.stop].append(n)
    shares = [0.0] * len(ran)
    running: set[int] = set()
    for mark, upto in pairwise(marks):
        running = (running - set(ends[mark])) | set(begins[mark])
        for n in running:
            shares[n] += (upto - mark) / len(running)
    return shares
