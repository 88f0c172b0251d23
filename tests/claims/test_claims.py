"""The reproduction on tiny traces: the code of the real one, with figures worked out here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gscn_sim.claims import Row, Study, ant, gscn, resprop, scnn
from gscn_sim.claims.gscn import GPU_WATTS, same_work
from gscn_sim.claims.record import first_iteration, summary_row
from gscn_sim.claims.reproduce import NAME, markdown, write
from gscn_sim.claims.sensitivity import dense_activations
from gscn_sim.cli import main
from gscn_sim.results.energy import energy_j
from gscn_sim.run.memo import Cache
from workloads import (
    GscnError,
    LayerShape,
    Operation,
    Phase,
    Step,
    TensorUse,
    Trace,
    layer_from_arrays,
    save,
)

SHAPE = LayerShape(C=8, H=8, W=8, K=8, R=3, S=3, padding=(1, 1))
GRADIENTS = 2 * 8 * 8 * 8


def tiny(network: str, iterations: int = 1) -> Trace:
    """Two layers a record; exactly a tenth of the gradients is there, half of the activations."""
    generator = np.random.default_rng(3)
    layers = []
    for iteration in range(iterations):
        for name in ("conv1", "conv2"):
            gradient = np.zeros(GRADIENTS)
            gradient[generator.choice(GRADIENTS, GRADIENTS // 10, replace=False)] = 1
            layers.append(
                layer_from_arrays(
                    name,
                    shape=SHAPE,
                    activation=generator.random((2, 8, 8, 8)) < 0.5,
                    gradient=gradient.reshape(2, 8, 8, 8),
                    padding=(1, 1),
                    iteration=iteration,
                )
            )
    return Trace(
        network=network, batch_size=16, reuse_sparsity=0.9, layers=layers, step=tiny_step(network)
    )


def tiny_step(network: str) -> Step:
    """The convolutions of the two layers, in all phases, and an addition that goes back."""
    tensor = TensorUse(storage=0, shape=(16, 8, 8, 8), dtype="float32", elements=16 * 512)
    operations = [
        Operation(
            phase="forward" if phase is Phase.FORWARD else "backward",
            kind="convolution" if not phase.one_sample else "resprop",
            name=str(phase),
            module=name,
            inputs=(tensor,),
            outputs=(tensor,),
            layer=SHAPE,
            layer_phase=phase,
            macs=(1 if phase.one_sample else 16) * SHAPE.dense_macs,
        )
        for name in ("conv1", "conv2")
        for phase in Phase
    ]
    addition = Operation(
        phase="backward", kind="addition", name="add", inputs=(tensor,), outputs=(tensor,)
    )
    return Step(
        network=network,
        batch_size=16,
        input_shapes=((16, 8, 8, 8),),
        optimizer="sgd",
        operations=[*operations, addition],
    )


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    for name in ("resnet34", "vgg16", "resnet18", "resnet34_q10", "vgg16_q10"):
        save(
            tiny(name.removesuffix("_q10"), 2 if name == "resnet34" else 1), folder / f"{name}.npz"
        )
    return folder


@pytest.fixture
def study(traces: Path, tmp_path: Path) -> Study:
    return Study(
        traces=traces,
        accuracy=tmp_path / "none.csv",
        cache=Cache(memory_bytes=0),
        begin=lambda _: None,
        note=lambda _: None,
    )


ACCURACY = """# the command
model,dataset,rule,epochs,batch_size,clip_norm,reuse_sparsity,warmup_epochs,seeds,loss_points,loss_points_low,\
loss_points_high,mean_density,backward_work_reduction,whole_run_work_reduction
net,set,mean-density,30,128,1,0.9,9,5,0.2,-0.1,0.4,0.2,4.5,3.0
net,set,halve-double,30,128,,0.9,9,5,0.7,-0.1,0.4,0.1,4.5,3.0
net,two,mean-density,30,128,1,0.9,9,2,0.2,-0.1,0.4,0.2,4.5,3.0
net,other,mean-density,30,128,1,0.9,0,5,0.2,-0.1,0.4,0.2,4.5,3.0
net,other,mean-density,30,128,1,0.8,9,5,0.2,-0.1,0.4,0.2,4.5,3.0
"""


def test_the_command_on_tiny_traces(traces: Path, tmp_path: Path) -> None:
    accuracy = tmp_path / "accuracy.csv"
    accuracy.write_text(ACCURACY)
    out = tmp_path / "out"
    command = ["reproduce", "--traces", str(traces), "--accuracy", str(accuracy), "-o", str(out)]
    command += ["--cache", "off", "-q"]
    result = CliRunner().invoke(main, [*command, "--only", "resprop", "--only", "gscn"])
    assert result.exit_code == 0, result.output
    for suffix in (".md", ".csv", ".csv.provenance.json", ".json", ".svg", ".png"):
        assert (out / f"{NAME}{suffix}").stat().st_size > 0
    found = json.loads((out / f"{NAME}.json").read_text())
    ours = {row["claim"]: row["ours"] for row in found["rows"]}
    clipped = "net on set, mean-density, clipped at 1, 5 seeds"
    assert ours[f"gradients reused, {clipped}"] == pytest.approx(0.8)
    assert ours[f"accuracy lost, {clipped}"] == 0.2
    assert ours["accuracy lost, net on set, halve-double, 5 seeds"] == 0.7
    # The claim is about 90 % with warm-up, and two seeds say too little.
    assert sum("net on" in claim for claim in ours) == 2 * 3
    density = (GRADIENTS // 10) / GRADIENTS
    assert ours["back-propagation work saved, vgg16 at 224x224"] == pytest.approx(
        1 / (density + 1 / 16)
    )
    assert ours["training sped up, the paper's arithmetic"] == pytest.approx(1 / 0.37)
    over = "training sped up, whole step of resnet34, over"
    assert {row["published"] for row in found["rows"] if over in row["claim"]} == {2.7, None}
    assert ours[f"{over} a GTX 1080 Ti"] > 0
    assert set(found["provenance"]) == {"resprop", "gscn"}

    # Another family takes its place beside the rows that are there.
    result = CliRunner().invoke(main, [*command, "--only", "sensitivity"])
    assert result.exit_code == 0, result.output
    after = json.loads((out / f"{NAME}.json").read_text())
    families = [row["family"] for row in after["rows"]]
    assert list(dict.fromkeys(families)) == ["resprop", "gscn", "sensitivity"]
    assert [row for row in after["rows"] if row["family"] != "sensitivity"] == found["rows"]
    text = (out / f"{NAME}.md").read_text()
    assert "| resnet34, multipliers: 1,792 (half) | 8x |" in text


def test_a_missing_trace_is_one_line(tmp_path: Path) -> None:
    arguments = ["reproduce", "--only", "gscn", "--traces", str(tmp_path), "-o", str(tmp_path)]
    result = CliRunner().invoke(main, [*arguments, "--cache", "off", "-q"])
    assert result.exit_code == 2
    assert "resnet34_q10.npz: no such trace; --traces must name workloads/data" in result.stderr


def test_a_file_that_is_no_reproduction_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.json").write_text('{"rows": 3}')
    row = Row(family="gscn", claim="c", unit="x", published=8.0, ours=4.0, how="so")
    with pytest.raises(GscnError, match=r"reproduction\.json: not a reproduction"):
        write([row], tmp_path, provenance={})


def test_rows_in_markdown() -> None:
    rows = [
        Row(family="ant", claim="a", unit="x", published=4.0, ours=2.0, low=1.0, high=3.0, how="h"),
        Row(family="scnn", claim="b", unit="share", published=None, ours=0.5, high=0.75, how="h"),
    ]
    text = markdown(rows)
    assert text.index("## SCNN") < text.index("## ANT")
    assert "| a | 4x | 2.000x | 1.000x to 3.000x | h | - |" in text
    assert "| b | - | 0.5000 | up to 0.7500 | h | - |" in text
    assert rows[0].ratio == 0.5
    assert rows[1].ratio is None


def test_scnn_rows_are_ratios_of_cycles(study: Study) -> None:
    """With one-to-one channels both machines' cycles are known: 8x8 positions on 8x8 PEs."""
    layers = [("conv", LayerShape(C=16, H=8, W=8, K=16, R=1, S=1))]
    rows = {row.claim: row for row in scnn.rows(study, googlenet=layers, vgg16=layers)}
    # Dense: a position a PE, 16 channels fill a vector: 16 steps and the drain of 16 sums.
    # SCNN: one activation meets 16 weights, 4 a step, for each of 16 channels: 64 steps.
    dense = rows["SCNN over dense, GoogLeNet, densities 1/1"]
    assert dense.ours == pytest.approx((16 + 1) / (64 + 1))
    assert rows["SCNN over dense, GoogLeNet, densities 0.1/0.1"].published == 24.0
    assert rows["multipliers used in a step, 64 PEs, groups of 8"].unit == "share"


def test_ant_rows(study: Study) -> None:
    rows = ant.rows(study, recorded=("resnet34",), random=(), varied=())
    mean, energy, redundant, skipped, own = rows
    assert mean.ours == own.ours == mean.low == mean.high
    assert mean.published == 3.71
    trace = first_iteration(study.trace("resnet34"))
    plain, ours = (
        study.run(trace, preset, ant.CHEAPEST, phases=("wgrad",)) for preset in ("scnn", "ant")
    )
    cycles = [sum(r.cycles for r in run.records) for run in (plain, ours)]
    assert mean.ours == pytest.approx(cycles[0] / cycles[1])
    wasted = [sum(r.slots.redundant for r in run.records) for run in (plain, ours)]
    useful = sum(r.slots.useful for r in plain.records)
    assert redundant.ours == pytest.approx(wasted[0] / (wasted[0] + useful))
    assert skipped.ours == pytest.approx(1 - wasted[1] / wasted[0])
    joules = [
        sum(energy_j(r.activity, run.config).on_chip for r in run.records) for run in (plain, ours)
    ]
    assert energy.ours == pytest.approx(joules[0] / joules[1])


def test_networks_on_small_images_and_changes_have_rows(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [("conv", LayerShape(C=2, H=224, W=224, K=2, R=3, S=3, padding=(1, 1)))]
    monkeypatch.setattr(ant, "conv_layers", lambda name: layers)
    rows = ant.rows(study, recorded=(), random=("toy",), varied=("toy",))
    assert len(rows) == 2 * 4 + 2 + len(ant.CHANGES)
    by_claim = {row.claim: row for row in rows}
    whole = by_claim["ANT over SCNN, 90 % sparse training, geometric mean, whole maps"]
    assert whole.ours == by_claim["ANT over SCNN, forward+dgrad+wgrad, toy, whole maps"].ours
    (first,) = ant._sparse_training("toy").layers
    assert (first.shape.H, first.shape.W) == (32, 32)


def test_both_sides_do_the_same_work(study: Study) -> None:
    """Convolutions against convolutions; the whole pass of a step against the same operations."""
    convolutions, without, predicted, measured = same_work(study, "resnet34_q10", "resnet34")
    run = study.run(study.trace("resnet34_q10"))
    assert convolutions.gscn_seconds == summary_row(run, "backward_with_pre")["seconds"]
    assert without.gscn_seconds == summary_row(run, "backward")["seconds"]
    step = study.step(study.trace("resnet34_q10"))
    assert predicted.gscn_seconds == measured.gscn_seconds == step.seconds("gscn", "backward")
    assert predicted.gpu_seconds == step.seconds("gpu", "backward")
    assert measured.gpu_seconds == pytest.approx(0.0346028)
    # VGG-16 is traced with batch-norm and was measured without: not the same work.
    save(tiny("vgg16-bn"), study.traces / "vgg16_q10.npz")
    names = [pair.name for pair in same_work(study, "vgg16_q10", "vgg16")]
    assert names[-1] == "all layers on both sides, GPU predicted"


def test_training_time_is_that_of_the_simulated_step(study: Study) -> None:
    rows = {row.claim: row for row in resprop.rows(study)}
    step = study.step(study.trace("resnet34_q10"))
    for other, words in (("gpu", "a GTX 1080 Ti"), ("dense", "the same array without sparsity")):
        row = rows[f"training sped up, whole step of resnet34, over {words}"]
        assert row.ours == pytest.approx(step.seconds(other) / step.seconds("gscn"))


def test_energy_is_the_envelope_over_the_gpus_time(study: Study) -> None:
    rows = {row.claim: row for row in gscn.rows(study)}
    step = study.step(study.trace("resnet34_q10"))
    (joules,) = step.summary.query("machine == 'gscn' and phase == 'backward'")["energy_j"]
    row = rows[
        "energy of the backward pass of resnet34, bound, all layers on both sides, GPU measured"
    ]
    assert row.ours == pytest.approx(GPU_WATTS * 0.0346028 / joules)


def test_helpers_of_traces(study: Study) -> None:
    two = study.trace("resnet34")
    assert {layer.iteration for layer in two.layers} == {0, 1}
    assert {layer.iteration for layer in first_iteration(two).layers} == {0}
    full = dense_activations(two)
    assert all(
        layer.activation is not None and layer.activation.density == 1 for layer in full.layers
    )


def test_a_missing_accuracy_table_is_said_and_runs_are_announced(
    study: Study, tmp_path: Path
) -> None:
    begun: list[str] = []
    noted: list[str] = []
    heard = replace(study, begin=begun.append, note=noted.append)
    assert not any("accuracy lost" in row.claim for row in resprop.rows(heard))
    assert noted == [f"{tmp_path / 'none.csv'}: not there, so no row on accuracy"]
    assert begun == [f"a training step of {name} on gscn" for name in ("resnet34", "vgg16")]
    gscn.rows(heard)
    assert "resnet34 on gscn" in begun[2]
