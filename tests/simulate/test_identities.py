"""What every record must add up to, on random and on hard layers."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import layers, machine_overrides
from road import all_legal_plans
from runs import KINDS, PHASES, expected_useful, run, toy_layer

from gscn_sim import load_config, verify
from gscn_sim.errors import ConfigError, IdentityError
from gscn_sim.fabric.top import FabricResult, run_fabric
from gscn_sim.problem.geometry import make_problem
from gscn_sim.results.record import PhaseRecord, Slots
from gscn_sim.run import pipeline
from workloads import Layer, LayerShape, Phase, Trace, layer_from_arrays

IDEAL_MEMORY = {"dram.preset": "ideal"}


def check_record(record: PhaseRecord, layer: Layer, overrides: dict[str, Any], batch: int) -> None:
    """What must hold whatever the machine is, from numbers that the record does not check."""
    config = load_config("gscn-ideal", overrides)
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
    config = load_config("gscn-ideal", overrides)
    problem = make_problem(layer.shape, Phase(phase), batch)
    if not any(all_legal_plans(problem, config)):
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


def one_more(values: tuple[int, ...]) -> tuple[int, ...]:
    return (values[0] + 1, *values[1:])


def test_each_identity_fails_alone_when_it_is_broken() -> None:
    record = run(toy_layer(), "dgrad", {}, 2)
    slots, activity = record.slots, record.activity
    taken = slots.placeholder + 1  # from the placeholders, given to the idle ones
    negative = replace(slots, placeholder=-1, imbalance=slots.imbalance + taken)
    moved = {
        name: replace(activity, **{name: getattr(activity, name) + 64})
        for name in ("dram_read_bytes", "dram_write_bytes")
    }
    broken = {
        "slots add up": replace(record, slots=replace(slots, redundant=slots.redundant + 1)),
        "no negative slots": replace(record, slots=negative),
        "useful products as in masks": replace(record, useful_products=slots.useful + 1),
        "cycles not below bounds": replace(record, compute_bound_cycles=record.cycles + 1),
        "DRAM bytes read as scheduled": replace(record, activity=moved["dram_read_bytes"]),
        "DRAM bytes written as scheduled": replace(record, activity=moved["dram_write_bytes"]),
        "every PE busy, stalled or idle": replace(
            record, pe_idle_cycles=one_more(record.pe_idle_cycles)
        ),
    }
    record.check()
    assert [row.name for row in record.identities()] == list(broken)
    assert all(row.holds for row in record.identities())
    assert replace(record, slots=Slots()).utilization == 0.0  # no cycle, no slot
    for name, bad in broken.items():
        assert [row.name for row in bad.identities() if not row.holds] == [name]
        (row,) = (row for row in bad.identities() if row.name == name)
        text = re.escape(f"conv1 dgrad: {name}: expected {row.expected}, got {row.got}")
        with pytest.raises(IdentityError, match=f"^{text}$"):
            bad.check()


def test_the_message_names_the_slots_and_the_pe_that_are_wrong() -> None:
    record = run(toy_layer(), "dgrad", {}, 2)
    negative = replace(record, slots=replace(record.slots, placeholder=-1))
    (got,) = (row.got for row in negative.identities() if row.name == "no negative slots")
    assert got == "-1 placeholder"
    for part in ("pe_busy_cycles", "pe_stalled_cycles", "pe_idle_cycles"):
        odd = replace(record, **{part: one_more(getattr(record, part))})
        assert odd.identities()[-1].got == record.cycles + 1


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
    monkeypatch.setattr(pipeline, "run_fabric", fabric)
    message = f"conv1 dgrad: DRAM bytes {what} as scheduled: expected {must}, got {must + 64}"
    with pytest.raises(IdentityError, match=message):
        run(toy_layer(), "dgrad", IDEAL_MEMORY, 2)
    toy = Trace(network="toy", batch_size=2, layers=[toy_layer()])
    checks = verify(toy, load_config("gscn-ideal", IDEAL_MEMORY), phases=["dgrad"])
    (failed,) = checks[~checks["passed"]].to_dict(orient="records")
    assert failed["check"] == f"DRAM bytes {what} as scheduled"
    assert (failed["expected"], failed["got"]) == (must, must + 64)
