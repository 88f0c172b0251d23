"""The memory that reorders: by hand, and against a burst-by-burst twin."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.memory_queue import QueueMemory

from gscn_sim.config import load_config
from gscn_sim.errors import ConfigError
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.memory_controllers import FirstReady

# One channel of 8 bytes at 1 GT/s and a clock of 1 GHz: a burst is 8 cycles, one cycle is 1 ns.
SMALL: dict[str, object] = {
    "array.clock_ghz": 1.0,
    "dram.kind": "ddr4",
    "dram.scheduler": "fr-fcfs",
    "dram.channels": 1,
    "dram.channel_bits": 64,
    "dram.transfers_gtps": 1.0,
    "dram.burst_bytes": 64,
    "dram.interleave_bytes": 64,
    "dram.banks": 2,
    "dram.bank_groups": 1,
    "dram.row_bytes": 128,
    "dram.queue_bursts": 8,
    "dram.bank_queue_bursts": 4,
    "dram.row_activate_ns": 10,
    "dram.write_activate_ns": 8,
    "dram.row_precharge_ns": 10,
    "dram.row_active_ns": 30,
    "dram.activate_interval_ns": 4,
    "dram.column_ns": 10,
    "dram.write_column_ns": 5,
    "dram.read_to_precharge_ns": 3,
    "dram.write_recovery_ns": 12,
    "dram.write_to_read_ns": 6,
    "dram.read_to_write_ns": 2,
    "dram.write_batch_bursts": 2,
    "dram.refresh_ns": 50,
    "dram.refresh_interval_ns": 10_000,
    "dram.controller_ns": 5,
}


def memory(**changes: object) -> Dram:
    config = load_config("gscn-ideal", {**SMALL, **{f"dram.{k}": v for k, v in changes.items()}})
    return Dram(simpy.Environment(), config)


def read_at(dram: Dram, *bursts: int) -> list[int]:
    """When reads of single bursts, all asked for now, are done."""
    done = []
    for burst in bursts:
        dram._controller._next["place"] = burst  # type: ignore[attr-defined]
        done.append(dram.read(64, "place"))
    return done


# --- by hand. Row r holds bursts 2 r and 2 r + 1 and lies in bank r % 2.


def test_a_burst_passes_one_that_waits_for_its_bank() -> None:
    dram = memory()
    # The controller takes 5. All banks hold a row of somebody else: close it, open ours, read.
    # Row 0: 5 + 10 + 10 + 10, data 35 to 43. Row 2, same bank: row 0 may close 30 after it was
    # opened at 15, so row 2 opens at 55, data at 75. Row 1, other bank: opens 4 after row 0 and
    # passes row 2 on the pins.
    assert read_at(dram, 0, 4, 2) == [43, 83, 51]
    # The other half of row 1 is open: next on the pins, still before row 2.
    assert read_at(dram, 3) == [59]


def test_the_queue_limits_how_far_a_burst_is_passed() -> None:
    # One place in the queue, one at each bank. Row 0's burst goes on to its bank at once, and row
    # 2's must wait until it is served, at 25; only then is the queue free for row 1's.
    dram = memory(queue_bursts=1, bank_queue_bursts=1)
    first, _, behind = read_at(dram, 0, 4, 2)
    assert first == 43
    assert behind == 25 + 10 + 10 + 10 + 8


def test_a_row_closes_no_earlier_than_its_last_read_allows() -> None:
    # Row 0 opens at 15; reads at 25, 33, 41 and 49 of a row of 256 bytes. tRTP of 20 after that the
    # row closes, and row 2 of the same bank opens 10 later.
    dram = memory(row_bytes=256, read_to_precharge_ns=20)
    assert read_at(dram, 0, 1, 2, 3)[-1] == 49 + 10 + 8
    assert read_at(dram, 8) == [49 + 20 + 10 + 10 + 10 + 8]


def test_writes_wait_in_the_buffer_until_it_is_full() -> None:
    dram = memory()
    dram.lay_out({"out": 128})
    assert dram.write(64, "out") == 5  # taken when it arrives
    assert dram.counters["turnarounds"] == 0
    # The second one fills the buffer: the pins turn for 2. Row 0 opens at 15, for writes 8 + 5.
    assert dram.write(64, "out") == 15 + 8 + 5 + 16
    assert dram.counters["turnarounds"] == 1
    # A read of row 1 turns the pins back, 6 + 10 after the data; its row opened long before.
    dram._controller._next["in"] = 2  # type: ignore[attr-defined]
    assert dram.read(64, "in") == 44 + 16 + 8


def test_what_waits_at_the_end_is_written() -> None:
    dram = memory()
    dram.write(64, "out")
    assert dram.finish() == 15 + 8 + 5 + 8
    assert dram.finish() == 36
    assert dram.counters["row_misses"] == 1
    assert memory().finish() == 0


def test_a_read_takes_a_gap_between_writes_that_leaves_time_to_turn() -> None:
    # Two writes in rows of one bank: data at 28 to 36, and 12 + 10 + 8 + 5 after it, at 71. To turn
    # to a read and back takes 16 and 2, so two bursts may be read from 52 on. A third one waits for
    # the writes to end, at 79, and for the pins to turn.
    for bursts, done in ((1, 60), (2, 68), (3, 79 + 16 + 8)):
        dram = memory(row_bytes=512, read_to_write_ns=2)
        controller = dram._controller
        assert isinstance(controller, FirstReady)
        for first in (0, 16):
            controller._next["out"] = first
            dram.write(64, "out")
        controller._next["in"] = 8
        assert dram.read(64 * bursts, "in") == done


def test_bursts_alternate_between_bank_groups() -> None:
    dram = memory(banks=4, bank_groups=4, row_bytes=128)
    read_at(dram, 0, 1, 2, 3)
    assert dram.counters["row_misses"] == 4
    read_at(dram, 4, 5, 6, 7)
    assert dram.counters["row_hits"] == 4


def test_streams_are_laid_out_one_behind_the_other_and_operands_on_rows_of_their_own() -> None:
    dram = memory(channels=3, row_bytes=256)  # a row of all channels: 12 bursts
    dram.lay_out({"a": 64 * 5, "b": 1})
    dram.lay_out({"c": 64 * 13})
    dram.lay_out({"d": 64})
    controller = dram._controller
    assert isinstance(controller, FirstReady)
    assert [controller.locate(name, 2) for name in "abcd"] == [0, 5, 12, 36]
    assert controller.locate("a", 1) == 2


# --- the twin

requests = st.lists(
    st.tuples(
        st.integers(0, 200),  # cycles since the previous request
        st.integers(0, 150),  # first burst
        st.integers(1, 40),  # bursts
        st.booleans(),  # write
    ),
    min_size=1,
    max_size=25,
)
designs = st.fixed_dictionaries(
    {
        "array.clock_ghz": st.sampled_from([0.7, 1.0, 1.582]),
        "dram.channels": st.integers(1, 3),
        "dram.transfers_gtps": st.sampled_from([1.0, 2.133, 11.0]),
        "dram.interleave_bytes": st.sampled_from([64, 128, 256]),
        "dram.banks": st.sampled_from([4, 8]),
        "dram.bank_groups": st.sampled_from([1, 2, 4]),
        "dram.row_bytes": st.sampled_from([64, 256, 1024]),
        "dram.queue_bursts": st.sampled_from([1, 2, 8, 32]),
        "dram.bank_queue_bursts": st.sampled_from([1, 2, 8]),
        "dram.write_activate_ns": st.sampled_from([8, 11]),
        "dram.row_precharge_ns": st.sampled_from([9, 10]),
        "dram.column_ns": st.sampled_from([7, 10]),
        "dram.row_active_ns": st.sampled_from([21, 30]),
        "dram.activate_interval_ns": st.sampled_from([0, 4, 25]),
        "dram.read_to_precharge_ns": st.sampled_from([0, 3]),
        "dram.write_recovery_ns": st.sampled_from([12, 15]),
        "dram.write_to_read_ns": st.sampled_from([3, 6]),
        "dram.read_to_write_ns": st.sampled_from([0, 2]),
        "dram.write_batch_bursts": st.integers(1, 40),
        "dram.refresh_interval_ns": st.sampled_from([81.0, 200.0, 1000.0]),
    }
)


@settings(max_examples=60, deadline=None)
@given(design=designs, asked=requests)
def test_equals_the_twin_and_meets_the_bounds(
    design: dict[str, object], asked: list[tuple[int, int, int, bool]]
) -> None:
    config = load_config("gscn-ideal", {**SMALL, **design})
    env = simpy.Environment()
    dram, twin = Dram(env, config), QueueMemory(config)
    controller = dram._controller
    assert isinstance(controller, FirstReady)
    clock = Fraction(repr(config.array.clock_ghz))
    moved = 0
    for wait, first, bursts, write in asked:
        env.run(until=env.now + wait) if wait else None
        controller._next["place"] = first
        begin, end = twin.serve(int(env.now), first, bursts, write)
        transfer = dram.transfer(64 * bursts, write=write, stream="place")
        # Room in the write buffer may have been there before the data was.
        assert transfer.done_cycle == max(int(env.now), ceil(end * clock))
        if begin is not None:
            assert transfer.start_cycle == int(begin * clock)
            assert transfer.done_cycle - env.now >= config.memory_cycles(64 * bursts)
        moved += bursts * 64
    finished = dram.finish()
    assert finished == ceil(twin.flush(int(env.now)) * clock)
    assert finished >= config.memory_cycles(moved)
    assert dram.counters["row_misses"] == twin.opened
    assert dram.counters["turnarounds"] == twin.turns
    assert dram.counters["row_hits"] == moved // 64 - twin.opened


def test_groups_divide_the_banks() -> None:
    with pytest.raises(ConfigError, match=r"dram\.banks must be a multiple of dram\.bank_groups"):
        load_config("gscn-ideal", {**SMALL, "dram.banks": 6, "dram.bank_groups": 4})
