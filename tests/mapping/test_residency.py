"""What stays in the global buffer, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from gscn_sim.config import load_config
from gscn_sim.config.view import view
from gscn_sim.mapping.residency import Residency, share_buffer
from gscn_sim.schedule.model import Movement


def share(room: int, **changed: Any) -> Residency:
    """100 bytes of streams pass 3 times; fills of 40 bytes, 80 in all, are sent twice each."""
    given: dict[str, Any] = {
        "streams": [10, 20],
        "streamed_bytes": 100,
        "streamed_uses": 3,
        "fill_bytes": 40,
        "fills_bytes": 80,
        "fill_uses": 2,
    }
    return share_buffer(size_bytes=room, most_ahead=4, **(given | changed))


@pytest.mark.parametrize(
    ("room", "streams_stay", "fills_stay", "ahead", "held"),
    [
        (140, True, True, 4, 140),  # 100 + 40: both
        (139, True, False, 4, 100),  # the streams save 200 bytes, the fills 80
        (100, True, False, 4, 100),
        (99, False, True, 1, 40 + 30),  # 59 bytes for rounds of 10 + 20
        (69, False, True, 0, 40),  # 29 bytes: streams pass through while their round computes
        (39, False, False, 1, 30),
        (29, False, False, 0, 0),
    ],
)
def test_what_saves_more_stays(
    room: int, streams_stay: bool, fills_stay: bool, ahead: int, held: int
) -> None:
    assert share(room) == Residency(
        streams_stay=streams_stay, fills_stay=fills_stay, rounds_ahead=ahead, held_bytes=held
    )


def test_what_is_used_once_need_not_stay() -> None:
    found = share(1000, streamed_uses=1, fill_uses=1)
    assert found == Residency(
        streams_stay=False, fills_stay=False, rounds_ahead=4, held_bytes=4 * 30
    )


def test_the_smaller_operand_may_save_more() -> None:
    """Fills sent ten times save 720 bytes, the streams 200."""
    found = share(110, fill_uses=10)
    assert (found.streams_stay, found.fills_stay, found.rounds_ahead) == (False, True, 2)


def test_what_is_used_twice_saves_one_reading() -> None:
    """Streams that pass twice save 100 bytes, still more than the 80 of the fills."""
    assert share(100, streamed_uses=2).streams_stay
    assert share(100, streamed_bytes=1, streamed_uses=2, fill_uses=1).streams_stay


def test_rounds_of_a_byte_or_of_nothing() -> None:
    assert share(3, streams=[1]).rounds_ahead == 3
    assert share(39, streams=[0, 0]).rounds_ahead == 4


def test_entries_take_whole_bytes() -> None:
    """32 bits of value and 6 of run length: 38 bits, 5 bytes; three entries 114 bits, 15 bytes."""
    machine = view(Movement, load_config("gscn-ideal"))
    assert [machine.entry_bytes(n) for n in (0, 1, 3, 4)] == [0, 5, 15, 19]
