"""``gscn-sim trace synth --step``: random masks for the layers of any model's training step."""

from __future__ import annotations

import pytest

import workloads


def test_layers_and_step_of_a_transformer(invoke, tmp_path):
    made = tmp_path / "vit.npz"
    result = invoke("trace", "synth", "--step", "vit-tiny", "--reuse-sparsity", "0.9", "-o", made)
    assert result.exit_code == 0
    assert result.stdout == f"{made}: 50 layers of vit-tiny, 2 of 16 samples\n"
    trace = workloads.load(made)
    step = workloads.known_step("vit-tiny", 16)
    assert trace.step == step
    names = [name for name, _ in workloads.sparse_layers(step)]
    assert [layer.name for layer in trace.layers] == names
    workloads.layer_operations(step, [(each.name, each.shape) for each in trace.layers])


def test_a_step_from_a_file_has_its_own_batch(invoke, tmp_path):
    file, made = tmp_path / "step.json.gz", tmp_path / "r8.npz"
    workloads.save_step(workloads.known_step("resnet8", 64), file)
    result = invoke("trace", "synth", "--step", file, "-o", made)
    assert result.exit_code == 0
    assert workloads.load(made).batch_size == 64


def test_an_ordinary_step_has_its_convolutions():
    step = workloads.known_step("mobilenet", 16)
    ordinary = step.without("resprop")
    assert workloads.sparse_layers(ordinary) == workloads.sparse_layers(step)
    assert len(workloads.sparse_layers(step)) == 27  # and not the classifier


@pytest.mark.parametrize("words", [(), ("--network", "resnet18", "--step", "resnet8")])
def test_network_or_step(invoke, tmp_path, words):
    result = invoke("trace", "synth", *words, "-o", tmp_path / "t.npz")
    assert result.exit_code == 2
    assert result.stderr == "error: give either --network or --step\n"
