"""How far the PEs that share a stream can drift apart: as far as their FIFOs are deep."""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.compiled import njit


@njit(cache=True, nogil=True)
def feed_round(start, cycles, entries, depth, before, word=0):
    """When each PE of a gang is done with a round of lists that reach all PEs at once.

    A list can be sent when it fits the FIFO of every PE beside the lists that some PE still works
    on, and a PE begins it then; one longer than the FIFO is sent when all have done what precedes.

    Args:
        start: [pes] cycle at which each PE is ready for the round.
        cycles: [pes, lists] what each list costs each PE. entries: [lists] its length.
        depth: entries that a FIFO holds.
        before: [2, lists] lengths of the last lists of the rounds before, and the cycles at which
            all PEs were done with them: what the call before returned, empty at first.
        word: cycles until it is known that all PEs are done with a list.

    Returns:
        The cycle at which each PE is done [pes], and ``before`` of the next call.
    """
    old = before.shape[1]
    known = np.zeros((2, old + len(entries)), np.int64)
    known[:, :old] = before
    known[0, old:] = entries
    sizes, done = known
    now = start.copy()
    first = 0  # of the lists that fit the FIFO together with the present one
    held = before[0].sum()
    for x in range(old, len(sizes)):
        held += sizes[x]
        while held > depth and first < x:
            held -= sizes[first]
            first += 1
        room = done[first - 1] + word if first > 0 else 0
        latest = 0
        for pe in range(len(now)):
            now[pe] = max(now[pe], room) + cycles[pe, x - old]
            latest = max(latest, now[pe])
        done[x] = latest
    return now, known[:, max(first - 1, 0) :].copy()
