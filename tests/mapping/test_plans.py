"""Every legal plan covers the work once and fits the machine; the choice and its errors."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import machine_overrides, shapes
from oracles.products import meetings
from road import all_legal_plans, plan_of

from gscn_sim.config import load_config
from gscn_sim.errors import ConfigError
from gscn_sim.mapping.plan import Plan
from gscn_sim.problem.geometry import Problem, make_problem
from workloads import Layer, LayerShape, Phase, layer_from_arrays

PHASES = (Phase.FORWARD, Phase.DGRAD, Phase.WGRAD)


def dense_layer(shape: LayerShape) -> Layer:
    return layer_from_arrays(
        "conv1",
        activation=np.ones((1, *shape.activation_shape)),
        gradient=np.ones((1, *shape.gradient_shape)),
        weight=np.ones(shape.weight_shape),
        shape=shape,
    )


def area(region: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    return {(y, x) for y in range(*region[:2]) for x in range(*region[2:])}


def products_of(problem: Problem) -> set[tuple[int, ...]]:
    """(stationary channel, y, x, streamed y, x, output channel, y, x) of the dense layer."""
    shape = problem.shape
    found = set()
    for k, c, _, h, w, p, q, rs in meetings(shape):
        r, s = divmod(rs, shape.S)
        found.add(
            {
                Phase.FORWARD: (c, h, w, r, s, k, p, q),
                Phase.DGRAD: (k, p, q, r, s, c, h, w),
                Phase.WGRAD: (c, h, w, p, q, k, r, s),
            }[problem.phase]
        )
    return found


def check_plan(plan: Plan, entries: int, num_pes: int) -> None:
    problem = plan.problem
    assert 1 <= plan.num_pes_used <= num_pes
    parts = plan.rows * plan.cols * plan.passes[0] * plan.passes[1]
    assert len(plan.tiles) == parts
    numbers = [
        plan.tile_index(row, col, i)
        for row in range(plan.rows)
        for col in range(plan.cols)
        for i in range(plan.passes[0] * plan.passes[1])
    ]
    assert sorted(numbers) == list(range(parts))
    blocks = [b for split in plan.blocks_of_split for row in split for b in row if b is not None]
    for split in plan.blocks_of_split:
        for row in split:
            assert len(row) == plan.inputs
            assert any(row)
    # Outputs are written back once.
    if not problem.is_reduction:
        owned = Counter(at for tile in plan.tiles for at in area(tile.owned))
        assert set(owned.values()) == {1}
        assert len(owned) == problem.output_plane[0] * problem.output_plane[1]
        channels = Counter(o for b in blocks for o in range(b.o0, b.o1))
        assert channels == Counter(range(problem.output_channels))
    # Accumulators hold what the products reach.
    for block in blocks:
        inputs = block.c1 - block.c0 if problem.is_reduction else 1
        for tile in plan.tiles:
            if plan.tile_rule == "exact":
                held = (block.o1 - block.o0) * inputs * tile.reached_outputs
                assert held <= entries
    # Every product is formed on one tile, in one accumulator group, and its output is reached.
    tiles_of: Counter[tuple[int, ...]] = Counter()
    groups_of: Counter[tuple[int, ...]] = Counter()
    regions = [(area(t.stationary), area(t.streamed), area(t.reached)) for t in plan.tiles]
    for c, y, x, r, s, o, v, u in products_of(problem):
        for stationary, streamed, reached in regions:
            if (y, x) in stationary and (r, s) in streamed:
                tiles_of[c, y, x, r, s, o] += 1
                assert (v, u) in reached
        groups_of[c, o] += 0
    for c, o in groups_of:
        groups_of[c, o] = sum(b.c0 <= c < b.c1 and b.o0 <= o < b.o1 for b in blocks)
    assert set(tiles_of.values()) <= {1}
    assert len(tiles_of) == len(products_of(problem))
    assert set(groups_of.values()) <= {1}


@pytest.mark.parametrize("phase", PHASES)
@settings(max_examples=100)
@given(
    shape=shapes(side=5, channels=3),
    machine=machine_overrides(),
    batch=st.integers(1, 5),
    picked=st.integers(0, 1 << 16),
)
def test_plans_cover_the_work_once(
    phase: Phase, shape: LayerShape, machine: dict[str, Any], batch: int, picked: int
) -> None:
    config = load_config("gscn-ideal", machine)
    problem = make_problem(shape, phase, batch)
    for plans in all_legal_plans(problem, config):
        if plans:
            plan = plans[picked % len(plans)]
            check_plan(plan, config.pe.accumulator_entries, config.num_pes)
            assert plan.samples <= batch


@settings(max_examples=150)
@given(
    shape=shapes(side=9, channels=3),
    phase=st.sampled_from(PHASES),
    kind=st.sampled_from(("planar", "sample", "channel", "mixed", "auto")),
    rule=st.sampled_from(("exact", "padded")),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_the_error_names_the_least_that_fits(
    shape: LayerShape, phase: Phase, kind: str, rule: str, grid: tuple[int, int]
) -> None:
    layer = dense_layer(shape)

    def choose(entries: int) -> Plan:
        config = load_config(
            "gscn-ideal",
            {
                "pe.accumulator_entries": entries,
                "mapping.kind": kind,
                "mapping.tile_rule": rule,
                "array.pe_rows": grid[0],
                "array.pe_cols": grid[1],
            },
        )
        return plan_of(layer, phase, config, 1)

    try:
        choose(1)
    except ConfigError as error:
        message = str(error)
        found = re.fullmatch(
            rf"layer conv1, {phase}: no tile fits: pe.accumulator_entries must be at least (\d+) "
            r"to hold one output channel of the smallest tile, got 1",
            message,
        )
        assert found, message
        least = int(found[1])
        assert least > 1
        choose(least)
        with pytest.raises(ConfigError, match="no tile fits"):
            choose(least - 1)


def test_planar_splits_only_the_plane() -> None:
    shape = LayerShape(C=4, H=8, W=8, K=16, R=3, S=3, padding=(1, 1))
    layer = dense_layer(shape)
    grid = {"array.pe_rows": 2, "array.pe_cols": 4}
    plans = {
        kind: plan_of(
            layer, Phase.FORWARD, load_config("gscn-ideal", {**grid, "mapping.kind": kind}), 4
        )
        for kind in ("planar", "sample", "channel", "mixed")
    }
    assert plans["planar"].label == "n1 2x4 o1"
    assert plans["sample"].label == "n4 1x1 o1"
    assert plans["channel"].label == "n1 1x1 o8"
    assert plans["mixed"].num_pes_used == 8


def sparse_layer(shape: LayerShape) -> Layer:
    """Two samples with half of the activations and a tenth of the gradients."""
    rng = np.random.default_rng(0)
    return layer_from_arrays(
        "l",
        activation=rng.random((2, *shape.activation_shape)) < 0.5,
        gradient=rng.random((2, *shape.gradient_shape)) < 0.1,
        weight=np.ones(shape.weight_shape),
        shape=shape,
    )


def test_auto_uses_the_machine_on_small_planes() -> None:
    """On 7x7 maps 224 PEs must not idle because a plane has 49 positions."""
    shape = LayerShape(C=64, H=7, W=7, K=64, R=3, S=3, padding=(1, 1))
    layer = sparse_layer(shape)
    for phase in (Phase.DGRAD, Phase.WGRAD):
        plan = plan_of(layer, phase, load_config("gscn-ideal"), 16)
        assert plan.num_pes_used >= 160, plan.label
        estimated = r"mixed, best of \d+ by estimate \(\d+ cycles\)"
        counted = r", best of \d+ with steps counted \(\d+ cycles\)"
        assert re.fullmatch(estimated + counted, plan.reason)


def test_keys_that_no_plan_depends_on() -> None:
    """Each of them changed alone leaves every plan as it is, reason and estimate included."""
    shape = LayerShape(C=8, H=14, W=14, K=16, R=3, S=3, padding=(1, 1))
    layer = sparse_layer(shape)
    other = {
        "pe.accumulator_banks": 64,
        "pe.bank_queue_depth": 1,
        "pe.bank_hash": "modulo",
        "pe.anticipator_vectors": 2,
        "buffer.rounds_ahead": 1,
        "drain.overlap": False,
        "drain.staging_rounds": 1,
        "policy.halo": "serial",
    }
    for phase in (Phase.DGRAD, Phase.WGRAD):
        for dataflow in ("auto", "cartesian"):
            base = {"dataflow.wgrad": dataflow}
            plain = load_config("gscn-ideal", base)
            plan = plan_of(layer, phase, plain, 16)
            for key, value in other.items():
                config = load_config("gscn-ideal", base | {key: value})
                assert config != plain
                found = plan_of(layer, phase, config, 16)
                facts = ("label", "reason", "block_outputs", "block_inputs", "dataflow")
                assert [getattr(found, f) for f in facts] == [getattr(plan, f) for f in facts], key


@pytest.mark.parametrize("key", ["dataflow.forward", "dataflow.dgrad"])
def test_positional_is_for_wgrad(key: str) -> None:
    allowed = f"{key} must be one of cartesian, anticipated, dense, auto; got 'positional'"
    with pytest.raises(ConfigError, match=allowed):
        load_config("gscn-ideal", {key: "positional"})
