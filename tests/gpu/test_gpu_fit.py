"""The shipped fit: its data file, its errors against the measurements, and the fit itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gscn_sim.gpu import GpuError, network_backward, report
from gscn_sim.gpu.coefficients import (
    Coefficients,
    Fit,
    coefficient_table,
    format_fits,
    load_fits,
    load_memory_fit,
    typical_coefficients,
)
from gscn_sim.gpu.device import device_names, load_device
from gscn_sim.gpu.fitting import error_figures, fit_coefficients
from gscn_sim.gpu.layers import checked_layers
from gscn_sim.gpu.measured import measured_layers, measured_networks
from gscn_sim.gpu.network import memory_bytes, network_layers
from gscn_sim.gpu.prediction import PASSES, predict
from workloads.errors import GscnError

NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101", "vgg16", "vgg19")


def test_at_most_twelve_coefficients_a_device_inside_their_ranges() -> None:
    memory_layers = 2
    assert len(coefficient_table()) + memory_layers <= 12
    assert set(load_fits()) == set(device_names())
    for fit in load_fits().values():
        for name, low, typical, high, meaning in coefficient_table():
            assert low <= typical <= high
            assert low < getattr(fit.coefficients, name) < high, f"{name} is at its bound"
            assert meaning


@pytest.mark.parametrize("device", device_names())
def test_the_file_states_the_errors_that_the_coefficients_have(device: str) -> None:
    table, fit = measured_layers(load_device(device)), load_fits()[device]
    predicted = predict(table.drop(columns=[f"{p}_ms" for p in PASSES]), device)
    for name in PASSES:
        figures = error_figures(table[f"{name}_ms"].to_numpy(), predicted[f"{name}_ms"].to_numpy())
        for key in ("mean_percent", "median_percent", "sum_percent", "layers"):
            assert fit.errors[name][f"fitted_{key}"] == pytest.approx(figures[key], abs=0.02)


def test_held_out_errors_on_the_1080_ti() -> None:
    """The figures that the fit reached for shapes it had not seen, with little room to worsen."""
    errors = load_fits()["gtx-1080ti"].errors
    for name, mean, median in (("dgrad", 12, 10), ("wgrad", 15, 10)):
        assert errors[name]["held_out_mean_percent"] < mean
        assert errors[name]["held_out_median_percent"] < median
        assert abs(errors[name]["held_out_sum_percent"]) < 5
    for device in ("titan-xp", "p100", "v100"):
        for name in ("dgrad", "wgrad"):
            assert load_fits()[device].errors[name]["held_out_mean_percent"] < 20


def test_the_analytical_model_beats_the_roofline_on_every_device_and_pass() -> None:
    keys = ["device", "phase"]
    ours, plain = (
        table[table["filter"] == "all"].set_index(keys)["mean_percent"]
        for table in (report(), report(model="roofline"))
    )
    assert (ours < plain).all()
    assert len(ours) == 3 * len(device_names())


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_backward_passes_on_the_1080_ti_within_ten_percent(name: str) -> None:
    row = network_backward(name, 16, "gtx-1080ti").iloc[0]
    assert row["backward_ms"] == pytest.approx(row["measured_backward_ms"], rel=0.10)
    assert row["convolutions_ms"] < row["backward_ms"]
    assert row["backward_low_ms"] < row["measured_backward_ms"] < row["backward_high_ms"]
    errors = load_memory_fit().errors[name]
    error = 100 * (row["backward_ms"] / row["measured_backward_ms"] - 1)
    assert errors["fitted_percent"] == pytest.approx(error, abs=0.05)
    assert abs(errors["held_out_percent"]) < 10, "the fit without this network"


def test_measured_whole_passes_are_the_cited_ones() -> None:
    measured = measured_networks(load_device("gtx-1080ti")).set_index("network")
    assert measured.loc["resnet34", "backward_ms"] == pytest.approx(34.60, abs=0.01)
    assert measured.loc["vgg16", "backward_ms"] == pytest.approx(86.91, abs=0.01)
    assert np.isnan(network_backward("resnet34", 7)["measured_backward_ms"].iloc[0])


def test_memory_bytes_by_hand() -> None:
    """ResNet-20 on CIFAR, its first ReLU: 16x32x32 values, two read and one written."""
    parts = list(memory_bytes(network_layers("resnet20"), 2))
    relus = [size for kind, size, _ in parts if kind == "relu"]
    assert relus[0] == 4 * 2 * 16 * 32 * 32 * 3
    norms = [size for kind, size, _ in parts if kind == "batch_norm"]
    assert norms[0] == 4 * 2 * 16 * 32 * 32 * 5
    assert not any(kind == "bias" for kind, _, _ in parts)
    parts = memory_bytes(network_layers("resnet18"), 1)
    pools = [size for kind, size, _ in parts if kind == "max_pool"]
    assert pools == [4 * 64 * (112 * 112 + (2 + 3 * 3) * 56 * 56)]
    vgg = [kind for kind, _, _ in memory_bytes(network_layers("vgg16"), 2)]
    assert vgg.count("bias") == 13


def test_network_errors() -> None:
    with pytest.raises(GscnError, match="network must be one of"):
        network_backward("resnet35")
    with pytest.raises(GpuError, match="batch_size must be a positive int, got 0"):
        network_backward("resnet34", 0)


def test_a_fit_recovers_coefficients_from_times_made_with_them() -> None:
    device = load_device("p100")
    table = measured_layers(device)
    true = load_fits()["p100"].coefficients
    predicted = predict(table.drop(columns=[f"{p}_ms" for p in PASSES]), "p100")
    for name in PASSES:
        table[f"{name}_ms"] = predicted[f"{name}_ms"]
    found = fit_coefficients(device, table, typical_coefficients())
    remade = predict(table, device, fits={"p100": _with(load_fits()["p100"], found)})
    for name in PASSES:
        figures = error_figures(table[f"{name}_ms"].to_numpy(), remade[f"{name}_ms"].to_numpy())
        assert figures["mean_percent"] < 2
    assert found.gemm_efficiency == pytest.approx(true.gemm_efficiency, rel=0.1)
    assert found.atomic_gb_s == pytest.approx(true.atomic_gb_s, rel=0.1)


def _with(fit: Fit, coefficients: Coefficients) -> Fit:
    return Fit(
        coefficients=coefficients,
        bands=fit.bands,
        errors=fit.errors,
        ranges=fit.ranges,
        fitted_on=fit.fitted_on,
    )


def test_the_data_file_survives_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(format_fits(load_fits(), load_memory_fit(), "made by a test"))
    assert load_fits(path) == load_fits()
    assert load_memory_fit(path) == load_memory_fit()


@pytest.mark.parametrize("text", ["", "device = 3", "[device.p100]\nx = 1", "not toml ="])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(GpuError, match="coefficients"):
        load_fits(path)


def test_truncation_of_measured_times_is_undone() -> None:
    table = measured_layers(load_device("gtx-1080ti"))
    micros = table["dgrad_ms"] * 1000
    assert np.allclose(micros % 1, 0.5, atol=1e-6)
    assert len(checked_layers(table)) == 39
