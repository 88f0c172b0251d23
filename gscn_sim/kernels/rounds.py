"""One round of a gang of PEs, as absolute cycles of each PE.

``moments[what, pe]`` says when a PE did what in its present round, in the order of time:
``BEGAN`` (done with the round before), ``FED`` (its operands begin to arrive), ``START`` (it has an
accumulator set, and the staging buffer room), ``COMPUTED``, ``FINISHED`` (all operands were there),
``MET`` (all PEs of the gang were, if they meet), ``END`` (partial sums are exchanged, if that is
serial). ``waits[why, pe]`` adds up the cycles a PE was idle between them.
"""

from __future__ import annotations

from gscn_sim.kernels.compiled import njit

BEGAN, FED, START, COMPUTED, FINISHED, MET, END = range(7)
OPERAND, OUTPUT, IMBALANCE = range(3)


@njit(cache=True, nogil=True)
def begin_round(moments, arriving, latency, accumulators_free, room):
    """Begin a round; return the cycle at which the last PE does.

    ``arriving``: when the operands begin to; ``latency``: cycles from then on, or from the end of
    the round before, that the first ones take to the multipliers. ``accumulators_free``: [pes] when
    a set of accumulators is. ``room``: when the staging buffer has some.
    """
    latest = 0
    for pe in range(moments.shape[1]):
        moments[BEGAN, pe] = moments[END, pe]
        moments[FED, pe] = max(moments[END, pe], arriving) + latency
        moments[START, pe] = max(moments[FED, pe], accumulators_free[pe], room)
        latest = max(latest, moments[START, pe])
    return latest


@njit(cache=True, nogil=True)
def end_round(
    moments, waits, busy, there, meets, word, exchange, post, last_drained, drained
):  # fmt: skip
    """End a round that has been computed; return the cycle at which the last PE is drained.

    ``busy``: [pes] cycles of the multiplier arrays. ``there``: when all operands are. ``word``:
    cycles in which PEs that meet hear of it. ``exchange``: cycles after that, ``post`` cycles of
    the drain after that. ``last_drained``: [pes] when the round before was drained; ``drained``:
    [pes] set to when this one is (it may be the same array).
    """
    pes = moments.shape[1]
    together = 0
    for pe in range(pes):
        moments[FINISHED, pe] = max(moments[COMPUTED, pe], there)
        together = max(together, moments[FINISHED, pe])
    latest = 0
    for pe in range(pes):
        fed, start, computed = moments[FED, pe], moments[START, pe], moments[COMPUTED, pe]
        finished = moments[FINISHED, pe]
        met = together + word if meets else finished
        end = met + exchange
        drained[pe] = max(last_drained[pe], end) + post
        latest = max(latest, drained[pe])
        moments[MET, pe], moments[END, pe] = met, end
        waits[OPERAND, pe] += fed - moments[BEGAN, pe] + finished - computed
        waits[OUTPUT, pe] += start - fed + exchange
        waits[IMBALANCE, pe] += computed - start - busy[pe] + met - finished
    return latest
