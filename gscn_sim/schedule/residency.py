"""What the global buffer keeps, so that a later round finds it there instead of in DRAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gscn_sim.config import Config


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """Which operands stay in the global buffer, and how many rounds ahead streams are read."""

    streams_stay: bool
    fills_stay: bool
    rounds_ahead: int


def entry_bytes(config: Config, entries: Any) -> Any:
    """Bytes of compressed entries: a value and a zero-run length each."""
    bits = 8 * config.pe.value_bytes + config.pe.index_bits
    return -(-entries * bits // 8)


def share_buffer(
    config: Config,
    *,
    streams: list[int],
    streamed_bytes: int,
    streamed_uses: int,
    fill_bytes: int,
    fills_bytes: int,
    fill_uses: int,
) -> Reuse:
    """Share the global buffer between what is used again and what is read ahead.

    The streamed operand stays whole or not at all; a stationary fill stays until its last use, when
    the next takes its place. Of two that do not fit together the one that saves more traffic stays.
    Streams that do not stay are read as many rounds ahead as the rest has room for; with room for
    none they pass through while their round computes.

    Args:
        streams: largest stream of a round, of each gang.
        streamed_bytes, streamed_uses: all of the streamed operand, and how often it streams by.
        fill_bytes, fills_bytes, fill_uses: the largest fill, all of them, and how often each is
            sent.
    """
    room = config.buffer.size_bytes
    wishes = [
        (streamed_bytes * (streamed_uses - 1), streamed_bytes, "streams"),
        (fills_bytes * (fill_uses - 1), fill_bytes, "fills"),
    ]
    stay = set()
    for saved, needed, what in sorted(wishes, reverse=True):
        if saved > 0 and needed <= room:
            stay.add(what)
            room -= needed
    ahead = config.buffer.rounds_ahead
    if "streams" not in stay:
        ahead = min(ahead, room // max(1, sum(streams)))
    return Reuse(streams_stay="streams" in stay, fills_stay="fills" in stay, rounds_ahead=ahead)
