"""The crossbar with few ports and a slow adder: by hand, against a twin, and its ideal case."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.crossbar import Product, crossbar_cycles
from oracles.queues import Rules, Step, run_queues

from gscn_sim.kernels.crossbar import run_crossbar


def rule(
    steps: list[list[Product]], banks: int, depth: int, ports: int, adder_stages: int
) -> tuple[int, list[int]]:
    ptr = np.cumsum([0, *(len(step) for step in steps)])
    flat = [product for step in steps for product in step]
    began = np.zeros(len(steps), np.int64)
    cycles = run_crossbar(
        ptr,
        np.array([bank for bank, _ in flat], np.int64),
        np.array([address for _, address in flat], np.int64),
        banks,
        64,
        depth,
        ports,
        adder_stages,
        began,
    )
    return int(cycles), began.tolist()


def test_two_ports_by_hand() -> None:
    # Five products of a step on one bank, a queue of 8: two are taken in each cycle, so the next
    # step begins after 3. One leaves in each of 5 cycles.
    five = [[(0, a) for a in range(5)], []]
    assert rule(five, 1, 8, 2, 1) == (5, [0, 3])
    assert rule(five, 1, 8, 5, 1) == (5, [0, 1])
    # Without a queue each is taken as it leaves, whatever the ports.
    assert rule(five, 1, 0, 5, 1) == (6, [0, 5])
    # A queue of 1: two are taken at once, one passes; then one a cycle.
    assert rule(five, 1, 1, 2, 1) == (5, [0, 4])


def test_a_slow_adder_by_hand() -> None:
    # The same sum three times through an adder of 4 stages: retired at 0, 4 and 8.
    assert rule([[(0, 3)], [(0, 3)], [(0, 3)]], 1, 8, 1, 4) == (12, [0, 1, 2])
    # Other sums fill the time, but not past the one that waits.
    assert rule([[(0, 3)], [(0, 4)], [(0, 5)], [(0, 3)]], 1, 8, 1, 4) == (8, [0, 1, 2, 3])
    assert rule([[(0, 3)], [(0, 3)], [(0, 5)]], 1, 8, 1, 4) == (9, [0, 1, 2])
    # Without a queue the step itself waits.
    assert rule([[(0, 3)], [(0, 3)], [(1, 5)]], 2, 0, 1, 4) == (9, [0, 1, 5])


products = st.tuples(st.integers(0, 5), st.integers(0, 3))
programs = st.lists(st.lists(products, max_size=9), max_size=30)


@settings(max_examples=300, deadline=None)
@given(
    steps=programs,
    depth=st.integers(0, 5),
    ports=st.integers(1, 10),
    adder_stages=st.integers(1, 5),
)
def test_equals_the_twin(
    steps: list[list[Product]], depth: int, ports: int, adder_stages: int
) -> None:
    assert rule(steps, 6, depth, ports, adder_stages) == crossbar_cycles(
        steps, 6, depth, ports, adder_stages
    )


@settings(max_examples=100, deadline=None)
@given(steps=programs, depth=st.integers(0, 5))
def test_any_number_of_ports_and_a_quick_adder_are_the_rule_of_the_dataflows(
    steps: list[list[Product]], depth: int
) -> None:
    program = [Step(banks=[bank for bank, _ in step]) for step in steps]
    ideal = run_queues(program, 6, Rules(depth=depth))
    cycles, _ = rule(steps, 6, depth, 9, 1)
    assert cycles == ideal.cycles


@settings(max_examples=100, deadline=None)
@given(steps=programs, depth=st.integers(0, 5), ports=st.integers(1, 9))
def test_a_step_waits_for_ports_and_for_room(
    steps: list[list[Product]], depth: int, ports: int
) -> None:
    """With one adder stage: the closed form, most products over ports, or what must leave first."""
    free = [0] * 6
    now = 0
    began = []
    for step in steps:
        began.append(now)
        after = now + 1
        for bank in range(6):
            number = sum(1 for product in step if product[0] == bank)
            if number:
                free[bank] = max(free[bank], now) + number
                after = max(after, now + -(-number // ports), free[bank] - depth)
        now = after
    assert rule(steps, 6, depth, ports, 1) == (max(now, *free), began)


@pytest.mark.parametrize("adder_stages", [1, 3])
def test_more_ports_never_take_longer(adder_stages: int) -> None:
    random = np.random.default_rng(0)
    steps = [[(int(b), int(a)) for b, a in random.integers(0, 6, (9, 2))] for _ in range(200)]
    took = [rule(steps, 6, 4, ports, adder_stages)[0] for ports in (1, 2, 3, 9)]
    assert took == sorted(took, reverse=True)
