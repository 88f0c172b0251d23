"""Counted steps: all counters of the kernel that forms every product, but what makes it wait."""

from __future__ import annotations

from dataclasses import replace
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
from gscn_sim.kernels.pairing import CYCLES, STEPS, WAIT_CYCLES
from gscn_sim.mapping.deal import deal_order
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from workloads import Layer, Phase


@settings(max_examples=150, deadline=None)
@given(
    layer=layers(channels=9),
    pe=pe_overrides(),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    balance=st.sampled_from(("static", "sorted")),
)
def test_counts_are_those_of_the_kernel(
    layer: Layer, pe: dict[str, Any], grid: tuple[int, int], balance: str
) -> None:
    overrides = {
        **pe,
        "array.pe_rows": grid[0],
        "array.pe_cols": grid[1],
        "dataflow.wgrad": "positional",
        "policy.load_balance": balance,
        "pe.accumulator_entries": 1024,
    }
    config = load_config("gscn-ideal", overrides)
    plan = plan_of(layer, Phase.WGRAD, config, layer.n_samples)
    operands = make_operands(layer, make_problem(layer.shape, Phase.WGRAD, layer.n_samples))
    order, timing = deal_order(plan, operands, balance), view(PeTiming, config)
    flow = dataflow("positional")
    formed = block_costs(flow, plan.of_one_sample, operands, order, timing)
    counted = block_costs(flow, plan.of_one_sample, operands, order, timing, True)
    others = ~np.isin(np.arange(formed.counters.shape[-1]), (CYCLES, WAIT_CYCLES))
    np.testing.assert_array_equal(counted.counters[..., others], formed.counters[..., others])
    waited = counted.counters[..., WAIT_CYCLES]
    np.testing.assert_array_equal(
        counted.counters[..., CYCLES], counted.counters[..., STEPS] + waited
    )
    assert (formed.counters[..., CYCLES] >= counted.counters[..., CYCLES]).all()
    endless = replace(timing, bank_queue_depth=1 << 20, bank_queue_ports=0, adder_stages=1)
    unqueued = block_costs(flow, plan.of_one_sample, operands, order, endless)
    np.testing.assert_array_equal(waited, unqueued.counters[..., WAIT_CYCLES])
    np.testing.assert_array_equal(counted.row_of, formed.row_of)
    for name in ("stationary_entries", "streamed_entries", "plane_entries"):
        np.testing.assert_array_equal(getattr(counted, name), getattr(formed, name))
