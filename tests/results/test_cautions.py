"""What stands beside a headline about the trace that it rests on, worked out by hand."""

from __future__ import annotations

from oracles.records import record

from gscn_sim.results.cautions import trace_cautions

NOTHING = {"reuse_sparsity": None}


def test_two_samples_for_sixteen() -> None:
    """90 and 110 products: s = 14.14, s / sqrt(2) * sqrt(1 - 2 / 16) = 9.35 of 100."""
    records = [
        record("dgrad", batch_size=16, products_by_sample=(40, 50)),
        record("wgrad", batch_size=16, products_by_sample=(50, 60)),
    ]
    said = ["2 of 16 samples recorded (work +- 9.4 %)"]
    assert trace_cautions(records, NOTHING) == said


def test_nothing_is_said_of_whole_batches_nor_of_equal_samples() -> None:
    whole = record("dgrad", batch_size=2, products_by_sample=(40, 90))
    assert trace_cautions([whole], NOTHING) == []
    equal = record("dgrad", batch_size=16, products_by_sample=(50, 50))
    assert trace_cautions([equal], NOTHING) == []


def test_one_sample_has_no_spread() -> None:
    alone = record("dgrad", batch_size=16, products_by_sample=(40,))
    assert trace_cautions([alone], NOTHING) == ["1 of 16 samples recorded"]


def test_phases_of_one_sample_have_no_part_in_it() -> None:
    phases = ("dgrad", "pre_dgrad")
    records = [
        record(p, batch_size=16, products_by_sample=(50, 50)[: 1 + (p == "dgrad")]) for p in phases
    ]
    assert trace_cautions(records, NOTHING) == []
