"""Measuring and fitting a card of one's own: the table, resuming, the device file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from gscn_sim.cli import main
from gscn_sim.gpu import find_device, layers_frame, network_step, predict, predict_step
from resprop_train.cli import main as resprop_train
from resprop_train.errors import TrainError
from resprop_train.measure_gpu import Job, jobs, measure

FIGURES = {
    "title": "A card",
    "architecture": "sm_90",
    "sms": 132,
    "cores_per_sm": 128,
    "boost_clock_ghz": 1.98,
    "bandwidth_gb_s": 3350.0,
    "l2_bytes": 52428800,
    "shared_bytes_per_sm": 233472,
    "cudnn": 9,
    "peak_tflops": {"fp32": 66.9, "tf32": 495.0, "bf16": 990.0},
}


def times_of_an_h100(job: Job) -> Mapping[str, float]:
    """What the shipped model says a job takes."""
    if job.layer is not None:
        row = predict(layers_frame([job.layer], job.batch_size), "h100", precision=job.mode).iloc[0]
        names = {"t_fwd_ms": "forward", "t_dgrad_ms": "dgrad", "t_wgrad_ms": "wgrad"}
        return {name: float(row[f"{phase}_ms"]) for name, phase in names.items()}
    table = predict_step(network_step(job.network, job.batch_size), "h100", job.mode)
    sums = 1e3 * table.groupby("phase")["seconds"].sum()
    whole = float(sums.sum())
    return {
        "t_fwd_ms": float(sums["forward"]),
        "t_bwd_ms": float(sums["backward"]),
        "t_step_ms": whole,
        "energy_j": 0.5 * whole,
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third layer: a fit leaves each of its shapes out once."""
    path = tmp_path_factory.mktemp("own") / "mine.csv"
    layers = [job for job in jobs(("bf16",)) if job.layer][::3]
    steps = [job for job in jobs(("bf16",)) if job.network]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resprop_train.measure_gpu.jobs", lambda modes: [*layers, *steps])
        missing = measure(
            path,
            minutes=60,
            modes=("bf16",),
            figures=lambda: FIGURES,
            time_of=times_of_an_h100,
        )
    assert missing == 0
    return path


def gpu(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["gpu", *map(str, args)])
    return result.exit_code, result.output


def test_a_table_becomes_a_device_whose_times_are_those_measured(table: Path) -> None:
    device = table.with_suffix(".toml")
    code, output = gpu("fit", table)
    assert code == 0, output
    assert f"wrote {device}" in output
    layers = layers_frame([job.layer for job in jobs() if job.layer][:9], 16)
    ours, theirs = predict(layers, str(device)), predict(layers, "h100:bf16")
    for name in ("dgrad_ms", "wgrad_ms"):
        assert ours[name].to_numpy() == pytest.approx(theirs[name].to_numpy(), rel=0.2)
    assert find_device(str(device)).key == "mine:bf16"
    steps = predict_step(network_step("resnet34", 64), str(device))["seconds"].sum()
    known = predict_step(network_step("resnet34", 64), "h100:bf16")["seconds"].sum()
    assert steps == pytest.approx(known, rel=0.2)


def test_a_run_out_of_time_goes_on_where_it_ended(tmp_path: Path) -> None:
    path, asked, now = tmp_path / "mine.csv", [], [0.0]

    def slow(job: Job) -> dict[str, float]:
        asked.append(job.key)
        now[0] += 20.0
        return {"t_fwd_ms": 1.0}

    def run(minutes: float) -> int:
        return measure(
            path, minutes=minutes, modes=("fp32",), figures=lambda: FIGURES, time_of=slow,
            clock=lambda: now[0],
        )  # fmt: skip

    everything = len(jobs(("fp32",)))
    assert run(1.0) == everything - 3
    assert run(1.0) == everything - 6
    assert len(set(asked)) == len(asked) == 6


def test_a_table_of_another_card_is_not_added_to(table: Path) -> None:
    other = {**FIGURES, "title": "Another card"}
    with pytest.raises(TrainError, match='measured on "A card", not on "Another card"'):
        measure(table, minutes=1, modes=("bf16",), figures=lambda: other, time_of=times_of_an_h100)


def test_without_a_gpu_one_line_says_so() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    result = CliRunner().invoke(resprop_train, ["measure-gpu"])
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "needs a CUDA GPU" in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N,C,H,W\n1,2,3,4\n", "no table that 'resprop-train measure-gpu' wrote: it lacks what"),
        ("\x00", "no table that 'resprop-train measure-gpu' wrote"),
        ("# title = 3 3\nwhat\n", "cannot be read as measurements"),
    ],
)
def test_other_tables_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    code, output = gpu("fit", path)
    assert code == 2
    assert message in output
    assert output.count("\n") == 1


def test_too_few_rows_and_unknown_modes_are_refused(table: Path, tmp_path: Path) -> None:
    lines = table.read_text().splitlines(keepends=True)[1:]  # without the digest
    few = tmp_path / "few.csv"
    few.write_text("".join(lines[: len(FIGURES) + 6]))
    code, output = gpu("fit", few)
    assert code == 2
    assert "needs at least 12 measured shapes, got 5" in output
    other = tmp_path / "other.csv"
    other.write_text("".join(lines).replace(",bf16,", ",fp8,"))
    code, output = gpu("fit", other)
    assert code == 2
    assert "mode must be one of fp32, tf32, bf16, got fp8" in output
