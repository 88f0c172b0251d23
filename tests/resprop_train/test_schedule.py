"""Warm-up and learning rates against the published schedules."""

from __future__ import annotations

import pytest

from resprop_train.errors import TrainError
from resprop_train.schedule import WarmUp, learning_rate


def test_published_warm_up_epoch_by_epoch() -> None:
    warm_up = WarmUp(epochs=9)
    densities = [warm_up.density(epoch, 0.1) for epoch in range(11)]
    assert densities == [1.0, 1.0, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1]
    assert warm_up.density(8.999, 0.1) == 0.2


def test_warm_up_never_goes_below_the_target_and_can_be_left_out() -> None:
    assert WarmUp(epochs=9).density(8, 0.5) == 0.5
    assert WarmUp(epochs=0).density(0, 0.1) == 0.1


def test_warm_up_stretches() -> None:
    warm_up = WarmUp(epochs=3)
    assert warm_up.density(0.6, 0.1) == 1.0
    assert warm_up.density(0.7, 0.1) == 0.8
    assert warm_up.density(2.9, 0.1) == 0.2


@pytest.mark.parametrize("epochs", [-1, float("inf"), "9"])
def test_bad_warm_up(epochs: float) -> None:
    with pytest.raises(TrainError, match="warmup_epochs must be at least 0, got"):
        WarmUp(epochs=epochs)


def test_learning_rates() -> None:
    paper = {"base": 0.1, "epochs": 90, "step_epochs": 30, "boost": 4, "boost_epochs": 7}
    rates = [learning_rate("step", epoch=e, **paper) for e in (0, 6.9, 7, 29.9, 30, 60)]
    assert rates == pytest.approx([0.4, 0.4, 0.1, 0.1, 0.01, 0.001])
    cosine = [learning_rate("cosine", base=0.2, epoch=e, epochs=10) for e in (0, 5, 10, 11)]
    assert cosine == pytest.approx([0.2, 0.1, 0, 0])
    assert learning_rate("constant", base=0.3, epoch=5, epochs=10) == 0.3
    with pytest.raises(TrainError, match="lr_schedule must be one of constant, cosine, step"):
        learning_rate("linear", base=1, epoch=0, epochs=1)
