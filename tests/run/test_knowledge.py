"""What planning may know: with less of it no plan depends on the masks that will run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gscn_sim.config import load_config
from gscn_sim.errors import ConfigError
from gscn_sim.mapping.deal import deal_units
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.run.knowledge import known_operands, layers_to_run
from gscn_sim.run.pipeline import prepare_phase, simulate_phase
from gscn_sim.run.simulate import simulate
from workloads import Layer, LayerShape, Mask, Phase, Trace, layer_from_arrays, load

SHAPE = LayerShape(C=12, H=10, W=10, K=16, R=3, S=3, padding=(1, 1))
PHASES = (Phase.FORWARD, Phase.DGRAD, Phase.WGRAD)


def skewed(seed: int, iteration: int = 0, samples: int = 3) -> Layer:
    """Exactly a fifth of the elements are there, most of them in channels that the seed picks."""
    generator = np.random.default_rng(seed)

    def mask(size: tuple[int, ...]) -> np.ndarray:
        n = size[0] * size[2] * size[3]
        weights = np.repeat(generator.permutation(size[1]) ** 3 + 1.0, n)
        count = round(0.2 * n * size[1])
        chosen = generator.choice(n * size[1], count, replace=False, p=weights / weights.sum())
        flat = np.zeros(n * size[1])
        flat[chosen] = 1
        return flat.reshape(size[1], size[0], size[2], size[3]).swapaxes(0, 1)

    return layer_from_arrays(
        "layer",
        activation=mask((samples, *SHAPE.activation_shape)),
        gradient=mask((samples, *SHAPE.gradient_shape)),
        weight=np.ones(SHAPE.weight_shape),
        shape=SHAPE,
        iteration=iteration,
    )


@pytest.mark.parametrize("phase", PHASES)
def test_with_the_shape_alone_plans_do_not_see_where_non_zeros_lie(phase: Phase) -> None:
    config = load_config("gscn-ideal", {"policy.knowledge": "shape"})
    plans = [prepare_phase(skewed(seed), phase, config, 8).plan for seed in range(4)]
    assert len(set(plans)) == 1


def test_the_iteration_before_is_what_is_known() -> None:
    """Planned by another iteration's masks: the plan and the dealing are that one's."""
    before, layer = skewed(1, 0), skewed(2, 1)
    previous, oracle = (
        load_config(
            "gscn-ideal", {"policy.knowledge": each, "array.pe_rows": 2, "array.pe_cols": 4}
        )
        for each in ("previous", "oracle")
    )
    for phase in PHASES:
        planned = prepare_phase(layer, phase, previous, 8, before=before)
        assert planned.plan == prepare_phase(before, phase, oracle, 8).plan
        same = prepare_phase(layer, phase, previous, 8, before=layer)
        known = prepare_phase(layer, phase, oracle, 8)
        assert same.plan == known.plan
        for left, right in zip(same.schedule.gangs, known.schedule.gangs, strict=True):
            np.testing.assert_array_equal(left.busy_cycles, right.busy_cycles)


@pytest.mark.parametrize("knowledge", ["shape", "previous", "oracle"])
@pytest.mark.parametrize("phase", PHASES)
def test_the_work_is_the_same_whatever_is_known(phase: Phase, knowledge: str) -> None:
    config = load_config("gscn-ideal", {"policy.knowledge": knowledge})
    record = simulate_phase("network", skewed(3), phase, config, 8)
    assert (
        record.useful_products
        == simulate_phase("network", skewed(3), phase, load_config("gscn-ideal"), 8).useful_products
    )


def test_another_number_of_samples_may_be_known() -> None:
    """One recorded sample is known, three run: each of these is dealt as often as it comes."""
    layer, before = skewed(4), skewed(5, samples=1)
    config = load_config("gscn-ideal")
    plan = prepare_phase(layer, Phase.WGRAD, config, 8).plan
    known = make_operands(before, make_problem(SHAPE, Phase.WGRAD, 8))
    dealt = deal_units(plan, known, "sorted", 3)
    tiles = plan.rows * plan.cols * plan.passes[0] * plan.passes[1]
    assert dealt.times.shape[1:] == (3, tiles)
    assert (dealt.times.sum(0) == np.array([3, 3, 2])[:, None]).all()


def test_one_sample_phases_are_dense_and_known() -> None:
    layer = skewed(6)
    problem = make_problem(SHAPE, Phase.PRE_WGRAD, 8)
    operands = make_operands(layer, problem)
    assert known_operands("shape", problem, operands, None) is operands


def test_what_was_recorded_before_is_known_though_it_does_not_run() -> None:
    layers = tuple(skewed(seed, iteration) for seed, iteration in ((1, 0), (2, 4), (3, 5)))
    trace = Trace(network="toy", batch_size=8, layers=layers)
    known = list(zip(layers, (None, *layers), strict=False))
    assert list(layers_to_run(trace)) == known
    assert list(layers_to_run(trace, (0, 5))) == [known[0], known[2]]
    with pytest.raises(ConfigError, match="iteration 3 was not recorded; recorded are 0, 4, 5"):
        list(layers_to_run(trace, (3,)))


def test_iterations_run_alone_as_they_do_among_all() -> None:
    trace = load("workloads/data/resnet8_digits.npz")
    last = trace.iterations[-1]
    every = simulate(trace, load_config(), ["wgrad"], iterations=trace.iterations[-2:])
    alone = simulate(trace, load_config(), ["wgrad"], iterations=[last])
    assert alone.records == tuple(r for r in every.records if r.iteration == last)


def test_a_recorded_network_runs_with_less_knowledge() -> None:
    trace = load("workloads/data/resnet8_digits.npz")
    cycles = {
        knowledge: simulate(
            trace,
            load_config("gscn-ideal", {"policy.knowledge": knowledge}),
            ["wgrad"],
            iterations=trace.iterations[-2:],
        )
        .table["cycles"]
        .sum()
        for knowledge in ("shape", "previous", "oracle")
    }
    assert len(set(cycles.values())) > 1
    assert max(cycles.values()) < 1.5 * cycles["oracle"]


def test_an_iteration_of_other_densities_is_not_planned_by() -> None:
    """One with hardly a gradient among ordinary ones made the next a thousand times slower."""
    full, config = skewed(1), load_config()
    few = np.zeros((3, *SHAPE.gradient_shape))
    few[0, 0, 0, 0] = 1
    scarce = replace(skewed(2), gradient=Mask.from_array(few))
    for phase in (Phase.DGRAD, Phase.WGRAD):
        alone, after, alike = (
            prepare_phase(full, phase, config, 8, before=before).plan
            for before in (None, scarce, skewed(3))
        )
        assert after == alone
        assert alike.reason != alone.reason


def test_a_few_non_zeros_are_not_none() -> None:
    gradient = np.zeros((1, 16, 100, 100))
    gradient[0, 3, 50, 50] = 1
    layer = layer_from_arrays(
        "layer",
        activation=np.ones((1, 4, 100, 100)),
        gradient=gradient,
        weight=np.ones((16, 4, 3, 3)),
        padding=(1, 1),
    )
    problem = make_problem(layer.shape, Phase.WGRAD, 1)
    known = known_operands("shape", problem, make_operands(layer, problem), None)
    assert 0 < known.streamed.sum() < 20


def test_unknown_knowledge() -> None:
    with pytest.raises(ConfigError, match=r"policy\.knowledge.*shape.*previous.*oracle"):
        load_config("gscn-ideal", {"policy.knowledge": "all"})
