"""The compiled kernels against loops over plain lists and queues stepped cycle by cycle."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cartesian import Convolution, Cost, Machine, cartesian_group
from oracles.cases import layers, pe_overrides
from oracles.positional import positional_group, stored_entries
from road import costs_in_order

from gscn_sim.config import Config, load_config
from gscn_sim.dataflows.base import BlockCosts
from gscn_sim.errors import ConfigError
from gscn_sim.kernels.pairing import CYCLES, PAIRS, REAL_PAIRS, STEPS, USEFUL, WAIT_CYCLES
from gscn_sim.mapping.plan import Block, Plan
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.run.pipeline import plan_phase
from workloads import Layer, Phase, layer_from_arrays


def machine_of(config: Config) -> Machine:
    pe = config.pe
    return Machine(
        stationary_vector=pe.stationary_vector,
        streamed_vector=pe.streamed_vector,
        banks=pe.accumulator_banks,
        depth=pe.bank_queue_depth,
        bank_hash=pe.bank_hash,
        index_bits=pe.index_bits,
        anticipator_vectors=pe.anticipator_vectors,
        ports=pe.bank_queue_ports,
        adder_stages=pe.adder_stages,
        gather=pe.gather_fragments,
        visits=pe.visits_per_cycle,
        bubble=pe.group_bubble,
        fifo=pe.streamed_fifo_entries if pe.list_resend else 0,
    )


def blocks_of(plan: Plan) -> list[Block]:
    return [b for split in plan.blocks_of_split for row in split for b in row if b is not None]


def kernel_answer(plan: Plan, costs: BlockCosts, sample: int, t: int, block: Block) -> Cost:
    b = int(costs.row_of[plan.distinct_blocks.index(block)])
    counters = costs.counters[sample, t, b]
    by_channel = costs.channel_cycles.get(b)
    reads = costs.stationary_entries if costs.stationary_reads is None else costs.stationary_reads
    return Cost(
        cycles=int(counters[CYCLES]),
        steps=int(counters[STEPS]),
        useful=int(counters[USEFUL]),
        pairs=int(counters[PAIRS]),
        real_pairs=int(counters[REAL_PAIRS]),
        wait_cycles=int(counters[WAIT_CYCLES]),
        stationary_entries=int(costs.stationary_entries[sample, t, b]),
        stationary_reads=int(reads[sample, t, b]),
        streamed_entries=int(costs.streamed_entries[sample, t, b]),
        resent=int(costs.resent_entries[b][sample, t].sum()) if costs.resent_entries else 0,
        channel_cycles=() if by_channel is None else tuple(by_channel[sample, t].tolist()),
    )


def prepare(layer: Layer, phase: str, overrides: dict[str, Any]) -> tuple[Config, Plan, BlockCosts]:
    config = load_config("gscn-ideal", {"policy.barrier": "input_channel", **overrides})
    problem = make_problem(layer.shape, Phase(phase), layer.n_samples)
    operands = make_operands(layer, problem)
    try:
        plan = plan_phase(layer, problem, operands, config)
    except ConfigError:  # the smallest tile needs more accumulators
        config = load_config(
            "gscn-ideal",
            {"policy.barrier": "input_channel", **overrides, "pe.accumulator_entries": 4096},
        )
        plan = plan_phase(layer, problem, operands, config)
    return config, plan, costs_in_order(plan, operands, config)


@pytest.mark.parametrize("dataflow", ["cartesian", "anticipated"])
@pytest.mark.parametrize("phase", ["forward", "dgrad", "wgrad"])
@settings(max_examples=60)
@given(
    layer=layers(),
    pe=pe_overrides(),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kind=st.sampled_from(("planar", "channel", "mixed")),
    rule=st.sampled_from(("exact", "exact", "padded")),
)
def test_cartesian_and_anticipated(
    phase: str,
    dataflow: str,
    layer: Layer,
    pe: dict[str, Any],
    grid: tuple[int, int],
    kind: str,
    rule: str,
) -> None:
    overrides = {
        **pe,
        "array.pe_rows": grid[0],
        "array.pe_cols": grid[1],
        "mapping.kind": kind,
        "mapping.tile_rule": rule,
        f"dataflow.{phase}": dataflow,
    }
    config, plan, costs = prepare(layer, phase, overrides)
    machine = machine_of(config)
    activation, gradient = layer.values("activation"), layer.values("gradient")
    weight = layer.values("weight")
    for sample in range(layer.n_samples):
        stationary = gradient[sample] if phase == "dgrad" else activation[sample]
        conv = Convolution(layer.shape, phase, stationary != 0, gradient[sample] != 0, weight != 0)
        if phase != "wgrad" and not all(tile.is_empty for tile in plan.tiles):
            check_list_lengths(conv, plan, costs, config.pe.index_bits)
        for t, tile in enumerate(plan.tiles):
            for block in blocks_of(plan):
                expected = Cost()
                if not tile.is_empty:
                    expected = cartesian_group(
                        conv,
                        (block.c0, block.c1),
                        (block.o0, block.o1),
                        tile.stationary,
                        tile.streamed,
                        tile.reached,
                        machine,
                        anticipated=dataflow == "anticipated",
                    )
                if phase == "wgrad" or tile.is_empty:
                    expected.channel_cycles = ()
                got = kernel_answer(plan, costs, sample, t, block)
                if tile.is_empty:
                    got.channel_cycles = ()
                assert got == expected, (tile, block)


def check_list_lengths(conv: Convolution, plan: Plan, costs: BlockCosts, index_bits: int) -> None:
    """The streamed entries that each channel meets."""
    region = plan.tiles[0].streamed
    classes = list(itertools.product(*map(range, conv.divisor)))
    for block in blocks_of(plan):
        expected = [
            sum(
                len(conv.streamed_list(c, cls, region, (block.o0, block.o1), index_bits))
                for cls in classes
            )
            for c in range(block.c0, block.c1)
        ]
        assert (
            costs.channel_entries[int(costs.row_of[plan.distinct_blocks.index(block)])].tolist()
            == expected
        )


def check_positional(layer: Layer, overrides: dict[str, Any]) -> None:
    """Every tile and accumulator group against the literal loop nest."""
    config, plan, costs = prepare(layer, "wgrad", overrides)
    activation, gradient = layer.values("activation"), layer.values("gradient")
    blocks = blocks_of(plan)
    widest = max(b.c1 - b.c0 for b in blocks)
    for sample in range(layer.n_samples):
        for t, tile in enumerate(plan.tiles):
            for block in blocks:
                channels = block.c0, block.c1
                expected = positional_group(
                    layer.shape,
                    activation[sample],
                    gradient[sample],
                    channels,
                    (block.o0, block.o1),
                    tile.streamed,
                    machine_of(config),
                    widest,
                )
                expected.stationary_entries = stored_entries(
                    activation[sample] != 0, tile.stationary, channels, config.pe.index_bits
                )
                assert kernel_answer(plan, costs, sample, t, block) == expected, (tile, block)


@settings(max_examples=120)
@given(
    layer=layers(side=4, channels=9),
    pe=pe_overrides(),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kind=st.sampled_from(("planar", "channel", "mixed")),
)
def test_positional(layer: Layer, pe: dict[str, Any], grid: tuple[int, int], kind: str) -> None:
    overrides = {
        **pe,
        "array.pe_rows": grid[0],
        "array.pe_cols": grid[1],
        "mapping.kind": kind,
        "dataflow.wgrad": "positional",
    }
    check_positional(layer, overrides)


@pytest.mark.parametrize(
    ("first", "second", "cycles"), [((0, 1), (0, 2), 1 + 2), ((0, 2), (0,), 2 + 1)]
)
def test_a_list_much_like_the_last_is_no_repeat(
    first: tuple[int, ...], second: tuple[int, ...], cycles: int
) -> None:
    """Gradients of two output positions under equal windows; k = 0 and 2 share one of two banks."""
    gradient = np.zeros((1, 3, 1, 2))
    gradient[0, first, 0, 0] = gradient[0, second, 0, 1] = 1
    layer = layer_from_arrays(
        "layer", activation=np.ones((1, 1, 1, 2)), gradient=gradient, weight=np.ones((3, 1, 1, 1))
    )
    overrides = {
        "array.pe_rows": 1,
        "array.pe_cols": 1,
        "pe.streamed_vector": 2,
        "pe.accumulator_banks": 2,
        "pe.bank_queue_depth": 0,
        "pe.bank_hash": "modulo",
        "mapping.kind": "planar",
        "dataflow.wgrad": "positional",
    }
    check_positional(layer, overrides)
    _, _, costs = prepare(layer, "wgrad", overrides)
    assert costs.counters[..., CYCLES].sum() == cycles


RULES = {
    "ideal": {},
    "ports": {"pe.bank_queue_ports": 2, "pe.group_bubble": 1},
    "adder": {"pe.bank_queue_ports": 3, "pe.adder_stages": 3},
    "visits": {"pe.adder_stages": 2, "pe.visits_per_cycle": 1},
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_group_that_repeats_costs_the_same_each_time(rules: dict[str, int]) -> None:
    """Equal channels are walked once; 20 equal ones cost as in the oracle, queues carried over.

    One of them has no activations: the next one follows it later, on emptier queues.
    """
    rng = np.random.default_rng(1)
    plane = np.repeat(rng.random((1, 1, 5, 5)) < 0.6, 20, axis=1).astype(float)
    plane[:, 14] = 0
    layer = layer_from_arrays(
        "layer",
        activation=plane,
        weight=np.ones((6, 20, 3, 3)),
        padding=(1, 1),
    )
    overrides = {"pe.accumulator_banks": 5, "pe.bank_queue_depth": 40, "array.pe_rows": 1}
    overrides |= {"array.pe_cols": 1, "mapping.kind": "planar", **rules}
    config, plan, costs = prepare(layer, "forward", overrides)
    conv = Convolution(
        layer.shape, "forward", layer.values("activation")[0], None, np.ones((6, 20, 3, 3))
    )
    (block,) = blocks_of(plan)
    (tile,) = plan.tiles
    expected = cartesian_group(
        conv, (0, 20), (0, 6), tile.stationary, tile.streamed, tile.reached, machine_of(config)
    )
    assert len(set(expected.channel_cycles)) > 1  # the queues are fuller after the first
    assert kernel_answer(plan, costs, 0, 0, block) == expected


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_positions_that_repeat_cost_the_same_each_time(rules: dict[str, int]) -> None:
    """All positions of a dense layer have the same lists; those at its edge are met in between."""
    layer = layer_from_arrays(
        "layer",
        activation=np.ones((1, 3, 6, 9)),
        gradient=np.ones((1, 5, 6, 9)),
        weight=np.ones((5, 3, 3, 3)),
        padding=(1, 1),
    )
    overrides = {"pe.accumulator_banks": 5, "pe.bank_queue_depth": 12, "array.pe_rows": 1}
    overrides |= {"array.pe_cols": 1, "mapping.kind": "planar", "dataflow.wgrad": "positional"}
    gather = {"pe.gather_fragments": 1} if rules else {}
    check_positional(layer, overrides | rules | gather)


@pytest.mark.parametrize("phase", ["dgrad", "wgrad"])
@settings(max_examples=40)
@given(
    layer=layers(),
    pe=pe_overrides(),
    dataflow=st.sampled_from(("cartesian", "anticipated", "positional")),
)
def test_pre_phases_cost_what_the_dense_layer_costs(
    phase: str, layer: Layer, pe: dict[str, Any], dataflow: str
) -> None:
    """Blocks that must cost the same share one answer; it is the answer of each of them."""
    if phase == "dgrad" and dataflow == "positional":
        dataflow = "cartesian"
    overrides = {**pe, "array.pe_rows": 2, "array.pe_cols": 3, "mapping.kind": "mixed"}
    overrides[f"dataflow.{phase}"] = dataflow
    dense = layer_from_arrays(
        "layer",
        activation=np.ones((1, *layer.shape.activation_shape)),
        gradient=np.ones((1, *layer.shape.gradient_shape)),
        weight=layer.values("weight"),
        shape=layer.shape,
    )
    _, plan, costs = prepare(layer, f"pre_{phase}", overrides)
    _, same_plan, expected = prepare(dense, phase, overrides)
    assert plan.tiles == same_plan.tiles
    for t in range(len(plan.tiles)):
        for block in blocks_of(plan):
            assert kernel_answer(plan, costs, 0, t, block) == kernel_answer(
                same_plan, expected, 0, t, block
            )
