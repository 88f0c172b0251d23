"""Points that are simulated in part: between their bounds and what they take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import SPACE, Remembering, tiny_plan, tiny_trace

from gscn_sim import load_config
from gscn_sim.cli.exact import proof_in_words
from gscn_sim.run.memo import Cache
from gscn_sim.run.parts import records_of
from gscn_sim.run.simulate import simulate
from gscn_sim.sweep import Choices, Evaluation, Space, parse_objectives, run_sweep
from gscn_sim.sweep.bounded import has_parts
from gscn_sim.sweep.runner import design_points
from gscn_sim.sweep.search import Design
from workloads import Phase, load

LEAST = ("cycles", "seconds", "energy_j", "backward_seconds")
MOST = ("speedup", "backward_speedup")


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return tiny_trace(tmp_path_factory.mktemp("parts") / "a.npz")


@pytest.mark.parametrize("rows", [1, 4])
def test_each_part_is_nearer(rows, trace):
    plan = tiny_plan([trace])
    params = {"array.pe_rows": rows, "pe.streamed_vector": 4, "pe.accumulator_entries": 256}
    design = Design(position=0, params=params, config=SPACE.design(params))
    evaluate = Evaluation(cache="off")
    found = []
    for fidelity in ("bound", "1/8", "1/4", "1/2", "exact"):
        (point,) = design_points(plan, design)
        row = evaluate(replace(point, fidelity=fidelity))
        assert row["fidelity"] == ("exact" if fidelity == "exact" else "bound")
        found.append(row)
    for name in LEAST:
        values = [row[name] for row in found]
        assert values == sorted(values), name
        assert values[0] < values[-1]
    for name in MOST:
        values = [row[name] for row in found]
        assert values == sorted(values, reverse=True), name


def test_records_are_those_of_a_run(trace):
    config, phases = load_config("gscn", {"array.pe_rows": 2}), [Phase.DGRAD, Phase.PRE_WGRAD]
    run = simulate(load(trace), config, phases, workers=0)
    cache = Cache()
    records = records_of(load(trace), config, phases, batch_size=None, cache=cache)
    assert tuple(records.values()) == run.records
    assert list(records) == list(range(len(run.records)))
    misses = cache.misses
    some = records_of(load(trace), config, phases, batch_size=None, cache=cache, wanted={1})
    assert some == {1: records[1]}
    assert cache.misses == misses


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("seconds", True),
        ("speedup", True),
        ("edp_js * area_mm2", True),
        ("speedup / area_mm2", True),
        ("1 + speedup:min", False),
    ],
)
def test_which_metrics_are_bounded_by_their_parts(metric, expected):
    (objective,) = parse_objectives(metric)
    assert has_parts(objective) == expected


def test_a_search_gives_designs_up_half_way(trace, tmp_path):
    """No bound knows of banks: all designs look alike until a part of each has been simulated."""
    banks = Choices(key="pe.accumulator_banks", options=(32, 16, 8, 4, 2, 1, 12, 6, 3))
    plan = tiny_plan(
        [trace],
        space=Space(axes=(banks,), fixed={"array.pe_rows": 2, "array.pe_cols": 2}),
        search="exact",
        objectives=parse_objectives("seconds"),
    )
    evaluate = Remembering()
    search = plan.open_search()
    run_sweep(plan, tmp_path / "s", evaluate=evaluate, code="x", search=search)
    proof = search.proof
    assert proof.is_complete
    assert search.lattice.params(proof.best) == {"pe.accumulator_banks": 32}
    assert proof.in_part > 0
    assert f"{proof.in_part} in part" in proof_in_words(proof)[-1]
    again = plan.open_search()
    run_sweep(plan, tmp_path / "s", evaluate=evaluate, code="x", search=again)
    assert again.proof == proof
    assert evaluate.simulated == proof.simulated
