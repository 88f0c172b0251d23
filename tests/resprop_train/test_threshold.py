"""Threshold rules: by hand, against sorting, and what they do over many steps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resprop_train.errors import TrainError
from resprop_train.threshold import (
    INITIAL_THRESHOLD,
    RULES,
    HalveDouble,
    MeanDensity,
    Quantile,
    SteeredHalveDouble,
    make_rule,
)


def test_halve_double_moves_by_factors_of_two_after_use() -> None:
    rule = HalveDouble()
    difference = torch.ones(2, 3)
    assert rule.threshold(difference, 0.1) == INITIAL_THRESHOLD == 1e-7
    rule.observe(0.5, 0.1)
    assert rule.threshold(difference, 0.1) == 2e-7
    rule.observe(0.1, 0.1)
    assert rule.value == 2e-7
    rule.observe(0.05, 0.1)
    rule.observe(0.05, 0.1)
    assert rule.value == 5e-8


@pytest.mark.parametrize("kind", [HalveDouble, SteeredHalveDouble])
def test_rules_recover_from_a_layer_without_gradients(
    kind: type[HalveDouble] | type[SteeredHalveDouble],
) -> None:
    rule = kind()
    for _ in range(2000):
        rule.observe(0.0, 0.1)
    assert rule.value > 0
    for _ in range(2000):
        rule.observe(1.0, 0.1)
    assert math.isfinite(rule.value)
    assert 0 < getattr(rule, "fall", 0.5) < 1  # of the steered rule


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_quantile_keeps_at_most_the_wanted_number_and_drops_the_smallest(
    numbers: list[int], density: float
) -> None:
    x = torch.tensor(numbers, dtype=torch.float32)
    threshold = Quantile().threshold(x, density)
    kept = x[x.abs() > threshold].abs()
    wanted = round(density * len(numbers))
    assert len(kept) <= wanted
    magnitudes = sorted((abs(n) for n in numbers), reverse=True)
    # Only ties at the threshold may be missing.
    assert sorted(kept.tolist(), reverse=True) == magnitudes[: len(kept)]
    if len(kept) < wanted:
        assert magnitudes[len(kept)] == threshold


def test_quantile_is_exact_without_ties_and_per_sample_if_asked() -> None:
    x = torch.randn(4, 5, 10, 10, generator=torch.Generator().manual_seed(0))
    x[0] *= 100
    assert int((x.abs() > Quantile().threshold(x, 0.1)).sum()) == 200
    threshold = Quantile(per_sample=True).threshold(x, 0.1)
    assert (x.abs() > threshold).flatten(1).sum(1).tolist() == [50] * 4


def test_quantile_keeps_everything_at_density_one() -> None:
    assert Quantile().threshold(torch.tensor([1.0, -2.0]), 1.0) == 0.0


@pytest.mark.parametrize(
    ("name", "bias"),
    [("halve-double", True), ("halve-double-steered", False), ("mean-density", False)],
)
def test_mean_density_over_many_steps(name: str, bias: bool) -> None:
    """Differences whose scale jumps from step to step, as a random reused sample makes it."""
    rule = make_rule(name)
    generator = torch.Generator().manual_seed(1)
    densities = []
    for _ in range(3000):
        scale = math.exp(float(torch.randn((), generator=generator)))
        x = torch.randn(500, generator=generator) * scale
        reached = float((x.abs() > rule.threshold(x, 0.1)).float().mean())
        rule.observe(reached, 0.1)
        densities.append(reached)
    mean = sum(densities[500:]) / 2500
    if bias:
        assert mean > 0.12
    else:
        assert mean == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("name", list(RULES))
def test_rules_continue_from_their_state(name: str) -> None:
    first, second = make_rule(name), make_rule(name)
    first.threshold(torch.arange(10.0), 0.1)
    for reached in (0.5, 0.4, 0.05):
        first.observe(reached, 0.1)
    second.load_state_dict(first.state_dict())
    for rule in (first, second):
        for reached in (0.3, 0.02):
            rule.observe(reached, 0.1)
    assert first.state_dict() == second.state_dict()


def test_mean_density_error_is_bounded_by_the_range_of_the_threshold() -> None:
    """The identity behind the rule: gain * sum of relative errors = log of the ratio."""
    rule = MeanDensity(gain=0.2)
    first = rule.threshold(torch.arange(1.0, 101.0), 0.1)
    assert first == 90
    errors = 0.0
    for reached in (0.5, 0.0, 0.0, 0.3, 0.02):
        errors += reached / 0.1 - 1
        rule.observe(reached, 0.1)
    last = rule.threshold(torch.zeros(3), 0.1)
    assert math.log(last / first) == pytest.approx(0.2 * errors)


def test_steered_rule_by_hand() -> None:
    rule = SteeredHalveDouble(gain=0.5)
    rule.observe(0.3, 0.1)  # three times too many: doubled, and the next fall shrinks by a factor e
    assert rule.value == 2e-7
    assert rule.fall == pytest.approx(math.exp(-1))
    rule.observe(0.05, 0.1)
    assert rule.value == pytest.approx(2e-7 * 2 ** -math.exp(-1))
    assert rule.fall == pytest.approx(math.exp(-0.75))
    rule.observe(0.1, 0.1)
    assert rule.fall == pytest.approx(math.exp(-0.75))


def test_unknown_rule_lists_the_known_ones() -> None:
    with pytest.raises(TrainError, match=r"rule must be one of halve-double, .*, got 'best'"):
        make_rule("best")


@pytest.mark.parametrize(
    ("name", "kind"), [("mean-density", MeanDensity), ("halve-double-steered", SteeredHalveDouble)]
)
def test_gain_in_the_name_of_a_rule(name: str, kind: type[Any]) -> None:
    rule = make_rule(f"{name}:0.2")
    assert isinstance(rule, kind)
    assert rule.gain == 0.2


@pytest.mark.parametrize("name", ["mean-density:", "mean-density:x", "mean-density:2"])
def test_bad_gain(name: str) -> None:
    with pytest.raises(TrainError, match=r"take a gain, in \(0, 1\], got"):
        make_rule(name)


def test_other_rules_have_no_gain() -> None:
    with pytest.raises(TrainError, match=r"only halve-double-steered and mean-density take a gain"):
        make_rule("quantile:0.1")
