"""Points that are not simulated: what they say, and that ``auto`` finds the front of ``exact``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny import Remembering, tiny_plan, tiny_trace

from gscn_sim.sweep import best, pareto, parse_objectives, run_sweep, sweep_table
from gscn_sim.sweep.errors import SpaceError

OBJECTIVES = parse_objectives("speedup,area_mm2")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The table of each fidelity, and how many points it simulated."""
    folder = tmp_path_factory.mktemp("fidelity")
    traces = [tiny_trace(folder / "a.npz"), tiny_trace(folder / "b.npz", 0.1)]
    evaluate = Remembering()
    found = {}
    for fidelity in ("exact", "bound", "estimate", "auto"):
        before = evaluate.simulated
        plan = tiny_plan(traces, fidelity=fidelity, objectives=OBJECTIVES)
        number = run_sweep(plan, folder / fidelity, evaluate=evaluate, code="x")
        found[fidelity] = sweep_table(folder / fidelity, number), evaluate.simulated - before
    return found


def test_every_row_says_what_its_figures_are(tables):
    for fidelity in ("exact", "bound", "estimate"):
        frame, simulated = tables[fidelity]
        done = frame[frame["status"] == "done"]
        assert set(done["fidelity"]) == {fidelity}
        assert (simulated > 0) == (fidelity == "exact")
    frame, simulated = tables["auto"]
    assert set(frame["fidelity"].dropna()) == {"exact", "bound"}
    failed = frame["status"] == "failed"
    assert ((frame["fidelity"] == "exact") | failed).sum() >= simulated
    assert len(frame) == len(tables["exact"][0])


def test_auto_finds_the_front_of_exact(tables):
    exact, auto = (
        pareto(tables[name][0], OBJECTIVES).sort_values(["network", "trace", "point"])
        for name in ("exact", "auto")
    )
    columns = ["trace_digest", "point", "speedup", "energy_j", "area_mm2"]
    pd.testing.assert_frame_equal(
        exact[columns].reset_index(drop=True), auto[columns].reset_index(drop=True)
    )
    assert tables["auto"][1] < tables["exact"][1]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.metric)
def test_auto_finds_the_best_design_of_exact(tables, objective):
    first = [best(tables[name][0], objective, 1) for name in ("exact", "auto")]
    assert first[0][objective.metric].tolist() == first[1][objective.metric].tolist()


def test_bounds_are_better_than_simulated_and_estimates_near(tables):
    exact = tables["exact"][0].set_index("point")
    done = exact.index[exact["status"] == "done"]
    bound, estimate = (
        tables[name][0].set_index("point").loc[done] for name in ("bound", "estimate")
    )
    exact = exact.loc[done]
    for name in ("cycles", "seconds", "backward_seconds", "energy_j"):
        assert (bound[name] <= exact[name]).all()
    for name in ("speedup", "backward_speedup"):
        assert (bound[name] >= exact[name]).all()
    for name in ("gpu_seconds", "area_mm2", "on_chip_bytes", "num_pes", "dram_gbps"):
        assert bound[name].tolist() == pytest.approx(exact[name].tolist())
    ratio = estimate["cycles"] / exact["cycles"]
    assert 0.4 < np.median(ratio) < 2.5
    assert estimate["energy_j"].isna().all()
    assert (bound["scope"] == exact["scope"]).all()


def test_an_objective_without_a_bound_is_refused(tmp_path):
    plan = tiny_plan(
        [tiny_trace(tmp_path / "a.npz")],
        fidelity="auto",
        objectives=parse_objectives("utilization,energy_j"),
    )
    with pytest.raises(SpaceError, match="no bound exists of utilization"):
        run_sweep(plan, tmp_path / "s", code="x")
