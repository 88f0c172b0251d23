"""The shipped fit: its data file, its errors against the measurements, and the fit itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gscn_sim.gpu import GpuError, compare_families, network_backward, report
from gscn_sim.gpu.coefficients import LIBRARIES, Cudnn5To7, StepCoefficients
from gscn_sim.gpu.device import device_keys, load_device
from gscn_sim.gpu.fits import format_file, load_file, load_fits
from gscn_sim.gpu.fitting import check_rows, error_figures, fit_coefficients
from gscn_sim.gpu.layers import checked_layers
from gscn_sim.gpu.measured import measured_layers, measured_networks
from gscn_sim.gpu.prediction import PASSES, predict
from workloads.errors import GscnError

NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101", "vgg16", "vgg19")
H100 = ("h100", "h100:tf32", "h100:bf16")


@pytest.mark.parametrize("kind", [*LIBRARIES.values(), StepCoefficients])
def test_at_most_twelve_coefficients_each_with_a_meaning(kind: type) -> None:
    table = kind.table()
    assert len(table) <= 12
    for _, low, typical, high, meaning in table:
        assert low < typical < high
        assert meaning


def test_every_device_and_precision_is_fitted_inside_the_ranges() -> None:
    fits = load_fits()
    assert set(fits) == set(device_keys())
    for key, fit in fits.items():
        for name, low, _, high, _ in fit.coefficients.table():
            assert low <= getattr(fit.coefficients, name) <= high, f"{key}: {name}"


@pytest.mark.parametrize("key", device_keys())
def test_the_file_states_the_errors_that_the_coefficients_have(key: str) -> None:
    table, fit = measured_layers(load_device(key)), load_fits()[key]
    predicted = predict(table.drop(columns=[f"{p}_ms" for p in PASSES]), key)
    for name in PASSES:
        figures = error_figures(table[f"{name}_ms"].to_numpy(), predicted[f"{name}_ms"].to_numpy())
        for figure in ("mean_percent", "median_percent", "sum_percent", "layers"):
            assert fit.errors[name][f"fitted_{figure}"] == pytest.approx(figures[figure], abs=0.02)


def test_held_out_errors_on_the_older_cards() -> None:
    """The figures that the fit reached for shapes it had not seen, with little room to worsen."""
    errors = load_fits()["gtx-1080ti"].errors
    for name, mean, median in (("dgrad", 10.5, 9), ("wgrad", 12.5, 9)):
        assert errors[name]["held_out_mean_percent"] < mean
        assert errors[name]["held_out_median_percent"] < median
        assert abs(errors[name]["held_out_sum_percent"]) < 2
    for device in ("titan-xp", "p100", "v100"):
        for name in ("dgrad", "wgrad"):
            assert load_fits()[device].errors[name]["held_out_mean_percent"] < 16


@pytest.mark.parametrize("key", H100)
def test_held_out_errors_on_the_h100(key: str) -> None:
    errors = load_fits()[key].errors
    for name in ("dgrad", "wgrad"):
        assert errors[name]["held_out_mean_percent"] < 15
        assert errors[name]["held_out_median_percent"] < 11.5
        assert abs(errors[name]["held_out_sum_percent"]) < 5


@pytest.mark.parametrize("key", H100)
def test_grouped_and_depthwise_layers_of_the_h100_as_fitted(key: str) -> None:
    table = measured_layers(load_device(key))
    table = table[table["groups"] > 1]
    predicted = predict(table.drop(columns=[f"{p}_ms" for p in PASSES]), key)
    assert len(table) >= 20
    for name in PASSES:
        figures = error_figures(table[f"{name}_ms"].to_numpy(), predicted[f"{name}_ms"].to_numpy())
        assert figures["mean_percent"] < 30
    assert not predicted["gpu_note"].any()


@pytest.mark.parametrize("key", H100)
def test_the_family_chosen_is_mostly_the_one_that_ran(key: str) -> None:
    table = compare_families([key])
    for phase in PASSES:
        part = table[table["phase"] == phase]
        assert part["layers"].sum() > 60
        assert part.loc[part["same"], "layers"].sum() > 0.8 * part["layers"].sum()


def test_the_analytical_model_beats_the_roofline_on_every_device_and_pass() -> None:
    keys = ["device", "phase"]
    ours, plain = (
        table[table["filter"] == "all"].set_index(keys)["mean_percent"]
        for table in (report(), report(model="roofline"))
    )
    assert (ours < plain).all()
    assert len(ours) == 3 * len(device_keys())


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_passes_on_the_1080_ti_within_ten_percent(name: str) -> None:
    row = network_backward(name, 16, "gtx-1080ti").iloc[0]
    for phase in ("forward", "backward"):
        assert row[f"{phase}_ms"] == pytest.approx(row[f"measured_{phase}_ms"], rel=0.10)
        errors = load_file().step["gtx-1080ti"].errors[f"{name}, N = 16"]
        error = 100 * (row[f"{phase}_ms"] / row[f"measured_{phase}_ms"] - 1)
        assert errors[f"fitted_{phase}_percent"] == pytest.approx(error, abs=0.05)
        assert abs(errors[f"held_out_{phase}_percent"]) < 10, "the fit without this network"
    assert row["convolutions_ms"] < row["backward_ms"]


def test_measured_whole_passes_are_the_cited_ones() -> None:
    measured = measured_networks(load_device("gtx-1080ti")).set_index("network")
    assert measured.loc["resnet34", "backward_ms"] == pytest.approx(34.60, abs=0.01)
    assert measured.loc["vgg16", "backward_ms"] == pytest.approx(86.91, abs=0.01)
    assert np.isnan(network_backward("resnet34", 7)["measured_backward_ms"].iloc[0])


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
    found = fit_coefficients(device, table, Cudnn5To7.typical())
    remade = predict(table, device, fits={"p100": replace(load_fits()["p100"], coefficients=found)})
    for name in PASSES:
        figures = error_figures(table[f"{name}_ms"].to_numpy(), remade[f"{name}_ms"].to_numpy())
        assert figures["mean_percent"] < 2
    assert isinstance(true, Cudnn5To7)
    assert found.gemm_efficiency == pytest.approx(true.gemm_efficiency, rel=0.1)


def test_too_few_rows_and_impossible_times_are_refused() -> None:
    device = load_device("h100")
    table = measured_layers(device)
    with pytest.raises(GpuError, match=r"needs at least 12 measured shapes, got 3"):
        check_rows(device, table.drop_duplicates(["C", "H", "K"])[:3])
    with pytest.raises(GpuError, match=r"needs at least 12 positive times of dgrad"):
        check_rows(device, table.assign(dgrad_ms=-1.0))


def test_the_data_file_survives_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(format_file(load_file(), "made by a test"))
    assert load_file(path) == load_file()


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
    assert len(measured_layers(load_device("h100:bf16"))) == 183
