"""Preset ``dnnsim-scnn`` against DNNsim: its recorded cycles, and its rules on other layers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import dnnsim

from gscn_sim import load_config, simulate
from gscn_sim.results.record import PhaseRecord
from workloads import LayerShape, Trace, layer_from_arrays

DATA = Path(__file__).parent / "data" / "dnnsim_scnn"
with (DATA / "cycles.csv").open(encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))


def run(
    activation: np.ndarray,
    weight: np.ndarray,
    *,
    stride: int,
    pad: int,
    grid: int,
    vector_i: int,
    vector_f: int,
    banks: int,
    accumulator_entries: int,
) -> PhaseRecord:
    shape = LayerShape(
        C=activation.shape[1],
        H=activation.shape[2],
        W=activation.shape[3],
        K=weight.shape[0],
        R=weight.shape[2],
        S=weight.shape[3],
        stride=(stride, stride),
        padding=(pad, pad),
        groups=activation.shape[1] // weight.shape[1],
    )
    layer = layer_from_arrays("layer", activation=activation, weight=weight, shape=shape)
    config = load_config(
        "dnnsim-scnn",
        {
            "array.pe_rows": grid,
            "array.pe_cols": grid,
            "pe.stationary_vector": vector_i,
            "pe.streamed_vector": vector_f,
            "pe.accumulator_banks": banks,
            "pe.accumulator_entries": accumulator_entries,
        },
    )
    trace = Trace(network="crosscheck", batch_size=len(activation), layers=[layer])
    (record,) = simulate(trace, config, phases=("forward",)).records
    return record


def unpack(masks: np.lib.npyio.NpzFile, operand: str) -> np.ndarray:
    shape = tuple(masks[f"{operand}_shape"].tolist())
    return np.unpackbits(masks[f"{operand}_bits"], count=int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['masks']}-{r['accumulator_entries']}")
def test_equal_to_the_recorded_runs(row: dict[str, str]) -> None:
    assert row["pe_rows"] == row["pe_cols"]
    with np.load(DATA / row["masks"]) as masks:
        record = run(
            unpack(masks, "activation"),
            unpack(masks, "weight"),
            stride=int(row["stride"]),
            pad=int(row["pad"]),
            grid=int(row["pe_rows"]),
            vector_i=int(row["I"]),
            vector_f=int(row["F"]),
            banks=int(row["banks"]),
            accumulator_entries=int(row["accumulator_entries"]),
        )
    got = {
        "cycles": record.cycles,
        "useful_products": record.useful_products,
        "steps": record.steps,
        "conflict_slots": record.slots.bank_conflict,
        "halo_slots": record.slots.output_wait,
    }
    assert got == {key: int(row[key]) for key in got}
    assert record.slots.operand_wait == 0
    assert record.slots.placeholder == 0


def test_every_recorded_run_is_there() -> None:
    assert len(ROWS) == 24


@st.composite
def conv_cases(draw: st.DrawFn) -> dict[str, Any]:
    stride = draw(st.integers(1, 3))
    return {
        "samples": draw(st.integers(1, 2)),
        "channels": draw(st.integers(1, 4)),
        "filters": draw(st.integers(1, 12)),
        "kind": draw(st.sampled_from(("plain", "plain", "depthwise", "two groups"))),
        "height": draw(st.integers(1, 9)),
        "width": draw(st.integers(1, 9)),
        "kernel_h": draw(st.integers(1, 4)),
        "kernel_w": draw(st.integers(1, 4)),
        "stride": stride,
        "pad": stride * draw(st.integers(0, 2 if stride == 1 else 1)),
        "grid": draw(st.integers(1, 4)),
        "vector_i": draw(st.integers(1, 5)),
        "vector_f": draw(st.integers(1, 5)),
        "banks": draw(st.sampled_from((1, 2, 7, 16, 32, 64))),
        "groups_held": draw(st.integers(1, 12)),
        "seed": draw(st.integers(0, 2**16)),
    }


@settings(max_examples=150)
@given(case=conv_cases())
def test_equal_to_its_rules(case: dict[str, Any]) -> None:
    """Any layer whose padding is a multiple of the stride; depthwise ones too.

    With two groups, where an accumulator group of that program never spans both.
    """
    rng = np.random.default_rng(case["seed"])
    c = case["channels"]
    assume(case["height"] + 2 * case["pad"] >= case["kernel_h"])
    assume(case["width"] + 2 * case["pad"] >= case["kernel_w"])
    filters, per_group = case["filters"], c
    if case["kind"] == "depthwise":
        filters, per_group = c, 1
    elif case["kind"] == "two groups" and c > 1:
        c *= 2
        filters = 2 * case["groups_held"] * rng.integers(1, 3)
    activation = rng.random((case["samples"], c, case["height"], case["width"])) < rng.random()
    weight = rng.random((filters, per_group, case["kernel_h"], case["kernel_w"])) < rng.random()
    out = [
        (case[side] + 2 * case["pad"] - case[kernel]) // case["stride"] + 1
        for side, kernel in (("height", "kernel_h"), ("width", "kernel_w"))
    ]
    held = -(-out[0] // case["grid"]) * -(-out[1] // case["grid"])
    machine = {key: case[key] for key in ("stride", "pad", "grid", "vector_i", "vector_f", "banks")}
    machine["accumulator_entries"] = held * case["groups_held"] + held // 2
    record = run(activation.astype(float), weight.astype(float), **machine)
    expected = dnnsim.simulate(activation, weight, **machine)
    assert record.cycles == expected.cycles
    assert record.useful_products == expected.useful_products
    assert record.steps == expected.steps
    assert record.slots.bank_conflict == expected.conflict_slots
