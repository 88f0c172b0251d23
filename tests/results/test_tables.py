"""The machine's own tables, without a GPU, from records made by hand."""

from __future__ import annotations

import math

import pytest
from oracles.records import FakeSimulation, record

from gscn_sim.results.tables import (
    LAYER_COLUMNS,
    SUMMARY_COLUMNS,
    layer_means,
    layer_table,
    limited_by,
    summary_of,
)


def test_the_machine_s_tables_know_no_gpu():
    table = layer_table(FakeSimulation((record("dgrad"), record("wgrad", cycles=30))))
    assert tuple(table.columns) == LAYER_COLUMNS
    assert not [name for name in table.columns if name.startswith(("gpu", "speedup"))]
    summary = summary_of(layer_means(table))
    assert tuple(summary.columns) == SUMMARY_COLUMNS
    rows = summary.set_index("phase")
    assert list(rows.index) == ["dgrad", "wgrad", "backward"]
    assert list(rows["cycles"]) == [10, 30, 40]
    assert rows.loc["backward", "utilization"] == pytest.approx(40 / 160)


def test_densities_are_those_of_the_record_and_empty_where_nothing_was_recorded():
    known = record("dgrad", activation_density=0.5, gradient_density=0.25)
    later = record("dgrad", iteration=1, activation_density=0.25, gradient_density=0.25)
    unknown = record("wgrad", activation_density=0.5)
    table = layer_table(FakeSimulation((known, later, unknown)))
    assert list(table["activation_density"]) == [0.5, 0.25, 0.5]
    assert list(table["gradient_density"][:2]) == [0.25, 0.25]
    assert math.isnan(table["gradient_density"][2])
    means = layer_means(table).set_index("phase")
    assert means.loc["dgrad", "activation_density"] == 0.375
    assert math.isnan(means.loc["wgrad", "gradient_density"])


def limits(useful=0, dram=0, **lost):
    names = [name for name in LAYER_COLUMNS if name.startswith("slots_")]
    row = dict.fromkeys(names, 0) | {"slots_useful": useful}
    row |= {f"slots_{name}": value for name, value in lost.items()}
    return limited_by(row | {"dram_bound_cycles": dram, "cycles": 100})


@pytest.mark.parametrize(
    ("expected", "row"),
    [
        ("multipliers", {"useful": 90, "redundant": 10}),
        ("redundant", {"useful": 89, "redundant": 11}),
        ("fragmentation", {"useful": 50, "fragmentation": 30, "imbalance": 20}),
        ("operand_wait", {"operand_wait": 60, "imbalance": 40, "dram": 79}),
        ("dram", {"operand_wait": 60, "imbalance": 40, "dram": 80}),
        ("dram", {"output_wait": 60, "imbalance": 40, "dram": 95}),
        ("imbalance", {"operand_wait": 40, "imbalance": 60, "dram": 95}),
        ("multipliers", {}),
    ],
)
def test_limited_by_names_the_largest_loss(expected, row):
    assert limits(**row) == expected
