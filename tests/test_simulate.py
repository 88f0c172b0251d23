"""Whole layer-phases on whole machines: identities, traffic, bounds, hard cases, errors."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import layers, machine_overrides
from oracles.products import useful_products

from gscn_sim import load_config, simulate
from gscn_sim.errors import ConfigError, IdentityError
from gscn_sim.geometry import make_operands, make_problem
from gscn_sim.layer_phase import simulate_phase
from gscn_sim.mapping import Plan, choose_plan
from gscn_sim.mapping.choose import dataflows_of, legal_plans
from gscn_sim.records import PhaseRecord, Slots
from workloads import Layer, LayerShape, Phase, Trace, layer_from_arrays

PHASES = ("forward", "dgrad", "wgrad")
KINDS = ("auto", "planar", "sample", "channel", "mixed")


def run(layer: Layer, phase: str, overrides: dict[str, Any], batch: int) -> PhaseRecord:
    trace = Trace(network="toy", batch_size=99, layers=[layer])
    config = load_config("gscn", overrides)
    (record,) = simulate(trace, config, phases=(phase,), batch_size=batch).records
    return record


def expected_useful(layer: Layer, phase: str, batch: int) -> int:
    name = phase.removeprefix("pre_")
    shape, weight = layer.shape, layer.values("weight")
    if name != phase:
        ones = np.ones(shape.activation_shape), np.ones(shape.gradient_shape)
        return useful_products(shape, name, *ones, weight)
    activation, gradient = layer.values("activation"), layer.values("gradient")
    counts = [
        useful_products(shape, name, activation[n], gradient[n], weight)
        for n in range(layer.n_samples)
    ]
    return sum(counts[n % layer.n_samples] for n in range(batch))


def check_record(record: PhaseRecord, layer: Layer, overrides: dict[str, Any], batch: int) -> None:
    """What must hold whatever the machine is, from numbers that the record does not check."""
    config = load_config("gscn", overrides)
    slots = record.slots
    parts = [getattr(slots, name) for name in Slots.__dataclass_fields__]
    assert min(parts) >= 0
    pes = config.array.pe_rows * config.array.pe_cols
    f, i = config.pe.streamed_vector, config.pe.stationary_vector
    assert sum(parts) == pes * f * i * record.cycles
    assert slots.useful == expected_useful(layer, record.phase.value, batch)
    assert (
        slots.useful + slots.redundant + slots.placeholder + slots.fragmentation
        == record.steps * f * i
    )
    assert slots.bank_conflict % (f * i) == 0
    assert len(record.pe_busy_cycles) == pes
    assert 0 <= min(record.pe_busy_cycles) <= max(record.pe_busy_cycles) <= record.cycles
    burst = config.dram.burst_bytes
    assert record.dram_read_bytes % burst == record.dram_write_bytes % burst == 0
    outputs = make_problem(layer.shape, record.phase, batch).output_elements
    assert record.dram_write_bytes >= outputs * config.pe.value_bytes
    if config.dram.kind != "ideal":
        moved = record.dram_read_bytes + record.dram_write_bytes
        peak = Fraction(config.dram.peak_gbps) / Fraction(config.array.clock_ghz)
        assert record.cycles >= moved / peak * Fraction(999999, 1000000)
    if record.dataflow == "positional":
        assert slots.redundant == 0
    if config.mapping.kind != "auto":
        assert record.mapping_reason.startswith(config.mapping.kind)


@settings(max_examples=250)
@given(
    layer=layers(),
    overrides=machine_overrides(),
    phase=st.sampled_from([phase.value for phase in Phase]),
    batch=st.integers(1, 5),
)
def test_identities_hold_or_the_machine_is_refused(
    layer: Layer, overrides: dict[str, Any], phase: str, batch: int
) -> None:
    config = load_config("gscn", overrides)
    problem = make_problem(layer.shape, Phase(phase), batch)
    if not any(list(legal_plans(problem, config, flow)) for flow in dataflows_of(problem, config)):
        with pytest.raises(ConfigError, match=r"no tile fits: pe\.accumulator_entries must be"):
            run(layer, phase, overrides, batch)
        return
    record = run(layer, phase, overrides, batch)
    check_record(record, layer, overrides, 1 if phase.startswith("pre_") else batch)


def shape_of(name: str) -> LayerShape:
    return {
        "fully connected": LayerShape(C=9, H=1, W=1, K=7, R=1, S=1),
        "1x1": LayerShape(C=5, H=4, W=6, K=7, R=1, S=1),
        "1x1 stride 2": LayerShape(C=5, H=5, W=7, K=4, R=1, S=1, stride=(2, 2)),
        "depthwise": LayerShape(C=6, H=5, W=5, K=6, R=3, S=3, padding=(1, 1), groups=6),
        "one output": LayerShape(C=3, H=5, W=5, K=4, R=5, S=5),
        "row": LayerShape(C=2, H=1, W=12, K=3, R=1, S=3, padding=(0, 1)),
    }[name]


@pytest.mark.parametrize("gradient_density", [0.0, 0.4])
@pytest.mark.parametrize(
    "name", ["fully connected", "1x1", "1x1 stride 2", "depthwise", "one output", "row"]
)
def test_hard_layers(name: str, gradient_density: float) -> None:
    """All phases and mappings; 7x5 PEs (more than the work), 7 banks, batch beyond the record."""
    shape = shape_of(name)
    rng = np.random.default_rng(5)
    layer = layer_from_arrays(
        "layer",
        activation=rng.random((2, *shape.activation_shape)) < 0.6,
        gradient=rng.random((2, *shape.gradient_shape)) < gradient_density,
        weight=rng.random(shape.weight_shape) < 0.7,
        shape=shape,
    )
    for phase, kind in itertools.product((*PHASES, "pre_dgrad", "pre_wgrad"), KINDS):
        overrides = {
            "array.pe_rows": 7,
            "array.pe_cols": 5,
            "pe.accumulator_banks": 7,
            "mapping.kind": kind,
        }
        record = run(layer, phase, overrides, 5)
        check_record(record, layer, overrides, 1 if phase.startswith("pre_") else 5)
        if gradient_density == 0 and phase in ("dgrad", "wgrad"):
            assert record.useful_products == record.steps == 0
            assert record.cycles > 0  # zeros are written


@settings(max_examples=40)
@given(layer=layers(), overrides=machine_overrides())
def test_the_same_run_twice_gives_the_same_records(layer: Layer, overrides: dict[str, Any]) -> None:
    config = load_config("gscn", {**overrides, "pe.accumulator_entries": 1024})
    trace = Trace(network="toy", batch_size=3, layers=[layer, replace(layer, name="again")])
    first = simulate(trace, config, phases=PHASES, workers=1)
    second = simulate(trace, config, phases=PHASES, workers=3)
    assert first.records == second.records
    assert first == second


# Traffic ------------------------------------------------------------------------------------

# One byte a value, one a run, bursts of one byte: traffic is twice the entries, not rounded.
BYTES = {
    "pe.value_bytes": 1,
    "pe.index_bits": 8,
    "dram.preset": "ideal",
    "dram.burst_bytes": 1,
    "pe.accumulator_entries": 300,
}


def plan_of(layer: Layer, phase: str, overrides: dict[str, Any], batch: int) -> Plan:
    problem = make_problem(layer.shape, Phase(phase), batch)
    return choose_plan(
        problem, make_operands(layer, problem), load_config("gscn", overrides), layer.name
    )


def ungrouped(layer: Layer) -> bool:
    return layer.shape.groups == 1


@pytest.mark.parametrize("phase", ["forward", "dgrad"])
@pytest.mark.parametrize("tiles_fit", [True, False])
@pytest.mark.parametrize("buffer_fits", [True, False])
@settings(max_examples=25)
@given(layer=layers().filter(ungrouped), kind=st.sampled_from(KINDS), batch=st.integers(1, 5))
def test_maps_traffic(
    phase: str, tiles_fit: bool, buffer_fits: bool, layer: Layer, kind: str, batch: int
) -> None:
    """Maps are read once, or for every accumulator group; weights once, or for every pass.

    Output-channel parts share what they read. How many groups and passes there are is all that
    depends on the mapping.
    """
    overrides = BYTES | {
        "mapping.kind": kind,
        "pe.stationary_buffer_bytes": 1 << 30 if tiles_fit else 1,
        "buffer.size_bytes": 1 << 30 if buffer_fits else 1,
    }
    plan = plan_of(layer, phase, overrides, batch)
    record = run(layer, phase, overrides, batch)
    maps = layer.values("activation" if phase == "forward" else "gradient")
    nonzeros = sum(np.count_nonzero(maps[n % layer.n_samples]) for n in range(batch))
    weights = np.count_nonzero(layer.values("weight"))
    groups = max(len(split) for split in plan.blocks_of_split)
    groups = 1 if tiles_fit or buffer_fits else groups
    waves = -(-batch // plan.samples)
    visits = 1 if buffer_fits else waves * plan.passes[0] * plan.passes[1]
    assert record.dram_read_bytes == 2 * (nonzeros * groups + weights * visits)
    shape = layer.shape
    outputs = shape.K * shape.P * shape.Q if phase == "forward" else shape.C * shape.H * shape.W
    assert record.dram_write_bytes == batch * outputs


def reachable(layer: Layer) -> np.ndarray:
    """Activations between the first and the last that any gradient can meet."""
    s = layer.shape
    spans = []
    for i, (size, out, kernel) in enumerate(((s.H, s.P, s.R), (s.W, s.Q, s.S))):
        first = -s.padding[i]
        last = (out - 1) * s.stride[i] - s.padding[i] + (kernel - 1) * s.dilation[i]
        spans.append(slice(max(first, 0), max(0, min(last + 1, size))))
    return layer.values("activation")[:, :, spans[0], spans[1]]


@pytest.mark.parametrize("dataflow", ["cartesian", "positional"])
@pytest.mark.parametrize("tiles_fit", [True, False])
@pytest.mark.parametrize("buffer_fits", [True, False])
@settings(max_examples=25)
@given(
    layer=layers().filter(lambda layer: ungrouped(layer) and reachable(layer).size > 0),
    kind=st.sampled_from(("sample", "channel")),
    batch=st.integers(1, 5),
)
def test_wgrad_traffic(
    dataflow: str, tiles_fit: bool, buffer_fits: bool, layer: Layer, kind: str, batch: int
) -> None:
    """Activations are read once, or for every range of outputs; gradients once, or for each step.

    A step is one range of input channels on each input-channel part. Output-channel parts share the
    activations that they read.
    """
    overrides = BYTES | {
        "mapping.kind": kind,
        "dataflow.wgrad": dataflow,
        "pe.accumulator_entries": 16,  # one filter at least, seldom all of them
        "pe.stationary_buffer_bytes": 1 << 30 if tiles_fit else 1,
        "buffer.size_bytes": 1 << 30 if buffer_fits else 1,
    }
    plan = plan_of(layer, "wgrad", overrides, batch)
    record = run(layer, "wgrad", overrides, batch)
    window, gradient = reachable(layer), layer.values("gradient")
    acts = sum(np.count_nonzero(window[n % layer.n_samples]) for n in range(batch))
    grads = sum(np.count_nonzero(gradient[n % layer.n_samples]) for n in range(batch))
    steps = len(plan.blocks_of_split[0]) // len({(b.o0) for (b, *_) in plan.blocks_of_split[0]})
    ranges = max(len(split) for split in plan.blocks_of_split) // steps
    reads = acts * (1 if tiles_fit or buffer_fits else ranges)
    reads += grads * (1 if buffer_fits else steps)
    assert record.dram_read_bytes == 2 * reads
    assert record.dram_write_bytes == layer.values("weight").size


# What may not make a machine slower ----------------------------------------------------------

STEADY = {
    "mapping.kind": "planar",  # the same plan on all machines that are compared
    "array.pe_rows": 2,
    "array.pe_cols": 2,
    "dram.preset": "ideal",
    "network.operand_bytes_per_cycle": 0,
    "pe.accumulator_banks": 5,
    "pe.accumulator_entries": 300,
    "pe.bank_queue_depth": 1,
    "policy.barrier": "group",
    "drain.overlap": False,
    "dataflow.wgrad": "cartesian",
}


@pytest.mark.parametrize("phase", PHASES)
@settings(max_examples=20)
@given(layer=layers())
def test_more_of_what_limits_is_never_slower(phase: str, layer: Layer) -> None:
    """Each change takes waiting away and adds none: a deeper queue, no barrier, ..."""
    base = run(layer, phase, STEADY, 3).cycles
    for change in (
        {"pe.bank_queue_depth": 2},
        {"pe.bank_queue_depth": 1000},
        {"policy.barrier": "none"},
        {"drain.overlap": True},
        {"drain.entries_per_cycle": 0},
    ):
        assert run(layer, phase, STEADY | change, 3).cycles <= base, change
    for change in (
        {"dram.preset": "lpddr4"},
        {"dram.preset": "gddr5x-484"},
        {"network.operand_bytes_per_cycle": 2},
        {"pe.bank_queue_depth": 0},
    ):
        assert run(layer, phase, STEADY | change, 3).cycles >= base, change


@pytest.mark.parametrize("phase", ["forward", "dgrad"])
@settings(max_examples=40)
@given(layer=layers(side=9), barrier=st.sampled_from(("group", "none")))
def test_a_deeper_fifo_is_never_slower(phase: str, layer: Layer, barrier: str) -> None:
    """From one list at a time, as with a barrier after every channel, to all of a round."""
    steady = STEADY | {"policy.barrier": barrier}
    limited = steady | {"policy.drift": "fifo"}
    cycles = [
        run(layer, phase, limited | {"pe.streamed_fifo_entries": depth}, 3).cycles
        for depth in (1, 2, 5, 9, 20, 60, 1 << 20)
    ]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] == run(layer, phase, steady, 3).cycles
    if barrier == "group":
        channel = steady | {"policy.barrier": "input_channel"}
        assert cycles[0] == run(layer, phase, channel, 3).cycles


# The whole run -------------------------------------------------------------------------------


def toy_layer(name: str = "conv1", **given_values: Any) -> Layer:
    rng = np.random.default_rng(3)
    values = {
        "activation": rng.random((2, 3, 6, 6)) < 0.5,
        "gradient": rng.random((2, 4, 6, 6)) < 0.3,
        "weight": np.ones((4, 3, 3, 3)),
    }
    return layer_from_arrays(name, padding=(1, 1), **(values | given_values))


def test_phases_run_in_the_order_of_the_trace() -> None:
    first = toy_layer("first", input_gradient=False)
    trace = Trace(network="toy", batch_size=4, layers=[first, toy_layer("second")])
    seen: list[tuple[int, int, str]] = []
    result = simulate(
        trace,
        load_config(),
        phases=("wgrad", "dgrad", "wgrad"),
        progress=lambda *what: seen.append(what),
    )
    assert [(r.layer, r.phase.value) for r in result.records] == [
        ("first", "wgrad"),
        ("second", "wgrad"),
        ("second", "dgrad"),
    ]
    assert [r.batch_size for r in result.records] == [4, 4, 4]
    assert seen == [(0, 2, "first"), (1, 2, "second"), (2, 2, "")]
    assert result.trace_digest == trace.digest
    assert 0 < result.simpy_share < 1


def test_a_repeated_dense_phase_is_reported_under_its_own_name() -> None:
    """Pre-phases of equal shape cost the same, unless the weights differ."""
    sparse = np.zeros((4, 3, 3, 3))
    sparse[0, 0, 0, 0] = 1
    trace = Trace(
        network="toy",
        batch_size=4,
        layers=[
            toy_layer("a"),
            toy_layer("b"),
            toy_layer("c", weight=sparse),
            toy_layer("d", weight=sparse),
        ],
    )
    records = simulate(trace, load_config(), phases=("pre_dgrad", "pre_wgrad")).records
    by_layer = {name: [r for r in records if r.layer == name] for name in "abcd"}
    assert [len(rows) for rows in by_layer.values()] == [2] * 4
    for one, other in (("a", "b"), ("c", "d")):
        assert [replace(r, layer=other) for r in by_layer[one]] == by_layer[other]
    assert by_layer["a"][0].useful_products != by_layer["c"][0].useful_products
    assert replace(by_layer["a"][1], layer="c") == by_layer["c"][1]
    for name, layer in zip("abcd", trace.layers, strict=True):
        alone = simulate_phase("toy", layer, Phase.PRE_DGRAD, load_config(), 4)
        assert alone == by_layer[name][0]


def test_a_larger_batch_repeats_the_recorded_samples() -> None:
    layer = toy_layer()
    trace = Trace(network="toy", batch_size=4, layers=[layer])
    small, large = (
        simulate(trace, load_config(), phases=PHASES, batch_size=n).records for n in (None, 7)
    )
    for record, batch in ((small[1], 4), (large[1], 7), (large[2], 7)):
        assert record.batch_size == batch
        assert record.samples_recorded == 2
        assert record.useful_products == expected_useful(layer, record.phase.value, batch)
    assert large[0].dense_macs == 7 * layer.shape.dense_macs


def test_bad_requests() -> None:
    trace = Trace(network="toy", batch_size=4, layers=[toy_layer(gradient=None)])
    config = load_config()
    known = "phases are forward, dgrad, wgrad, pre_dgrad, pre_wgrad"
    with pytest.raises(ConfigError, match=f"unknown phase 'backward'; {known}"):
        simulate(trace, config, phases=("backward",))
    with pytest.raises(ConfigError, match=f"no phase given; {known}"):
        simulate(trace, config, phases=())
    with pytest.raises(ConfigError, match="batch size must be a positive int, got 0"):
        simulate(trace, config, phases=("forward",), batch_size=0)
    with pytest.raises(ConfigError, match="no layer of trace 'toy' can run dgrad, wgrad"):
        simulate(trace, config)


def test_a_record_that_does_not_add_up_is_no_result() -> None:
    record = run(toy_layer(), "dgrad", {}, 2)
    slots = record.slots
    wrong = {
        "slots add up to": replace(record, slots=replace(slots, redundant=slots.redundant + 1)),
        "negative slots_placeholder": replace(
            record,
            slots=replace(slots, placeholder=-1, imbalance=slots.imbalance + slots.placeholder + 1),
        ),
        "useful slots": replace(record, useful_products=record.useful_products + 1),
        "below a bound": replace(record, compute_bound_cycles=record.cycles + 1),
    }
    record.check()
    for message, bad in wrong.items():
        with pytest.raises(IdentityError, match=f"conv1 dgrad: .*{message}"):
            bad.check()
