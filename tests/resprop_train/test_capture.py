"""The recorder: the trace holds exactly what the backward pass used."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import resprop_train
import workloads
from resprop_train.capture import Recorder
from resprop_train.conversion import convert, reuse_layers, set_reuse
from resprop_train.errors import TrainError
from workloads.errors import TraceError


def model() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=(2, 1), padding=(1, 0), bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 6, (2, 4), padding="same", groups=2),
        nn.Flatten(),
        nn.Linear(6 * 4 * 6, 5),
    )
    return convert(net, 0.7, linear=True, rule="quantile")


def step(net: nn.Module, seed: int = 0, batch: int = 5) -> None:
    x = torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    net(x).square().sum().backward()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_trace_holds_the_operands_of_the_backward_pass(tmp_path: Path) -> None:
    net = model()
    step(net)
    path = tmp_path / "t.npz"
    seen: dict[str, Tensor] = {}
    with resprop_train.record(net, path, values=True, samples=3) as recorder:
        net[0].weight.data[0] = 0
        # A second observer, chained in front of the recorder's.
        for reuse in reuse_layers(net).values():
            reuse.measure_cosine = False
        original = recorder._observe

        def observe(event) -> None:
            seen[event.layer] = event.gradient.clone()
            original(event)

        recorder._observe = observe
        step(net, seed=1)
    trace = workloads.load(path)
    assert (trace.network, trace.batch_size) == ("Sequential", 5)
    assert trace.reuse_sparsity == pytest.approx(0.7)
    assert trace.reuse_sparsity_reached == pytest.approx(0.7, abs=0.01)
    layers = list(trace.layers)
    assert [layer.name for layer in layers] == ["0", "2", "4"]  # the order of the model
    first, second, linear = layers
    assert [layer.input_gradient for layer in layers] == [False, True, True]
    assert first.shape.stride == (2, 1)
    assert first.shape.padding == (1, 0)
    assert first.weight is not None
    assert first.weight.density == 0.75
    assert second.weight is None
    # "same" with an even kernel: the missing column is part of the input.
    assert (second.shape.H, second.shape.W, second.shape.padding) == (5, 7, (0, 1))
    assert (second.shape.P, second.shape.Q, second.shape.groups) == (4, 6, 2)
    assert linear.shape.activation_shape == (6 * 4 * 6, 1, 1)
    for layer in layers:
        assert layer.n_samples == 3
        expected = seen[layer.name][:3].numpy().reshape(3, *layer.shape.gradient_shape)
        assert np.array_equal(layer.values("gradient"), expected)
        assert np.array_equal(layer.gradient.dense(), expected != 0)
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert np.array_equal(first.values("activation"), x[:3].numpy())


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_dense_steps_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    net = model()
    with resprop_train.record(net, tmp_path / "a.npz") as recorder:
        for batch in (5, 5, 4, 4, 4):
            step(net, batch=batch)
    assert recorder.iterations == [1, 3, 4]  # 0 is the first step, 2 has another shape
    layers = list(workloads.load(tmp_path / "a.npz").layers)
    assert [layer.iteration for layer in layers] == [1] * 3 + [3] * 3 + [4] * 3

    net = model()
    with resprop_train.record(net, tmp_path / "b.npz", dense=True):
        step(net)
    last = list(workloads.load(tmp_path / "b.npz").layers)[-1]
    assert last.gradient.density == 1.0  # what comes before has the zeros of the ReLU

    net = model()
    with (
        pytest.raises(TraceError, match=r"nothing recorded: layer '4' .* \(first\)"),
        resprop_train.record(net, tmp_path / "c.npz"),
    ):
        step(net)
    set_reuse(net, False)
    with (
        pytest.raises(TraceError, match=r"\(off\); a ReSprop step is needed"),
        resprop_train.record(net, tmp_path / "c.npz"),
    ):
        step(net)
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b.npz"]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_chosen_iterations_and_evaluation_between_steps(tmp_path: Path) -> None:
    net = model()
    with resprop_train.record(net, tmp_path / "t.npz", iterations=[0, 3]) as recorder:
        for seed in range(5):
            step(net, seed)
            net.eval()
            with torch.no_grad():
                net(torch.randn(2, 3, 8, 8))
            net.train()
    assert recorder.iterations == [1, 3]  # 0 was dense, so the next one took its place
    assert workloads.load(tmp_path / "t.npz").iteration == 1


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_recording_does_not_change_training(tmp_path: Path) -> None:
    nets = [model(), model()]
    for net in nets:
        step(net)
    with resprop_train.record(nets[0], tmp_path / "t.npz"):
        step(nets[0], 1)
        step(nets[0], 2)
    step(nets[1], 1)
    step(nets[1], 2)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    assert all(reuse.observer is None for reuse in reuse_layers(nets[0]).values())


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_an_older_trace_survives_a_failed_recording(tmp_path: Path) -> None:
    net = model()
    step(net)
    path = tmp_path / "t.npz"
    path.write_bytes(b"older")
    with pytest.raises(RuntimeError), resprop_train.record(net, path):
        net(torch.zeros(1, 2, 8, 8))  # the model takes three channels
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["t.npz"]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = model()
    step(net)
    path = tmp_path / "t.npz"
    path.write_bytes(b"older")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resprop_train.spool.Spool.put", full)
    with (
        pytest.raises(TraceError, match=r"t\.npz: cannot write trace: No space left on device"),
        resprop_train.record(net, path),
    ):
        step(net)
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["t.npz"]


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="Linear has no converted layer: call convert first"):
        Recorder(nn.Linear(1, 1), tmp_path / "t.npz")
    with pytest.raises(TrainError, match="samples must be at least 1, got 0"):
        Recorder(model(), tmp_path / "t.npz", samples=0)
    with pytest.raises(TraceError, match="no such folder"):
        Recorder(model(), tmp_path / "no" / "t.npz").__enter__()
