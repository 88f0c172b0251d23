"""Schedules made by hand or at random, without kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from gscn_sim.kernels.pairing import N_COUNTERS
from gscn_sim.schedule.model import Gang, Lists, Schedule


def make_gang(
    first_pe: int, busy: list[list[int]], lists: Lists | None = None, **given: list[int]
) -> Gang:
    """A gang from busy cycles [pes][rounds]; all that is not given is zero (no lockstep)."""
    cycles = np.array(busy, np.int64)
    rounds = cycles.shape[1]
    values: dict[str, Any] = {
        name: np.zeros(rounds, np.int64)
        for name in (
            "fill", "stream_bytes", "stream_dram_bytes", "exchange_cycles", "drain_cycles",
            "output_bytes", "exchanged_sums", "drained_entries",
        )
    }  # fmt: skip
    values["lockstep_cycles"] = np.full(rounds, -1, np.int64)
    values |= {name: np.array(value, np.int64) for name, value in given.items()}
    pes = np.arange(first_pe, first_pe + len(busy))
    return Gang(pes=pes, busy_cycles=cycles, lists=lists, **values)


def make_schedule(
    gangs: list[Gang],
    fill_bytes: list[int],
    *,
    fill_dram_bytes: list[int] | None = None,
    owner: list[int] | None = None,
    fills_held: int = 2,
    rounds_ahead: int = 4,
) -> Schedule:
    """A schedule of gangs; fills come from DRAM and belong to gang 0 unless told."""
    from_dram = fill_bytes if fill_dram_bytes is None else fill_dram_bytes
    return Schedule(
        gangs=gangs,
        fill_bytes=np.array(fill_bytes, np.int64),
        fill_dram_bytes=np.array(from_dram, np.int64),
        fill_owner=np.array(owner or [0] * len(fill_bytes), np.int64),
        fills_held=fills_held,
        rounds_ahead=rounds_ahead,
        counters=np.zeros(N_COUNTERS, np.int64),
        stationary_reads=0,
        streamed_reads=0,
    )


@st.composite
def schedules(
    draw: st.DrawFn, uneven: bool = False, listed: bool = False, most_gangs: int = 3
) -> Schedule:
    """Up to ``most_gangs`` gangs of up to three PEs; fills shared by all gangs or each gang's own.

    With ``uneven``, computing takes a random number of up to 10^6 cycles, so that two gangs hardly
    ever do something in the same cycle but at the start. With ``listed`` some gangs have streamed
    lists that keep their PEs together.
    """
    random = draw(st.randoms(use_true_random=False)) if uneven else None
    shared = draw(st.booleans())
    gangs: list[Gang] = []
    owner: list[int] = []
    pes = 0
    for number in range(draw(st.integers(1, most_gangs))):
        rounds = draw(st.integers(1, 6))

        def row(top: int, rounds: int = rounds) -> list[int]:
            return draw(st.lists(st.integers(0, top), min_size=rounds, max_size=rounds))

        busy = [row(9) for _ in range(draw(st.integers(1, 3)))]
        if random is not None:
            busy = [[random.randrange(10**6) for _ in cycles] for cycles in busy]
        fill, here = [], 0
        for r in range(rounds):
            here += r > 0 and draw(st.booleans())
            fill.append(here if shared else len(owner) + here)
        if shared:
            owner = [-1 if number else 0] * max(len(owner), here + 1)
        else:
            owner += [number] * (here + 1)
        lockstep = [-1] * rounds
        if draw(st.booleans()):
            slowest = [max(cycles) for cycles in zip(*busy, strict=True)]
            lockstep = [s + extra for s, extra in zip(slowest, row(2), strict=True)]
        lists = None
        if listed and draw(st.booleans()):
            lists = cut_in_lists(np.array(busy), draw(st.integers(1, 3)), draw)
            lockstep = [-1] * rounds
        gangs.append(
            make_gang(
                pes,
                busy,
                lists,
                fill=fill,
                lockstep_cycles=lockstep,
                exchange_cycles=row(3),
                drain_cycles=row(9),
                stream_bytes=row(40),
                stream_dram_bytes=row(40),
                output_bytes=row(40),
            )
        )
        pes += len(busy)
    fill_bytes = [draw(st.integers(0, 60)) for _ in owner]
    return make_schedule(
        gangs,
        fill_bytes,
        fill_dram_bytes=[size if draw(st.booleans()) else 0 for size in fill_bytes],
        owner=owner,
        fills_held=draw(st.integers(1, 3)),
        rounds_ahead=draw(st.integers(0, 3)),
    )


def cut_in_lists(busy: Any, number: int, draw: st.DrawFn) -> Lists:
    """Busy cycles [pes, rounds] cut in a number of lists each, with random lengths."""
    pes, rounds = busy.shape
    cycles, entries = [], []
    for r in range(rounds):
        shares = [
            [draw(st.integers(0, int(busy[pe, r]))) for _ in range(number - 1)] for pe in range(pes)
        ]
        ends = np.sort(np.array(shares, np.int64).reshape(pes, -1), axis=1)
        cycles.append(np.diff(ends, axis=1, prepend=0, append=busy[:, r, None]))
        entries.append(np.array([draw(st.integers(0, 5)) for _ in range(number)], np.int64))
    return Lists(pattern=list(range(rounds)), cycles=cycles, entries=entries)
