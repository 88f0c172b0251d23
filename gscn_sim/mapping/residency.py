"""What the global buffer keeps, so that a later round finds it there instead of in DRAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
    room: float = size_bytes
    wishes = [
        (streamed_bytes * (streamed_uses - 1), streamed_bytes, "streams"),
        (fills_bytes * (fill_uses - 1), fill_bytes, "fills"),
    ]
    stay = set()
    for saved, needed, what in sorted(wishes, reverse=True):
        if saved > 0 and needed <= room:
            stay.add(what)
            room -= needed
    ahead = most_ahead
    if "streams" not in stay:
        ahead = min(ahead, int(room // max(1, sum(streams))))
        room -= ahead * sum(streams)
    return Residency(
        streams_stay="streams" in stay,
        fills_stay="fills" in stay,
        rounds_ahead=ahead,
        held_bytes=size_bytes - int(room),
    )
