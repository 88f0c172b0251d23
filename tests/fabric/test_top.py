"""The fabric: schedules by hand, schedules at random against times that settle."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rounds import Rules, settle
from schedules import make_gang, make_schedule, schedules

from gscn_sim.config import Config, load_config
from gscn_sim.fabric.top import FabricResult, run_fabric
from gscn_sim.schedule.model import Schedule


def machine(**overrides: Any) -> Config:
    """3 x 3 PEs; memory and network never limit unless told."""
    base = {"array.pe_rows": 3, "array.pe_cols": 3, "dram.preset": "ideal"}
    base |= {"network.operand_bytes_per_cycle": 0, "policy.barrier": "group"}
    return load_config("gscn-ideal", base | {k.replace("__", "."): v for k, v in overrides.items()})


def check_pes(result: FabricResult, config: Config) -> None:
    """Each PE's busy, waiting and idle cycles are the elapsed ones."""
    per_pe = (result.busy, result.operand_wait, result.output_wait, result.imbalance)
    assert [len(values) for values in per_pe] == [config.num_pes] * 4
    for cycles in zip(*per_pe, strict=True):
        assert min(cycles) >= 0
        assert sum(cycles) == result.cycles


@settings(max_examples=300)
@given(
    schedule=schedules(),
    staging=st.integers(1, 3),
    overlap=st.booleans(),
    barrier=st.sampled_from(("group", "none")),
    halo=st.sampled_from(("serial", "overlapped")),
    latencies=st.sampled_from(((0, 0), (1, 0), (0, 2), (5, 3))),
)
def test_events_happen_as_soon_as_the_rules_allow(
    schedule: Schedule,
    staging: int,
    overlap: bool,
    barrier: str,
    halo: str,
    latencies: tuple[int, int],
) -> None:
    config = machine(
        drain__staging_rounds=staging,
        drain__overlap=overlap,
        policy__barrier=barrier,
        policy__halo=halo,
        pe__round_latency=latencies[0],
        network__dispatch_latency=latencies[1],
    )
    result = run_fabric(schedule, config)
    rules = Rules(
        rounds_ahead=schedule.rounds_ahead,
        staging_rounds=staging,
        accumulator_sets=2 if overlap else 1,
        meets=barrier == "group",
        serial_exchange=halo == "serial",
        round_latency=latencies[0],
        dispatch_latency=latencies[1],
    )
    expected = settle(schedule, rules)
    assert result.cycles == expected.cycles
    check_pes(result, config)
    per_pe = zip(
        result.busy, result.operand_wait, result.output_wait, result.imbalance, strict=True
    )
    got = dict(enumerate(per_pe))
    assert {number: got[number] for number in expected.pes} == expected.pes


@settings(max_examples=200)
@given(
    schedule=schedules(most_gangs=1),  # of two that ask in the same cycle either may be first
    rate=st.sampled_from((1, 3, 7, 64)),
    overlap=st.booleans(),
    barrier=st.sampled_from(("group", "none")),
)
def test_a_network_that_limits_serves_in_order(
    schedule: Schedule, rate: int, overlap: bool, barrier: str
) -> None:
    config = machine(
        drain__overlap=overlap, policy__barrier=barrier, network__operand_bytes_per_cycle=rate
    )
    result = run_fabric(schedule, config)
    rules = Rules(
        rounds_ahead=schedule.rounds_ahead,
        staging_rounds=config.drain.staging_rounds,
        accumulator_sets=2 if overlap else 1,
        meets=barrier == "group",
        serial_exchange=False,
    )
    expected = settle(schedule, rules, rate)
    assert result.cycles == expected.cycles
    per_pe = (result.busy, result.operand_wait, result.output_wait, result.imbalance)
    got = dict(enumerate(zip(*per_pe, strict=True)))
    assert {number: got[number] for number in expected.pes} == expected.pes


def test_bytes_are_sent_when_they_are_there() -> None:
    """A stream of 640 bytes at 1 byte a cycle, from the buffer and from a slow memory.

    From the buffer it is there at 640. Memory moves its ten bursts, in 8 cycles each, over cycles
    15-95, behind nothing: it is sent from the first one, at 23, to 663, though all of it is in the
    buffer at 95.
    """
    slow = machine(network__operand_bytes_per_cycle=1, **SLOW_MEMORY)
    resident = make_gang(0, [[1]], stream_bytes=[640])
    there = run_fabric(make_schedule([resident], [0]), slow)
    assert (there.cycles, there.operand_wait[0]) == (640, 640 - 1)
    read = make_gang(0, [[1]], stream_bytes=[640], stream_dram_bytes=[640])
    late = run_fabric(make_schedule([read], [0]), slow)
    assert (late.cycles, late.operand_wait[0]) == (23 + 640, 23 + 640 - 1)


def test_a_network_faster_than_its_data_waits_for_the_last_byte() -> None:
    """64 bytes a cycle: ten bursts take ten cycles of the network but arrive until 95."""
    read = make_gang(0, [[1]], stream_bytes=[640], stream_dram_bytes=[640])
    config = machine(network__operand_bytes_per_cycle=64, **SLOW_MEMORY)
    assert run_fabric(make_schedule([read], [0]), config).cycles == 95


def test_nobody_queues_behind_bytes_that_are_still_in_memory() -> None:
    """Gang 0's stream of 640 bytes comes from memory, from 23 on; gang 1's 20 bytes are there.

    At 1 byte a cycle gang 1's travel first, over 0-20, though gang 0 asked before it; gang 0's take
    23-663. With 30 bytes of gang 1 the network is free at 30 only, and gang 0's take 30-670.
    """
    for resident, last in ((20, 663), (30, 670)):
        first = make_gang(0, [[1]], stream_bytes=[640], stream_dram_bytes=[640])
        second = make_gang(1, [[1]], stream_bytes=[resident])
        schedule = make_schedule([first, second], [0])
        result = run_fabric(schedule, machine(network__operand_bytes_per_cycle=1, **SLOW_MEMORY))
        assert result.operand_wait[:2] == (last - 1, resident - 1)
        assert result.cycles == last


@settings(max_examples=150)
@given(
    schedule=schedules(),
    preset=st.sampled_from(("ideal", "gddr5x-484", "ddr4-2400", "lpddr4")),
    rate=st.sampled_from((0, 1, 7)),
    overlap=st.booleans(),
    barrier=st.sampled_from(("group", "none")),
)
def test_limits_only_delay(
    schedule: Schedule, preset: str, rate: int, overlap: bool, barrier: str
) -> None:
    """All schedules end; a machine without limits is no slower; all bytes move, in whole bursts."""
    given_overrides = {"drain__overlap": overlap, "policy__barrier": barrier}
    config = machine(dram__preset=preset, network__operand_bytes_per_cycle=rate, **given_overrides)
    result = run_fabric(schedule, config)
    check_pes(result, config)
    assert result == run_fabric(schedule, config)
    free = run_fabric(schedule, machine(**given_overrides))
    assert result.cycles >= free.cycles
    burst = config.dram.burst_bytes
    reads = sum(-(-size // burst) for size in schedule.fill_dram_bytes.tolist())
    writes = sent = 0
    for gang in schedule.gangs:
        reads += sum(-(-size // burst) for size in gang.stream_dram_bytes.tolist())
        writes += sum(-(-size // burst) for size in gang.output_bytes.tolist())
        sent += int(gang.stream_bytes.sum())
    assert result.dram_read_bytes == reads * burst
    assert result.dram_write_bytes == writes * burst
    assert result.network_bytes == sent + int(schedule.fill_bytes.sum())
    if rate:
        assert result.cycles * rate >= result.network_bytes


def test_a_gang_shares_a_slow_network() -> None:
    """Two PEs, two rounds; fills and streams go over a network of 4 bytes a cycle.

    The fill (8 bytes, the first to ask) takes cycles 0-2, the stream of round 0 (12 bytes) 2-5.
    Data begins to arrive at once, so both PEs start round 0 at 0: PE 0 computes to 3, PE 1 to 6.
    PE 0 waits for the stream until 5 and for PE 1 until 6. The stream of round 1 (40 bytes) may
    travel once both have begun round 0: it queues behind the others, 5-15. Round 1 takes 2 and 1
    cycles from 6 on, then both wait for its stream until 15.
    """
    gang = make_gang(0, [[3, 2], [6, 1]], stream_bytes=[12, 40])
    config = machine(network__operand_bytes_per_cycle=4)
    result = run_fabric(make_schedule([gang], [8]), config)
    assert result.cycles == 15
    assert result.busy[:2] == (5, 7)
    assert result.operand_wait[:2] == (5 - 3 + 15 - 8, 15 - 7)
    assert result.imbalance[:2] == (6 - 5, 0)
    assert result.output_wait[:2] == (0, 0)
    assert result.imbalance[2:] == (15,) * 7  # PEs without work


def test_barriers() -> None:
    """Rounds of 4, 1 and 1, 4 cycles: 8 if the PEs meet after each, 5 if they never do."""
    schedule = make_schedule([make_gang(0, [[4, 1], [1, 4]])], [0])
    met = run_fabric(schedule, machine())
    assert (met.cycles, met.imbalance[:2]) == (8, (3, 3))
    # Without a barrier round 1's stream still waits for both PEs to have begun round 0: at 0.
    free = run_fabric(schedule, machine(policy__barrier="none"))
    assert (free.cycles, free.imbalance[:2]) == (5, (0, 0))
    lockstep = make_schedule([make_gang(0, [[4, 1], [1, 4]], lockstep_cycles=[6, 5])], [0])
    slow = run_fabric(lockstep, machine(policy__barrier="input_channel"))
    assert (slow.cycles, slow.imbalance[:2]) == (11, (6, 6))


def test_a_single_accumulator_set_waits_for_the_drain() -> None:
    """Two rounds of 4 cycles, 6 to drain each.

    With two sets the second round computes during the first drain: computed at 8, drained from 10
    to 16. With one it starts at 10, computes to 14 and is drained at 20.
    """
    schedule = make_schedule([make_gang(0, [[4, 4]], drain_cycles=[6, 6])], [0])
    two = run_fabric(schedule, machine())
    assert (two.cycles, two.busy[0], two.output_wait[0]) == (16, 8, 8)
    one = run_fabric(schedule, machine(drain__overlap=False))
    assert (one.cycles, one.busy[0], one.output_wait[0]) == (20, 8, 12)


def test_halo_exchange() -> None:
    """2 cycles of exchange a round: before the next round, or in the drain's time."""
    schedule = make_schedule([make_gang(0, [[4, 4]], exchange_cycles=[2, 2])], [0])
    serial = run_fabric(schedule, machine(policy__halo="serial"))
    assert (serial.cycles, serial.output_wait[0]) == (12, 4)
    overlapped = run_fabric(schedule, machine())
    assert (overlapped.cycles, overlapped.output_wait[0]) == (10, 2)  # the last one shows


def test_a_buffer_for_one_fill() -> None:
    """Two fills of 30 bytes at 3 a cycle, two rounds each: 20, 1, 1 and 1 cycles.

    Fill 0 arrives over cycles 0-10; rounds 0 and 1 end at 20 and 21. With room for two fills, fill
    1 is there at 20, and the rest ends at 23. With room for one it comes in during the last round
    of fill 0, from 20 to 30: round 2 begins at 21 on what arrives, and ends at 30, round 3 at 31.
    """
    gang = make_gang(0, [[20, 1, 1, 1]], fill=[0, 0, 1, 1])
    for held, cycles, waited in ((2, 23, 0), (1, 31, 8)):
        schedule = make_schedule([gang], [30, 30], fills_held=held)
        result = run_fabric(schedule, machine(network__operand_bytes_per_cycle=3))
        assert (result.cycles, result.operand_wait[0]) == (cycles, waited)


def test_a_fill_waits_until_one_of_those_held_is_done_with() -> None:
    """Fills of 30, 30 and 300 bytes at 30 a cycle, a round each: 20, 1 and 1 cycles.

    A buffer for three loads them over cycles 0-1, 1-2 and 2-12: the rounds end at 20, 21 and 22. A
    buffer for two has room for the third when fill 0 is done with, as round 1 begins at 20: it is
    there at 30.
    """
    gang = make_gang(0, [[20, 1, 1]], fill=[0, 1, 2])
    for held, cycles in ((3, 22), (2, 30)):
        schedule = make_schedule([gang], [30, 30, 300], fills_held=held)
        result = run_fabric(schedule, machine(network__operand_bytes_per_cycle=30))
        assert (result.cycles, result.operand_wait[0]) == (cycles, cycles - 22)


SLOW_MEMORY = {
    "array__clock_ghz": 1.0,
    "dram__preset": "ddr4-2400",
    "dram__scheduler": "fcfs",
    "dram__transfers_gtps": 1.0,
    "dram__row_activate_ns": 10,
    "dram__column_ns": 5,
    "dram__activate_interval_ns": 1,
    "dram__controller_ns": 0,
    "dram__refresh_ns": 0,
    "dram__refresh_interval_ns": 100000,
}


def test_operands_behind_a_slow_memory() -> None:
    """One channel of 8 bytes/ns at 1 GHz, 64-byte bursts, 10 + 5 ns to open a row.

    The fill's burst moves over cycles 15-23, the stream's, in another bank, over 23-31. The PE
    begins when the fill begins to arrive, at 23, computes to 24, and waits for the stream to 31.
    The output's burst opens its row at 31: it moves over 46-54.
    """
    gang = make_gang(0, [[1]], stream_bytes=[8], stream_dram_bytes=[8], output_bytes=[4])
    result = run_fabric(make_schedule([gang], [16]), machine(**SLOW_MEMORY))
    assert result.operand_wait[0] == 23 + 31 - 24
    assert result.busy[0] == 1
    assert result.cycles == 54
    assert result.output_wait[0] == 54 - 31
    assert (result.dram_read_bytes, result.dram_write_bytes) == (128, 64)


def test_outputs_wait_in_the_buffer_of_a_memory_that_reorders() -> None:
    """The same, behind a memory that closes what was open before, in 2 ns, and gathers writes.

    The fill's row opens at 2, its burst moves over 17-25, the stream's, in another bank, over
    25-33. The output is taken at 33, and nothing else comes: it is written at the end, 2 + 10 + 5
    later, over 50-58.
    """
    gang = make_gang(0, [[1]], stream_bytes=[8], stream_dram_bytes=[8], output_bytes=[4])
    memory = {
        **SLOW_MEMORY,
        "dram__scheduler": "fr-fcfs",
        "dram__row_precharge_ns": 2,
        "dram__write_activate_ns": 10,
        "dram__write_column_ns": 5,
    }
    result = run_fabric(make_schedule([gang], [16]), machine(**memory))
    assert result.operand_wait[0] == 25 + 33 - 26
    assert result.cycles == 58
    assert result.output_wait[0] == 58 - 33


def test_the_latency_of_the_memory_shows_once() -> None:
    """Two fills of one burst each, a round of one cycle on each, on the memory above.

    The second is requested with the first: it moves over cycles 23-31, behind the first one's
    15-23. Round 0 runs from 23 to 24, round 1 from 31 to 32.
    """
    gang = make_gang(0, [[1, 1]], fill=[0, 1])
    result = run_fabric(make_schedule([gang], [16, 16]), machine(**SLOW_MEMORY))
    assert (result.cycles, result.busy[0], result.operand_wait[0]) == (32, 2, 23 + 31 - 24)


def test_a_stream_travels_one_round_ahead() -> None:
    """Streams of 4, 4 and 80 bytes at 4 a cycle, rounds of 10, 10 and 1 cycles.

    The third may travel once round 1 has begun, at 10: it takes cycles 10-30, and round 2, which
    begins at 20 and computes to 21, waits for it.
    """
    gang = make_gang(0, [[10, 10, 1]], stream_bytes=[4, 4, 80])
    result = run_fabric(make_schedule([gang], [0]), machine(network__operand_bytes_per_cycle=4))
    assert (result.cycles, result.operand_wait[0]) == (30, 30 - 21)


def test_streams_do_not_queue_behind_all_fills() -> None:
    """Two gangs of one PE with a round on a fill of two bursts each, on the memory above.

    Fill 0 moves over cycles 15-31. Fill 1 is asked for as late as the data flows, at 8, so the
    stream of the first gang (one burst, asked for at 0) goes first, over 31-39, and fill 1 moves
    over 39-55. Each PE computes for one cycle.
    """
    first = make_gang(0, [[1]], stream_bytes=[8], stream_dram_bytes=[8])
    second = make_gang(1, [[1]], fill=[1])
    schedule = make_schedule([first, second], [128, 128], owner=[0, 0])
    result = run_fabric(schedule, machine(**SLOW_MEMORY))
    assert result.operand_wait[:2] == (39 - 1, 55 - 1)


def test_a_full_staging_buffer_stops_the_pes() -> None:
    """Rounds of 1, 1 and 500 cycles, each with 640 bytes to write, one accumulator set.

    With staging for one round the third begins when the first is written, with staging for two as
    soon as the second has ended, at 2.
    """
    busy, sizes = [1, 1, 500], [640] * 3
    first, *both = (
        run_fabric(
            make_schedule([make_gang(0, [busy[:rounds]], output_bytes=sizes[:rounds])], [0]),
            machine(drain__overlap=False, drain__staging_rounds=staging, **SLOW_MEMORY),
        )
        for rounds, staging in ((1, 1), (3, 1), (3, 2))
    )
    assert first.cycles > 80  # ten bursts of eight cycles
    assert both[0].cycles - both[1].cycles == first.cycles - 2
