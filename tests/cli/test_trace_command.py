import dataclasses
import json

import numpy as np
import pytest

import workloads


def test_info_shows_shape_and_densities(invoke, toy_trace):
    result = invoke("trace", "info", toy_trace)
    assert result.exit_code == 0
    assert "8x8x8 -> 8x4x4, 3x3/2 pad 1" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_info_as_json_has_the_masks_own_densities(invoke, toy_trace):
    document = json.loads(invoke("trace", "info", toy_trace, "--format", "json").stdout)
    trace = workloads.load(toy_trace)
    assert document["trace"]["digest"] == trace.digest
    for row, layer in zip(document["layers"], trace.layers, strict=True):
        assert row["layer"] == layer.name
        assert row["gradient_density"] == layer.gradient.density
        assert row["samples"] == 2
    assert document["layers"][0]["phases"] == "forward,wgrad,pre_wgrad"


def test_info_reads_each_layer_once(invoke, toy_trace, monkeypatch):
    """Of a long recording that is most of its time."""
    from workloads.reader import StoredLayers

    read, original = [], StoredLayers._read

    def counted(layers, archive, record):
        read.append(record.name)
        return original(layers, archive, record)

    monkeypatch.setattr(StoredLayers, "_read", counted)
    assert invoke("trace", "info", toy_trace).exit_code == 0
    assert sorted(read) == sorted(
        record.name for record in workloads.load(toy_trace).layers.records
    )


def test_info_as_csv_has_a_row_per_layer(invoke, toy_trace):
    lines = invoke("trace", "info", toy_trace, "--format", "csv").stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("layer,iteration,shape,samples,activation_density")


def test_info_of_several_iterations_is_by_layer_unless_all_are_wanted(invoke, tmp_path):
    path = tmp_path / "two.npz"
    shape = workloads.LayerShape(C=2, H=4, W=4, K=2, R=1, S=1)
    masks = [np.zeros((1, 2, 4, 4), bool) for _ in range(2)]
    masks[0][0, 0], masks[1][:] = True, True  # densities 0.5 and 1
    layers = [
        dataclasses.replace(
            workloads.layer_from_arrays(name, activation=mask, gradient=mask, shape=shape),
            iteration=iteration,
        )
        for iteration, mask in zip((3, 9), masks, strict=True)
        for name in ("a", "b")
    ]
    workloads.save(workloads.Trace(network="toy", batch_size=1, layers=layers), path)
    rows = json.loads(invoke("trace", "info", path, "--format", "json").stdout)["layers"]
    assert [(row["layer"], row["iterations"], row["iteration"]) for row in rows] == [
        ("a", 2, None),
        ("b", 2, None),
    ]
    assert {row["gradient_density"] for row in rows} == {0.75}
    assert "2 layers, means of 2 iterations" in invoke("trace", "info", path).stdout
    rows = json.loads(invoke("trace", "info", path, "--all", "--format", "json").stdout)["layers"]
    assert [(row["layer"], row["iteration"]) for row in rows] == [
        *(("a", 3), ("b", 3), ("a", 9), ("b", 9)),
    ]
    assert "4 layer records" in invoke("trace", "info", path, "--all").stdout


def test_validate_says_sound(invoke, toy_trace):
    result = invoke("trace", "validate", toy_trace)
    assert result.exit_code == 0
    assert result.stdout.endswith("sound, 2 layer records of toy\n")


@pytest.mark.parametrize("cut", [0, 10, 400, -1])
def test_a_damaged_file_is_one_line_and_exit_code_2(invoke, toy_trace, tmp_path, cut):
    bad = tmp_path / "bad.npz"
    bad.write_bytes(toy_trace.read_bytes()[:cut])
    for command in (("trace", "info"), ("trace", "validate"), ("run",)):
        result = invoke(*command, bad)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("error: ")
        assert "bad.npz" in result.stderr


def test_synth_makes_the_masks_that_were_asked_for(invoke, tmp_path):
    made = tmp_path / "net.npz"
    words = (
        "--network",
        "resnet20",
        "--batch",
        8,
        "--samples",
        1,
        "--reuse-sparsity",
        0.75,
        "--exact",
    )
    result = invoke("trace", "synth", *words, "--activation-density", 0.5, "-o", made)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{made}: 19 layers of resnet20, 1 of 8 samples\n"
    trace = workloads.load(made)
    assert (trace.batch_size, trace.reuse_sparsity) == (8, 0.75)
    for layer in trace.layers:
        assert layer.activation.density == 0.5
        assert layer.gradient.density == 0.25


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--reuse-sparsity", 0.9, "--gradient-density", 0.1), "say the same: give one"),
        (("--reuse-sparsity", 90), "--reuse-sparsity must be from 0 to 1, got 90.0"),
    ],
)
def test_synth_refuses_on_one_line(invoke, tmp_path, words, message):
    result = invoke("trace", "synth", "--network", "resnet20", *words, "-o", tmp_path / "net.npz")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
