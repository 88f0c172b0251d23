"""The memory over a whole step: late, shared, switched on again."""

from __future__ import annotations

import simpy

from gscn_sim.config import load_config
from gscn_sim.fabric.dram import Dram
from gscn_sim.fabric.memory_port import MemoryPort
from gscn_sim.results.timeline import Timeline


def test_late_transfers_are_on_the_timeline_too() -> None:
    """After ten milliseconds and 1,280 refreshes a request still has its bars, at its cycles."""
    config = load_config("gscn-ideal")
    timeline = Timeline(clock_ghz=config.array.clock_ghz, num_pes=1)
    env = simpy.Environment()
    dram = Dram(env, config, timeline=timeline)
    env.run(until=15_820_000)
    moved = dram.transfer(1 << 20, write=False, stream="late")
    bars = [span for lanes in timeline._tracks.values() for lane in lanes for span in lane]
    assert len(bars) == config.dram.channels
    assert min(bar.start for bar in bars) == moved.start_cycle
    assert max(bar.end for bar in bars) in (moved.done_cycle - 1, moved.done_cycle)


def test_a_memory_that_is_switched_on_again() -> None:
    """The same requests take the same time after a restart, whatever went before and whenever."""
    env = simpy.Environment()
    dram = Dram(env, load_config("gscn-ideal"))

    def requests() -> list[int]:
        now = int(env.now)
        dram.lay_out({"a": 5000, "b": 7000})
        found = [dram.read(5000, "a"), dram.write(7000, "b"), dram.read(64), dram.finish()]
        return [cycle - now for cycle in found]

    first = requests()
    env.run(until=123_457)
    assert requests() != first  # its banks are open, a refresh is near
    env.run(until=246_801)
    dram.restart()
    assert requests() == first


def test_cycles_in_which_something_is_asked_for() -> None:
    """Overlapping requests count once; data moves in no other cycles."""
    env = simpy.Environment()
    dram = Dram(env, load_config("gscn-ideal"))
    one = dram.read(4096)
    two = dram.read(4096)
    assert dram.asked_cycles == max(one, two)
    env.run(until=10_000)
    three = dram.write(1 << 20)
    end = dram.finish()
    assert dram.asked_cycles == max(one, two) + max(three, end) - 10_000
    assert dram.busy_cycles <= dram.asked_cycles


def test_ports_to_one_memory() -> None:
    """Streams of two ports are apart though they have one name; each port counts its own."""
    dram = Dram(simpy.Environment(), load_config("gscn-ideal"))
    one, two = MemoryPort(dram, "one"), MemoryPort(dram, "two")
    one.lay_out({"in": 1 << 20})
    two.lay_out({"in": 1 << 20})
    one.read(100, "in")
    two.read(64, "in")
    two.write(1, "out")
    assert dict(one.counters) == {"read_bytes": 128}
    assert dict(two.counters) == {"read_bytes": 64, "write_bytes": 64}
    assert dram.counters["read_bytes"] == 192
    assert dram.counters["row_misses"] == 2  # both read the first row of their own
