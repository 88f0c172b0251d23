"""The exact search: what it proves is true of every design, and it does not simulate them all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import SETTING, SPACE, Remembering, tiny_plan, tiny_trace

from gscn_sim.results.sizes import parse_iso
from gscn_sim.sweep import Choices, Space, parse_objectives, run_sweep, sweep_table
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.metrics import with_metrics
from gscn_sim.sweep.proof import ExactSearch
from gscn_sim.sweep.runner import SweepPlan


@pytest.fixture(scope="module")
def evaluate():
    return Remembering()


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    return [tiny_trace(folder / "a.npz"), tiny_trace(folder / "b.npz", 0.1)]


def every_design(traces, evaluate, tmp_path, metric):
    """Grid position of each design that has a value -> its geometric mean over the traces."""
    number = run_sweep(tiny_plan(traces), tmp_path / "grid", evaluate=evaluate, code="x")
    frame = with_metrics(sweep_table(tmp_path / "grid", number), [metric])
    done = frame[frame["status"] == "done"]
    axes = [axis.key for axis in SPACE.axes]
    values = done.groupby(axes)[metric].agg(lambda v: v.prod() ** (1 / len(v)))
    return {tuple(key): value for key, value in values.items()}


def prove(plan: SweepPlan, path, evaluate):
    search = plan.open_search()
    run_sweep(plan, path, evaluate=evaluate, code="x", search=search)
    return search


@pytest.mark.parametrize(
    "metric", ["seconds", "energy_j * seconds * area_mm2", "speedup", "cycles"]
)
def test_it_finds_the_best_of_all_and_proves_it(metric, traces, evaluate, tmp_path):
    plan = tiny_plan(traces, search="exact", objectives=parse_objectives(metric))
    search = prove(plan, tmp_path / "exact", evaluate)
    proof = search.proof
    values = every_design(traces, evaluate, tmp_path, metric)
    ranked = sorted(values.values(), reverse=proof.maximize)
    best = search.lattice.params(proof.best)
    assert values[tuple(best.values())] == pytest.approx(ranked[0])
    assert proof.value == pytest.approx(ranked[0])
    assert proof.is_complete
    # No other is better than it says, and what it says is not just nothing.
    worse = 1 if proof.maximize else -1
    assert worse * (proof.next_best - ranked[1]) >= -1e-9 * ranked[1]
    assert proof.margin >= 0
    allowed = sum(1 for params in SPACE.grid() if SPACE.allows(SPACE.design(params)))
    assert proof.designs == allowed
    assert len(values) < allowed  # some fail: eight accumulators hold no tile
    if metric == "energy_j * seconds * area_mm2":
        assert proof.simulated < proof.designs


def test_every_bound_is_at_most_what_is_simulated(traces, evaluate, tmp_path):
    for metric in ("seconds", "energy_j", "cycles", "backward_seconds", "speedup"):
        plan = tiny_plan(traces, search="exact", objectives=parse_objectives(metric))
        search = plan.open_search()
        values = every_design(traces, evaluate, tmp_path, metric)
        at = dict(zip(search.order.tolist(), search.bounds.tolist(), strict=True))
        found = {tuple(search.lattice.params(p).values()): bound for p, bound in at.items()}
        for params, value in values.items():
            assert found[params] <= search.sign * value
            assert abs(found[params]) > 0.1 * value or metric == "speedup"


def test_it_goes_on_where_its_budget_ended(traces, tmp_path):
    evaluate = Remembering()
    objectives = parse_objectives("seconds * area_mm2")
    plan = tiny_plan(traces[:1], search="exact", objectives=objectives, budget=2)
    first = prove(plan, tmp_path / "s", evaluate).proof
    assert (first.simulated, evaluate.simulated) == (2, 2)
    assert not first.is_complete
    whole = prove(
        tiny_plan(traces[:1], search="exact", objectives=objectives), tmp_path / "s", evaluate
    )
    assert whole.proof.is_complete
    assert evaluate.simulated == whole.proof.simulated
    assert sweep_table(tmp_path / "s")["sweep"].unique().tolist() == [1]
    # What the budget left open is what was said to be possible.
    assert first.next_best <= whole.proof.value <= first.value
    again = prove(
        tiny_plan(traces[:1], search="exact", objectives=objectives), tmp_path / "s", evaluate
    )
    assert again.proof == whole.proof
    assert evaluate.simulated == whole.proof.simulated


def test_a_million_designs_take_no_list_of_a_million(traces):
    axes = (
        Choices(key="pe.bank_queue_depth", options=tuple(range(100))),
        Choices(key="array.clock_ghz", options=tuple(0.5 + n / 100 for n in range(100))),
        Choices(key="buffer.size_bytes", options=tuple(1024 << n for n in range(10))),
        Choices(key="network.operand_bytes_per_cycle", options=tuple(64 + n for n in range(10))),
    )
    plan = tiny_plan(traces[:1], space=Space(axes=axes))
    search = ExactSearch(plan.space, plan.workloads, SETTING, parse_objectives("seconds"), None)
    assert search.proof.designs == 1_000_000
    (first, *_) = next(iter(search.batches()))
    assert first.params["array.clock_ghz"] == 1.49
    at = search.lattice.params(search.order[0])
    assert first.config == plan.space.design(at)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("utilization", "no bound exists of utilization"),
        ("seconds - energy_j", "no bound exists of how small 'seconds - energy_j' can be"),
        ("seconds:max", "no bound exists of how large 'seconds' can be"),
        ("seconds // 2", "no bound exists of 'seconds // 2'"),
        ("seconds,energy_j", "--search exact takes one metric"),
    ],
)
def test_what_has_no_bound_is_refused(metric, message, traces):
    plan = tiny_plan(traces, search="exact", objectives=parse_objectives(metric))
    with pytest.raises(SpaceError, match=message.replace("(", r"\(")):
        plan.open_search()


def test_designs_of_equal_size_are_refused(traces):
    space = replace(SPACE, iso=parse_iso(("bandwidth_gbs=400",)))
    plan = tiny_plan(traces, space=space, search="exact", objectives=parse_objectives("seconds"))
    with pytest.raises(SpaceError, match=r"designs at equal size \(--iso\) cannot be proved"):
        plan.open_search()


def test_a_space_without_designs_is_refused(traces):
    from gscn_sim.sweep import Expression

    space = Space(axes=SPACE.axes, constraints=(Expression("num_pes < 0"),))
    plan = tiny_plan(traces, space=space, search="exact", objectives=parse_objectives("seconds"))
    with pytest.raises(SpaceError, match="no design meets the constraints"):
        plan.open_search()
