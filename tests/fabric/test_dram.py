"""The memory by hand, against a burst-by-burst twin, and against what real memories reach."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.memory import Memory

from gscn_sim.config import Config, load_config
from gscn_sim.errors import ConfigError
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.memory_controllers import InOrder, scatter
from gscn_sim.results.timeline import Timeline

PRESETS = ("gddr5x-484", "gddr5", "hbm2", "hbm3", "hbm3e", "ddr4-2400", "lpddr4", "ddr4-50")
MEBIBYTE = 1 << 20

# One channel of 8 bytes at 1 GT/s and a clock of 1 GHz: a burst is 8 cycles, one cycle is 1 ns.
SMALL = {
    "array.clock_ghz": 1.0,
    "dram.kind": "ddr4",
    "dram.scheduler": "fcfs",
    "dram.channels": 1,
    "dram.channel_bits": 64,
    "dram.transfers_gtps": 1.0,
    "dram.burst_bytes": 64,
    "dram.interleave_bytes": 64,
    "dram.banks": 2,
    "dram.row_bytes": 128,
    "dram.row_activate_ns": 10,
    "dram.row_precharge_ns": 10,
    "dram.row_active_ns": 30,
    "dram.activate_interval_ns": 4,
    "dram.column_ns": 10,
    "dram.write_recovery_ns": 12,
    "dram.write_to_read_ns": 6,
    "dram.read_to_write_ns": 2,
    "dram.write_batch_bursts": 1,
    "dram.refresh_ns": 50,
    "dram.refresh_interval_ns": 1000,
    "dram.controller_ns": 5,
}


def memory(config: Config) -> Dram:
    return Dram(simpy.Environment(), config)


def preset(name: str, **overrides: object) -> Config:
    return load_config("gscn-ideal", {"dram.preset": name, **overrides})


def efficiency(config: Config, sizes: list[int], stream: str | None = None) -> float:
    """Share of the peak bandwidth that reads issued at once reach."""
    dram = memory(config)
    done = max(dram.read(size, stream) for size in sizes)
    return config.memory_cycles(dram.counters["read_bytes"]) / done


# --- by hand


def test_schedule_by_hand() -> None:
    dram = memory(load_config("gscn-ideal", SMALL))
    # The controller takes 5; row a0 of bank 0 opens at 5, its data comes 10 + 10 later.
    assert dram.read(64, "a") == 5 + 20 + 8
    # The other half of the row: open, so only the pins are waited for.
    assert dram.read(64, "a") == 33 + 8
    # Stream b starts in bank 1, which opens at 5 + 4, behind the data of a: hidden.
    assert dram.read(64, "b") == 41 + 8
    # Row a1 lies in bank 1: b0 closes no earlier than 9 + 30, so a1 opens at 49.
    assert dram.read(64, "a") == 49 + 20 + 8
    # c starts in bank 0, open since 5, closed by 45; activates keep 4 apart: 53. Its data could
    # move at 73, but the pins are busy until 77 and turn for 2.
    assert dram.write(64, "c") == 77 + 2 + 8
    # b0 again, in bank 1 where a1 opened at 49: closed by 89, data at 109; the pins would have
    # been ready at 87 + 6 + 10.
    assert dram.read(64, "b") == 109 + 8
    assert dram.counters == {
        "read_bytes": 5 * 64,
        "write_bytes": 64,
        "requests": 6,
        "row_hits": 1,
        "row_misses": 5,
        "turnarounds": 2,
    }
    assert dram.busy_cycles == 6 * 8


def test_refresh_by_hand() -> None:
    dram = memory(load_config("gscn-ideal", {**SMALL, "dram.row_bytes": 8192}))
    # 25 to first data; 120 bursts; the last 10 + 50 + 10 + 10 of each 1000 belong to the refresh.
    transfer = dram.transfer(120 * 64, write=False)
    assert transfer.start_cycle == 25
    assert transfer.first_cycle == 33
    assert transfer.done_cycle == 25 + 120 * 8 + 80


def test_a_request_during_a_refresh_waits_for_its_end() -> None:
    config = load_config("gscn-ideal", SMALL)
    env = simpy.Environment(initial_time=930)
    assert Dram(env, config).transfer(64, write=False).start_cycle == 1000


def test_small_writes_turn_the_pins_once_a_batch() -> None:
    dram = memory(load_config("gscn-ideal", {**SMALL, "dram.write_batch_bursts": 4}))
    for _ in range(8):
        dram.write(64)
        dram.read(64)
    # Writes 4 and 8 fill the batch: the pins turn there and back.
    assert dram.counters["turnarounds"] == 4


def test_a_whole_number_of_cycles_does_not_cost_bandwidth() -> None:
    # 2 bursts a cycle: rounding each burst up to cycles would take 4000.
    config = load_config(
        "gscn-ideal",
        {
            **SMALL,
            "dram.transfers_gtps": 16.0,
            "dram.row_bytes": 1 << 20,
            "dram.refresh_interval_ns": 1e6,
        },
    )
    assert memory(config).read(4000 * 64) == 25 + 2000


def test_busy_cycles_at_a_clock_that_divides_no_burst() -> None:
    dram = memory(load_config("gscn-ideal", SMALL | {"array.clock_ghz": 1.5}))
    dram.read(4 * 64)
    assert dram.busy_cycles == 4 * 8 * 3 // 2


def test_places_are_drawn_by_splitmix64() -> None:
    """The first outputs of the published generator (Steele et al., OOPSLA 2014) from seed 0."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    assert [scatter(key) for key in range(4)] == published


def test_every_channel_and_bank_is_drawn() -> None:
    dram = load_config("gscn-ideal", SMALL | {"dram.channels": 4, "dram.banks": 8}).dram
    controller = InOrder(dram)
    places = [controller.locate(None, 1)[1:3] for _ in range(400)]
    assert len(set(places)) == 4 * 8


requests = st.lists(
    st.tuples(
        st.integers(0, 400),  # cycles since the previous request
        st.integers(1, 4000),  # bytes
        st.booleans(),  # write
        st.sampled_from([None, "a", "b", "c"]),
    ),
    min_size=1,
    max_size=15,
)
designs = st.fixed_dictionaries(
    {
        "array.clock_ghz": st.sampled_from([0.7, 1.0, 1.582]),
        "dram.channels": st.integers(1, 5),
        "dram.channel_bits": st.sampled_from([16, 32, 64]),
        "dram.transfers_gtps": st.sampled_from([1.0, 2.133, 11.0]),
        "dram.interleave_bytes": st.sampled_from([64, 128, 256]),
        "dram.banks": st.sampled_from([1, 2, 3, 8]),
        "dram.row_bytes": st.sampled_from([64, 256, 1024]),
        "dram.row_activate_ns": st.sampled_from([8, 10]),
        "dram.row_precharge_ns": st.sampled_from([9, 10]),
        "dram.column_ns": st.sampled_from([7, 10]),
        "dram.row_active_ns": st.sampled_from([21, 30]),
        "dram.activate_interval_ns": st.sampled_from([4, 5]),
        "dram.write_recovery_ns": st.sampled_from([12, 15]),
        "dram.write_to_read_ns": st.sampled_from([3, 6]),
        "dram.read_to_write_ns": st.sampled_from([1, 2]),
        "dram.controller_ns": st.sampled_from([0, 5]),
        "dram.write_batch_bursts": st.integers(1, 20),
        "dram.refresh_interval_ns": st.sampled_from([81.0, 200.0, 1000.0]),
    }
)


@settings(max_examples=50, deadline=None)
@given(design=designs, asked=requests)
def test_equals_the_twin_and_meets_the_bounds(
    design: dict[str, object], asked: list[tuple[int, int, bool, str | None]]
) -> None:
    config = load_config("gscn-ideal", {**SMALL, **design})
    env = simpy.Environment()
    dram, twin = Dram(env, config), Memory(config)
    clock = Fraction(repr(config.array.clock_ghz))
    moved = 0
    for wait, size, write, stream in asked:
        env.run(until=env.now + wait) if wait else None
        bursts = -(-size // 64)
        controller = dram._controller
        assert isinstance(controller, InOrder)
        where = controller.locate(stream, 0)  # where the request will go: the twin has no hash
        if stream is None:
            controller._next_key -= 1
        begin, end = twin.serve(int(env.now), *where, bursts, write)
        transfer = dram.transfer(size, write=write, stream=stream)
        assert transfer.start_cycle == int(begin * clock)
        assert transfer.done_cycle == ceil(end * clock)
        moved += bursts * 64
        assert env.now <= transfer.start_cycle < transfer.first_cycle <= transfer.done_cycle
        assert transfer.done_cycle - env.now >= config.memory_cycles(bursts * 64)
        assert transfer.done_cycle >= config.memory_cycles(bursts * 64)
    counters = dram.counters
    assert counters["read_bytes"] + counters["write_bytes"] == moved
    assert (counters["row_hits"], counters["row_misses"]) == (twin.hits, twin.misses)
    assert max(ceil(lane.free * clock) for lane in twin.lanes) >= config.memory_cycles(moved)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 100_000), more=st.integers(0, 100_000), name=st.sampled_from(PRESETS))
def test_more_bytes_never_arrive_earlier(size: int, more: int, name: str) -> None:
    config = preset(name)
    assert memory(config).read(size) <= memory(config).read(size + more)


# --- what real memories reach


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("write", [False, True])
def test_sequential_streams_reach_85_to_99_percent(name: str, write: bool) -> None:
    config = preset(name)
    for piece in (64 * MEBIBYTE, 65536):  # what refresh takes is most of the rest
        dram = memory(config)
        done = 0
        for _ in range(64 * MEBIBYTE // piece):
            done = dram.transfer(piece, write=write, stream="s").done_cycle
        done = max(done, dram.finish())
        assert 0.85 <= config.memory_cycles(64 * MEBIBYTE) / done <= 0.99


@pytest.mark.parametrize("name", PRESETS)
def test_random_bursts_reach_far_less(name: str) -> None:
    config = preset(name)
    assert efficiency(config, [config.dram.burst_bytes] * 4000) < 0.6


@pytest.mark.parametrize("name", PRESETS)
def test_requesters_that_contend_open_more_rows_and_take_longer(name: str) -> None:
    config = preset(name)
    alone, crowd = memory(config), memory(config)
    alone_done = max(alone.read(2048, "s") for _ in range(1000))
    crowd_done = max(crowd.read(2048) for _ in range(1000))
    assert crowd.counters["row_misses"] > 1.5 * alone.counters["row_misses"]
    assert crowd_done > alone_done


@pytest.mark.parametrize(
    ("name", "peak_gbps"),
    [
        ("gddr5x-484", 484.0),
        ("gddr5", 24.0),
        ("hbm3", 665.6),
        ("hbm3e", 1177.6),
        ("hbm2", 256.0),
        ("ddr4-2400", 19.2),
        ("lpddr4", 12.8),
        ("ddr4-50", 51.2),
    ],
)
def test_peak_bandwidth_of_presets(name: str, peak_gbps: float) -> None:
    assert preset(name).dram.peak_gbps == pytest.approx(peak_gbps, rel=1e-3)


def test_the_default_memory_is_the_gddr5x_preset() -> None:
    assert load_config("gscn-ideal", {}).dram == type(load_config("gscn-ideal").dram)()


def test_turning_between_reads_and_writes_costs_bandwidth() -> None:
    config = preset("ddr4-2400")
    done = {}
    for turns in (False, True):
        dram = memory(config)
        for index in range(400):
            write = index % 2 == 1 if turns else index >= 200
            done[turns] = dram.transfer(4096, write=write, stream=f"{write}").done_cycle
    assert done[True] > 1.05 * done[False]


def test_each_channel_is_a_track_of_the_timeline() -> None:
    config = preset("ddr4-50")
    timeline = Timeline(clock_ghz=config.array.clock_ghz, num_pes=1)
    dram = Dram(simpy.Environment(), config, timeline=timeline)
    done = dram.read(3 * 4096)
    dram.write(64)
    dram.finish()
    events = timeline.document()["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    assert names == ["channel 0", "channel 1", "channel 2"]
    spans = [event for event in events if event["ph"] == "X"]
    assert [span["name"] for span in spans].count("read") == 3
    assert [span["name"] for span in spans].count("write") == 1
    reads = [span["args"] for span in spans if span["name"] == "read"]
    assert max(span["cycle"] + span["cycles"] for span in reads) in {done - 1, done}


# --- edges


def test_ideal_memory_takes_no_time_and_counts_bytes() -> None:
    config = preset("ideal")
    env = simpy.Environment(initial_time=17)
    dram = Dram(env, config)
    assert dram.read(1_000_001) == dram.write(65) == 17
    assert dram.counters["read_bytes"] == 1_000_064
    assert dram.counters["write_bytes"] == 128
    assert config.memory_cycles(1 << 41) == 0
    assert dram.busy_cycles == 0


def test_an_empty_request_moves_nothing() -> None:
    dram = memory(preset("hbm2"))
    assert dram.read(0) == 0
    assert dram.counters["requests"] == 0
    with pytest.raises(ValueError, match="dram: size_bytes must not be negative, got -1"):
        dram.read(-1)


def test_same_requests_same_schedule() -> None:
    runs = []
    for _ in range(2):
        dram = memory(preset("gddr5x-484"))
        runs.append([dram.read(100 * i, "s" if i % 3 else None) for i in range(1, 300)])
    assert runs[0] == runs[1]


def test_a_refresh_longer_than_its_interval_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dram\.refresh_interval_ns must be above 80"):
        load_config("gscn-ideal", {**SMALL, "dram.refresh_interval_ns": 80})


@pytest.mark.parametrize("key", ["row_bytes", "interleave_bytes"])
def test_rows_and_granules_are_whole_bursts(key: str) -> None:
    with pytest.raises(ConfigError, match=f"dram.{key} must be a multiple of dram.burst_bytes"):
        load_config("gscn-ideal", {**SMALL, f"dram.{key}": 65})
