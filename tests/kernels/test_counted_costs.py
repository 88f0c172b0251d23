"""Counted steps: all counters of the kernel that forms every product, but waits for banks."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import layers, pe_overrides
from road import plan_of

from gscn_sim.config import load_config
from gscn_sim.config.view import view
from gscn_sim.dataflows.base import PeTiming, block_costs
from gscn_sim.dataflows.registry import dataflow
from gscn_sim.kernels.pairing import CYCLES, STEPS, USEFUL, WAIT_CYCLES
from gscn_sim.mapping.deal import deal_order
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.run.decide import without_banks
from workloads import Layer, Phase


@settings(max_examples=150, deadline=None)
@given(
    layer=layers(channels=9),
    pe=pe_overrides(),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    balance=st.sampled_from(("static", "sorted")),
    which=st.sampled_from(
        (
            (Phase.WGRAD, "positional"),
            (Phase.WGRAD, "cartesian"),
            (Phase.DGRAD, "cartesian"),
            (Phase.FORWARD, "cartesian"),
            (Phase.DGRAD, "anticipated"),
        )
    ),
)
def test_counts_are_those_of_the_kernel(
    layer: Layer, pe: dict[str, Any], grid: tuple[int, int], balance: str, which: tuple[Phase, str]
) -> None:
    phase, name = which
    overrides = {
        **pe,
        "array.pe_rows": grid[0],
        "array.pe_cols": grid[1],
        f"dataflow.{phase}": name,
        "policy.load_balance": balance,
        "pe.accumulator_entries": 1024,
    }
    config = without_banks(load_config("gscn-ideal", overrides))
    plan = plan_of(layer, phase, config, layer.n_samples)
    operands = make_operands(layer, make_problem(layer.shape, phase, layer.n_samples))
    order, timing = deal_order(plan, operands, balance), view(PeTiming, config)
    flow = dataflow(name)
    formed = block_costs(flow, plan.of_one_sample, operands, order, timing)
    counted = block_costs(flow, plan.of_one_sample, operands, order, timing, True)
    unknown = [CYCLES, *([USEFUL] if name == "cartesian" else [])]
    others = ~np.isin(np.arange(formed.counters.shape[-1]), unknown)
    np.testing.assert_array_equal(counted.counters[..., others], formed.counters[..., others])
    taken = counted.counters[..., STEPS] + counted.counters[..., WAIT_CYCLES]
    if name != "anticipated":  # is formed whole
        np.testing.assert_array_equal(counted.counters[..., CYCLES], taken)
    # What is formed also waits for the last sums.
    assert (formed.counters[..., CYCLES] >= taken).all()
    np.testing.assert_array_equal(counted.row_of, formed.row_of)
    for name in ("stationary_entries", "streamed_entries", "plane_entries"):
        np.testing.assert_array_equal(getattr(counted, name), getattr(formed, name))
    for row, cycles in formed.channel_cycles.items():
        assert (counted.channel_cycles[row] <= cycles).all()
        np.testing.assert_array_equal(counted.channel_entries[row], formed.channel_entries[row])
    assert counted.resent_entries.keys() == formed.resent_entries.keys()
    for row, resent in formed.resent_entries.items():
        np.testing.assert_array_equal(counted.resent_entries[row], resent)
