"""What every record must add up to, on random and on hard layers."""

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
from runs import KINDS, PHASES, expected_useful, run, toy_layer

from gscn_sim import layer_phase, load_config
from gscn_sim.errors import ConfigError, IdentityError
from gscn_sim.fabric.top import FabricResult, run_fabric
from gscn_sim.mapping.choose import dataflows_of, legal_plans
from gscn_sim.problem.geometry import make_problem
from gscn_sim.results.record import PhaseRecord, Slots
from workloads import Layer, LayerShape, Phase, layer_from_arrays

IDEAL_MEMORY = {"dram.preset": "ideal"}


def check_record(record: PhaseRecord, layer: Layer, overrides: dict[str, Any], batch: int) -> None:
    """What must hold whatever the machine is, from numbers that the record does not check."""
    config = load_config("gscn", overrides)
    slots = record.slots
    parts = [getattr(slots, name) for name in Slots.__dataclass_fields__]
    assert min(parts) >= 0
    pes = config.array.pe_rows * config.array.pe_cols
    f, i = config.pe.streamed_vector, config.pe.stationary_vector
    assert sum(parts) == pes * f * i * record.cycles
    assert record.utilization * sum(parts) == pytest.approx(slots.useful)
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
    assert replace(record, slots=Slots()).utilization == 0.0  # no cycle, no slot
    for message, bad in wrong.items():
        with pytest.raises(IdentityError, match=f"conv1 dgrad: .*{message}"):
            bad.check()


@pytest.mark.parametrize(
    ("more", "what"), [("dram_read_bytes", "read"), ("dram_write_bytes", "written")]
)
def test_bytes_that_no_schedule_moves_are_an_error(
    more: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fabric(*arguments: Any) -> FabricResult:
        result = run_fabric(*arguments)
        return replace(result, **{more: getattr(result, more) + 64})

    must = getattr(run(toy_layer(), "dgrad", IDEAL_MEMORY, 2), more)
    monkeypatch.setattr(layer_phase, "run_fabric", fabric)
    with pytest.raises(
        IdentityError, match=f"conv1 dgrad: {must + 64} bytes {what}, {must} must move"
    ):
        run(toy_layer(), "dgrad", IDEAL_MEMORY, 2)
