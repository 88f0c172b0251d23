"""Rounds of summed outputs, laid out with array arithmetic, against the plan's own list of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.cases import shapes
from road import all_legal_plans

from gscn_sim.config import load_config
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.geometry import make_problem
from gscn_sim.schedule.reduction import _split
from workloads import LayerShape, Phase


def check(plan: Plan, is_resident: bool) -> None:
    """Rows, sums held, fills and repetitions of every split, one round after another."""
    index = {block: i for i, block in enumerate(plan.distinct_blocks)}
    assert len(index) == len(plan.distinct_blocks)
    row_of = np.arange(len(index)) * 3 % 101  # any rows: what stands at a block's place comes back
    kernel = plan.problem.output_plane[0] * plan.problem.output_plane[1]
    for number, rounds in enumerate(plan.blocks_of_split):
        found = _split(plan, number, row_of, is_resident)
        seen: set[tuple[int, int]] = set()
        uses: dict[int, int] = {}
        for r, blocks in enumerate(rounds):
            assert found.rows[r].tolist() == [-1 if b is None else row_of[index[b]] for b in blocks]
            sums = [0 if b is None else (b.o1 - b.o0) * (b.c1 - b.c0) * kernel for b in blocks]
            assert found.held[r].tolist() == sums
            some = [b for b in blocks if b is not None]
            first = min(b.c0 for b in some)
            assert found.fills[r] == (first, 0 if is_resident else uses.get(first, 0))
            uses[first] = uses.get(first, 0) + 1
            outputs = some[0].o0, some[0].o1
            assert bool(found.is_again[r]) == (outputs in seen)
            seen.add(outputs)
        assert len(found.rows) == len(found.fills) == len(rounds)


@given(
    shape=shapes(channels=7),
    batch=st.integers(1, 4),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    entries=st.sampled_from((16, 40, 200)),
    is_resident=st.booleans(),
    data=st.data(),
)
def test_any_plan(
    shape: LayerShape, batch: int, grid: tuple[int, int], entries: int, is_resident: bool, data: Any
) -> None:
    config = load_config(
        "gscn-ideal",
        {"array.pe_rows": grid[0], "array.pe_cols": grid[1], "pe.accumulator_entries": entries},
    )
    problem = make_problem(shape, Phase.WGRAD, batch)
    plans = [plan for plans in all_legal_plans(problem, config) for plan in plans]
    if plans:
        check(data.draw(st.sampled_from(plans)), is_resident)


@pytest.mark.parametrize("is_resident", [False, True])
def test_uneven_columns(is_resident: bool) -> None:
    """13 input channels over 3 splits in ranges of 2: columns of 4, 4 and 5 take 2, 2 and 3."""
    shape = LayerShape(C=13, H=4, W=4, K=10, R=1, S=1)
    problem = make_problem(shape, Phase.WGRAD, 1)
    plan = Plan(
        problem=problem, dataflow="positional", kind="mixed", samples=1, rows=1, cols=1, outputs=2,
        inputs=3, passes=(1, 1), block_outputs=3, block_inputs=2, tile_rule="exact",
    )  # fmt: skip
    assert plan.input_ranges(0) == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 13)]
    assert plan.output_ranges(0) == [(0, 3), (3, 5), (5, 8), (8, 10)]
    check(plan, is_resident)
