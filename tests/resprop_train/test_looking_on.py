"""The recorder looks on: names, batch sizes, what it leaves out; it never stops training."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import resprop_train
import workloads
from resprop_train.conversion import convert, reuse_layers, set_reuse
from resprop_train.spool import Copy, Spool
from workloads.errors import TraceError
from workloads.layer import Layer


class Detector(nn.Module):
    """Converted in parts; some layers have names of their own in each part."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


NAMES = ["backbone.0", "backbone.2", "head.0", "head.2"]


def batch(count: int = 4, seed: int = 0, size: int = 8) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def by_parts() -> Detector:
    model = Detector()
    convert(model.backbone, 0.5, rule="quantile")
    convert(model.head, 0.8, rule="quantile")
    return model


def step(model: nn.Module, x: Tensor) -> None:
    model(x).square().sum().backward()


def test_names_are_those_of_the_recorded_model(tmp_path: Path) -> None:
    model = by_parts()
    assert list(reuse_layers(model)) == NAMES
    with resprop_train.record(model, tmp_path / "t.npz") as recorder:
        step(model, batch())
        step(model, batch(seed=1))
    trace = workloads.load(tmp_path / "t.npz")
    assert [layer.name for layer in trace.layers] == NAMES
    assert trace.reuse_sparsity is None  # there are two
    densities = [layer.gradient.density for layer in trace.layers]
    assert max(densities[:2]) <= 0.6
    assert "density from" in recorder.summary()
    set_reuse(model, False)
    assert not any(reuse.enabled for reuse in reuse_layers(model).values())


@pytest.mark.parametrize("part", ["backbone", "head"])
def test_a_part_is_recorded_under_its_own_names(part: str, tmp_path: Path) -> None:
    model = by_parts()
    with resprop_train.record(getattr(model, part), tmp_path / "t.npz", quiet=True) as recorder:
        for seed in range(3):
            step(model, batch(seed=seed))
    assert recorder.iterations == [1, 2]
    assert [layer.name for layer in workloads.load(tmp_path / "t.npz").layers] == ["0", "2"] * 2


def test_a_copy_is_another_model(tmp_path: Path) -> None:
    """Averaged and teacher models are copied while the student is recorded, and used as well."""
    model = by_parts()
    step(model, batch())
    with resprop_train.record(model, tmp_path / "t.npz", quiet=True) as recorder:
        teacher = copy.deepcopy(model)
        averaged = torch.optim.swa_utils.AveragedModel(model)
        for seed in range(2):
            step(teacher, batch(seed=seed + 5))
            step(averaged, batch(seed=seed + 9))
            step(model, batch(seed=seed))
            averaged.update_parameters(model)
        torch.save(model, io.BytesIO())
    assert recorder.iterations == [0, 1]
    assert reuse_layers(teacher)["head.0"].steps == 3
    assert reuse_layers(model)["head.0"].steps == 3
    assert not reuse_layers(teacher)["head.0"].observers


def test_parts_called_by_themselves_are_recorded(tmp_path: Path) -> None:
    """Nobody calls the recorded model's own forward."""
    model = by_parts()
    with resprop_train.record(model, tmp_path / "t.npz", quiet=True) as recorder:
        for seed in range(3):
            model.head(model.backbone(batch(seed=seed))).sum().backward()
    assert recorder.iterations == [1, 2]


@pytest.mark.parametrize("module", [nn.Conv2d(3, 4, 3), nn.Conv1d(3, 4, 3)])
def test_a_bare_layer(module: nn.Module, tmp_path: Path) -> None:
    convert(module, 0.5, rule="quantile")
    kind = type(module).__name__.removeprefix("ReSprop")
    with resprop_train.record(module, tmp_path / "t.npz", quiet=True):
        for seed in range(2):
            step(module, batch(seed=seed) if kind == "Conv2d" else batch(seed=seed)[:, :, 0])
    (layer,) = workloads.load(tmp_path / "t.npz").layers
    assert layer.name == kind


@pytest.mark.parametrize("name", ["x" * 300, "new\nline"])
def test_odd_names(name: str, tmp_path: Path) -> None:
    model = nn.Sequential()
    model.add_module(name, nn.Conv2d(3, 4, 3))
    convert(model, 0.5)
    with resprop_train.record(model, tmp_path / "t.npz", quiet=True):
        for seed in range(2):
            step(model, batch(seed=seed))
    (layer,) = workloads.load(tmp_path / "t.npz").layers
    assert 0 < len(layer.name) <= 200


@pytest.mark.parametrize(
    "sizes", [(16, 16, 4, 4, 4), (4, 4, 16, 16), (8, 8, 8, 6, 8, 8), (2, 3, 2, 3, 3)]
)
def test_every_iteration_has_its_batch_size(sizes: tuple[int, ...], tmp_path: Path) -> None:
    model = by_parts()
    with resprop_train.record(model, tmp_path / "t.npz", samples=None, quiet=True) as recorder:
        for seed, size in enumerate(sizes):
            step(model, batch(size, seed))
    same = [i for i in range(1, len(sizes)) if sizes[i] == sizes[i - 1]]
    assert recorder.iterations == same
    trace = workloads.load(tmp_path / "t.npz")
    for layer in trace.layers:
        assert trace.batch_of(layer) == sizes[layer.iteration] == layer.n_samples
    for iteration in set(range(len(sizes))) - set(same):
        assert f"{iteration}" in recorder.summary()


def test_an_iteration_that_is_moved_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = by_parts()
    with resprop_train.record(model, tmp_path / "t.npz", iterations=[0, 3, 99]) as recorder:
        for seed in range(5):
            step(model, batch(seed=seed))
    assert recorder.iterations == [1, 3]
    printed = capsys.readouterr().out
    assert printed == recorder.summary() + "\n" == repr(recorder) + "\n"
    assert "iteration 0 was asked for: 1 is recorded in its place" in printed
    assert "left out, 1 iteration (0): layer 'head.2' took the ordinary backward pass" in printed
    assert "asked for, but never came: 99" in printed


def nan_step(model: nn.Module) -> None:
    (model(batch()) * float("nan")).sum().backward()


def infinite_step(model: nn.Module) -> None:
    (model(batch()) * 1e38 * 1e10).sum().backward()


def empty_step(model: nn.Module) -> None:
    model(batch(0)).sum().backward()


def nan_weight(model: nn.Module) -> None:
    weight = model.backbone[0].weight
    kept = weight.detach().clone()
    weight.data[0] = float("nan")
    step(model, batch())
    weight.data.copy_(kept)


def scaled_overflow(model: nn.Module) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler.scale(model(batch()).square().sum() * 1e10).backward()
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("bad", [nan_step, infinite_step, empty_step, nan_weight, scaled_overflow])
@pytest.mark.parametrize("place", [0, 2])
def test_a_bad_step_is_left_out_and_the_rest_is_kept(
    bad: object, place: int, tmp_path: Path
) -> None:
    model = by_parts()
    with resprop_train.record(model, tmp_path / "t.npz", quiet=True) as recorder:
        for seed in range(6):
            if seed == place:
                bad(model)  # type: ignore[operator]
            step(model, batch(seed=seed))
    assert recorder.iterations[-1] == 6
    assert place not in recorder.iterations
    assert recorder.recorded.left_out[place]
    for layer in workloads.load(tmp_path / "t.npz").layers:
        assert layer.gradient is not None
    assert all(r.sample.isfinite().all() for r in reuse_layers(model).values())


def test_a_disk_that_fills_up_costs_steps_not_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = by_parts()
    original, written = Spool.put, []

    def put(spool: Spool, layer: Layer) -> Copy:
        written.append(layer)
        if 5 <= len(written) <= 6:
            raise OSError(28, "No space left on device")
        return original(spool, layer)

    monkeypatch.setattr(Spool, "put", put)
    with resprop_train.record(model, tmp_path / "t.npz", quiet=True) as recorder:
        for seed in range(6):
            step(model, batch(seed=seed))
    assert recorder.iterations == [1, 4, 5]
    assert "cannot write trace: No space left on device" in recorder.summary()
    assert len(workloads.load(tmp_path / "t.npz").layers) == 12


def test_why_nothing_was_recorded(tmp_path: Path) -> None:
    model = by_parts()
    with (
        pytest.raises(TraceError, match="no backward pass was seen"),
        resprop_train.record(model, tmp_path / "t.npz"),
    ):
        model(batch())
    with (
        pytest.raises(TraceError, match="none of the iterations asked for came in 2 with a back"),
        resprop_train.record(model, tmp_path / "t.npz", iterations=[7]),
    ):
        [step(model, batch()) for _ in range(2)]
    assert list(tmp_path.iterdir()) == []


class Mixed(nn.Module):
    """Layers of every kind, some of which are no convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.wave = nn.Conv1d(3, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.volume = nn.Conv3d(1, 1, 3, padding=1)
        self.idle = nn.Conv2d(1, 1, 1)
        self.gate = nn.GRU(4, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.wave(x.flatten(2)).unflatten(2, (8, 8)))
        x = self.volume(x[:, None])[:, 0].flatten(2).transpose(1, 2)
        x, _ = self.gate(x)
        x, _ = self.attention(x, x, x)
        return self.out(x)


def test_the_summary_names_what_is_not_in_the_trace(tmp_path: Path) -> None:
    model = convert(Mixed(), 0.5)
    with resprop_train.record(model, tmp_path / "t.npz", quiet=True) as recorder:
        for seed in range(2):
            step(model, batch(seed=seed))
    layer, *products = workloads.load(tmp_path / "t.npz").layers
    assert layer.name == "wave"
    assert [product.name for product in products] == ["attention@1", "attention@2"]
    assert (layer.shape.R, layer.shape.S, layer.shape.H, layer.shape.W) == (1, 3, 1, 64)
    text = recorder.summary()
    assert "not recorded, up: a trace has no transposed convolution" in text
    assert "not recorded, volume: a trace has no 3-D convolution" in text
    assert "no backward convolution: idle" in text
    expected = (
        "gate (GRU), attention (MultiheadAttention but for its matrix products), out (Linear)"
    )
    assert f"ordinary layers, not recorded: {expected}" in text


def test_two_recorders_at_a_time(tmp_path: Path) -> None:
    model = by_parts()
    with (
        resprop_train.record(model, tmp_path / "a.npz", quiet=True) as whole,
        resprop_train.record(model.head, tmp_path / "b.npz", iterations=[2], quiet=True) as part,
    ):
        for seed in range(3):
            step(model, batch(seed=seed))
    assert (whole.iterations, part.iterations) == ([1, 2], [2])


def test_what_was_asked_for_and_has_nothing_in_its_place(tmp_path: Path) -> None:
    """The last step has another batch size, so that it is an ordinary one, and none follows."""
    model = convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), 0.5)
    path = tmp_path / "t.npz"
    with resprop_train.record(model, path, iterations=[1, 3, 9], quiet=True) as recorder:
        for seed, size in enumerate((4, 4, 4, 2)):
            x = torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
            model(x).square().mean().backward()
    assert recorder.iterations == [1]
    text = recorder.summary()
    assert "iteration 3 was asked for: nothing is recorded in its place" in text
    assert "asked for, but never came: 9" in text
    assert "left out, 1 iteration (3): layer '0' took the ordinary backward pass (shape)" in text


def test_a_layer_is_named_once_where_it_is_left_out(tmp_path: Path) -> None:
    model = convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), 0.5)
    path = tmp_path / "t.npz"
    with resprop_train.record(model, path, quiet=True) as recorder:
        for seed in range(3):
            x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
            if seed == 2:
                x[0, 0, 0, 0] = float("nan")
            model(x).square().mean().backward()
    text = recorder.summary()
    assert "left out, 1 iteration (2): layer '0': activation must be finite, got 1 NaN" in text
