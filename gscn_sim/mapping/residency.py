"""What the global buffer keeps, so that a later round finds it there instead of in DRAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Wish = tuple[Any, Any]
"""Bytes of memory traffic that are saved if something stays, and the room that it needs."""


@dataclass(frozen=True, kw_only=True)
class Residency:
    """Which operands stay in the global buffer, and how many rounds ahead streams are read.

    ``held_bytes`` is most of the buffer that what stays and what is read ahead takes.
    """

    streams_stay: bool
    fills_stay: bool
    rounds_ahead: int
    held_bytes: int


def share_buffer(
    *,
    size_bytes: int,
    most_ahead: int,
    streams: Sequence[float],
    streamed_bytes: float,
    streamed_uses: int,
    fill_bytes: float,
    fills_bytes: float,
    fill_uses: int,
) -> Residency:
    """Share the global buffer between what is used again and what is read ahead.

    The streamed operand stays whole or not at all; a stationary fill stays until its last use, when
    the next takes its place. Of two that do not fit together the one that saves more traffic stays.
    Streams that do not stay are read as many rounds ahead as the rest has room for; with room for
    none they pass through while their round computes.

    Args:
        size_bytes, most_ahead: of the buffer, and rounds that it may read ahead.
        streams: largest stream of a round, of each gang.
        streamed_bytes, streamed_uses: all of the streamed operand, and how often it streams by.
        fill_bytes, fills_bytes, fill_uses: the largest fill, all of them, and how often each is
            sent.
    """
    streams_stay, fills_stay = what_stays(
        size_bytes,
        (streamed_bytes * (streamed_uses - 1), streamed_bytes),
        (fills_bytes * (fill_uses - 1), fill_bytes),
    )
    room = size_bytes - streams_stay * streamed_bytes - fills_stay * fill_bytes
    ahead = most_ahead
    if not streams_stay:
        ahead = min(ahead, int(room // max(1, sum(streams))))
        room -= ahead * sum(streams)
    return Residency(
        streams_stay=bool(streams_stay),
        fills_stay=bool(fills_stay),
        rounds_ahead=ahead,
        held_bytes=size_bytes - int(room),
    )


def what_stays(size_bytes: float, streams: Wish, fills: Wish) -> tuple[Any, Any]:
    """Whether streams and fills stay; numbers, or arrays with one element a case."""
    saved, needed = zip(streams, fills, strict=True)
    most = np.maximum(*saved)
    # Of equal savings the larger goes first, of equal sizes the streams.
    streams_first = np.where(saved[0] == saved[1], needed[0] >= needed[1], np.equal(saved[0], most))
    alone = [(saved[i] > 0) & (needed[i] <= size_bytes) for i in range(2)]
    both = alone[0] & alone[1] & (needed[0] + needed[1] <= size_bytes)
    streams_stay = alone[0] & (streams_first | both | np.logical_not(alone[1]))
    fills_stay = alone[1] & (np.logical_not(streams_first) | both | np.logical_not(alone[0]))
    return streams_stay, fills_stay
