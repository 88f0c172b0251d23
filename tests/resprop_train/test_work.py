"""Work figures against arithmetic by hand."""

from __future__ import annotations

import pytest

from resprop_train.reuse import LayerStep
from resprop_train.work import WorkMeter


def step(density: float, macs: int, convolutions: int = 2, dense: str | None = None) -> LayerStep:
    return LayerStep(
        layer="a",
        step=0,
        batch_size=10,
        density=density,
        threshold=0.0,
        dense_because=dense,
        elements=macs,
        macs=macs,
        convolutions=convolutions,
    )


def test_reduction_contains_the_pre_phases() -> None:
    meter = WorkMeter()
    # dense 10 * 100 * 2 = 2000; ReSprop (0.1 * 10 + 1) * 100 * 2 = 400
    assert meter.add([step(0.1, 100)]) == pytest.approx(0.1)
    assert meter.work_reduction == pytest.approx(5.0)
    # first layer, no dgrad: dense 3000, ReSprop (0.5 * 10 + 1) * 300 = 1800
    meter.add([step(0.5, 300, convolutions=1)])
    assert meter.work_reduction == pytest.approx(5000 / 2200)
    assert meter.mean_density == pytest.approx((10 + 150) / 400)
    # a dense step saves nothing and has no pre-phases
    meter.add([step(1.0, 100, dense="first")])
    assert meter.work_reduction == pytest.approx(7000 / 4200)
    summary = meter.summary()
    assert summary.pop("dense_layer_passes") == {"first": 1}
    assert summary == pytest.approx(
        {
            "steps": 3,
            "mean_density": 260 / 500,
            "median_step_density": 0.5,
            "reuse_sparsity": 240 / 500,
            "backward_work_reduction": 7000 / 4200,
        }
    )


def test_nothing_measured_saves_nothing() -> None:
    assert WorkMeter().work_reduction == 1.0
    assert WorkMeter().mean_density == 1.0


def test_state_round_trip() -> None:
    meter, other = WorkMeter(), WorkMeter()
    meter.add([step(0.25, 40), step(1.0, 8, dense="shape")])
    other.load_state_dict(meter.state_dict())
    assert other == meter
    other.add([step(0.5, 4)])
    assert meter.steps == 1
    assert len(meter.step_densities) == 1
