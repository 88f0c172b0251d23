"""The broadcast network by hand."""

from __future__ import annotations

import simpy

from gscn_sim.fabric.network import BroadcastNetwork


def test_transfers_follow_each_other_without_gaps() -> None:
    """4 bytes a cycle: transfers of 1, 6 and 1 bytes are there after 1, 7 and 8 of them."""
    env = simpy.Environment()
    network = BroadcastNetwork(env, 4)
    assert [network.transfer(size).done_cycle for size in (1, 6, 1)] == [1, 2, 2]
    assert network.transfer(0).done_cycle == 0  # nothing has nothing to wait for
    env.run(until=10)
    assert network.transfer(5).done_cycle == 12
    assert network.counters["bytes"] == 13


def test_no_limit() -> None:
    env = simpy.Environment(initial_time=3)
    network = BroadcastNetwork(env, 0)
    assert network.transfer(1000).done_cycle == 3
    assert network.counters["bytes"] == 1000
