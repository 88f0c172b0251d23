"""A training run adds up steps: by hand from its points, and on one iteration of a real trace."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

import workloads
from gscn_sim import load_config, simulate_step
from gscn_sim.errors import ConfigError
from gscn_sim.step.training import (
    Epoch,
    read_epochs,
    recorded_epochs,
    simulate_training,
    with_density,
)
from workloads import GscnError, Trace, TraceError

SHIPPED = Path(str(resources.files("workloads.data").joinpath("resnet8_digits.npz")))
EPOCHS = [
    Epoch(epoch=0, steps=3, density=1.0),
    Epoch(epoch=1, steps=3, density=0.6),
    Epoch(epoch=2, steps=2, density=0.3),
    Epoch(epoch=3, steps=10, density=0.2),
]


@pytest.fixture(scope="module")
def trace() -> Trace:
    loaded = workloads.load(SHIPPED)
    return replace(loaded, layers=list(loaded.layers)[:7])


@pytest.fixture(scope="module")
def found(trace: Trace):
    return simulate_training(trace, load_config("gscn-ideal"), EPOCHS, points=2)


def elements(trace: Trace) -> float:
    masks = [layer.gradient for layer in trace.layers if layer.gradient is not None]
    return sum(mask.nonzeros for mask in masks) / sum(mask.size for mask in masks)


@pytest.mark.parametrize("density", [0.02, 0.1, 0.4, 0.9])
def test_masks_have_the_wanted_mean_and_layers_keep_their_order(trace: Trace, density: float):
    made = with_density(trace, density)
    assert elements(made) == pytest.approx(density, rel=0.04)
    assert made.reuse_sparsity == 1 - density
    before = [layer.gradient.density for layer in trace.layers]
    after = [layer.gradient.density for layer in made.layers]
    most, least = before.index(max(before)), before.index(min(before))
    assert after[most] > after[least]


def test_the_own_density_changes_nothing(trace: Trace):
    made = with_density(trace, elements(trace))
    assert [a.gradient for a in made.layers] == [b.gradient for b in trace.layers]


def test_a_dense_step_is_ordinary_training(trace: Trace):
    made = with_density(trace, 1.0)
    assert elements(made) == 1
    assert made.reuse_sparsity is None
    phases = {phase for layer in made.layers for phase in layer.phases()}
    assert not any(phase.is_pre_phase for phase in phases)


def test_epochs_add_up(found, trace: Trace):
    """Between 0.2 and 0.6 the time at 0.3 is a quarter of the way."""
    assert list(found.points) == [0.2, 0.6, 1.0]
    step = {density: run.seconds("gscn") for density, run in found.points.items()}
    seconds = [3 * step[1.0], 3 * step[0.6], 2 * (0.75 * step[0.2] + 0.25 * step[0.6])]
    seconds.append(10 * step[0.2])
    assert found.table["gscn_seconds"].tolist() == pytest.approx(seconds)
    assert found.totals["gscn"]["seconds"] == pytest.approx(sum(seconds))
    for machine in ("dense", "gpu"):  # without sparsity all steps are the same
        each = found.points[1.0].seconds(machine)
        assert found.totals[machine]["seconds"] == pytest.approx(18 * each)
        assert found.totals[machine]["speedup"] == pytest.approx(18 * each / sum(seconds))
    assert found.headline.startswith("18 training steps of resnet8, batch 64, in 4 epochs on gscn")
    assert found.headline.endswith("at the same operations (the paper: 2.7x)")


def test_a_dense_step_has_none_of_resprop_s_work(found):
    kinds = {density: set(run.table["kind"]) for density, run in found.points.items()}
    assert "resprop" in kinds[0.2]
    assert "resprop" not in kinds[1.0]


def test_without_a_log_the_recorded_iterations_count(trace: Trace):
    (epoch,) = recorded_epochs(trace)
    assert epoch == Epoch(epoch=trace.layers[0].iteration, steps=1, density=elements(trace))
    run = simulate_training(trace, load_config("gscn-ideal"), gpu=None)
    step = simulate_step(trace, load_config("gscn-ideal"), gpu=None)
    assert run.totals["gscn"]["seconds"] == pytest.approx(step.seconds("gscn"))
    assert "gpu" not in run.totals


def test_a_log_of_steps_is_summed_by_epoch(tmp_path: Path):
    log = tmp_path / "steps.csv"
    log.write_text(
        "step,epoch,loss,learning_rate,density,seconds\n"
        "1,0,2.3,0.1,1.0,0.5\n2,0,2.2,0.1,0.5,0.5\n3,1,2.1,0.1,0.25,0.5\n"
    )
    assert read_epochs(log) == [
        Epoch(epoch=0, steps=2, density=0.75),
        Epoch(epoch=1, steps=1, density=0.25),
    ]
    log.write_text("epoch,steps,density\n0,4,1\n1,100,0.1\n")
    assert read_epochs(log)[1] == Epoch(epoch=1, steps=100, density=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,loss\n0,1\n", "must have column density"),
        ("epoch,density\n0,1.5\n", "column density: must be from 0 to 1, got '1.5'"),
        ("epoch,density\nx,0.5\n", "column epoch: must be a number of at least 0, got 'x'"),
        ("epoch,density\n", "must have at least one line below"),
    ],
)
def test_a_bad_log_is_one_line(tmp_path: Path, text: str, message: str):
    log = tmp_path / "log.csv"
    log.write_text(text)
    with pytest.raises(GscnError, match=message):
        read_epochs(log)


def test_what_is_refused(trace: Trace):
    config = load_config("gscn-ideal")
    with pytest.raises(ConfigError, match="at least one epoch"):
        simulate_training(trace, config, [])
    with pytest.raises(ConfigError, match="points must be at least 2"):
        simulate_training(trace, config, EPOCHS, points=1)
    blind = replace(trace, layers=[replace(layer, gradient=None) for layer in trace.layers])
    with pytest.raises(TraceError, match="needs recorded gradients"):
        simulate_training(blind, config, EPOCHS)
