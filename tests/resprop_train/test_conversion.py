"""Conversion of models: what stays, what changes, what is refused."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

import resprop_train
from resprop_train.conversion import ReSpropConv2d, convert, reuse_layers, revert, set_reuse
from resprop_train.errors import TrainError
from resprop_train.models import build_model


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.Flatten(),
        nn.Linear(6 * 9, 5),
    )


def steps(model: nn.Module, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(count):
        x = torch.randn(4, 3, 8, 8, generator=generator)
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_names_parameters_and_state_dict_keys_stay() -> None:
    plain = small()
    parameters = list(plain.parameters())
    keys = list(plain.state_dict())
    ours = resprop_train.convert(plain, reuse_sparsity=0.9)
    assert ours is plain
    assert all(a is b for a, b in zip(parameters, ours.parameters(), strict=True))
    assert list(ours.state_dict()) == keys
    assert isinstance(ours[0], nn.Conv2d)
    assert type(ours[5]) is nn.Linear
    assert list(reuse_layers(ours)) == ["0", "3"]


def test_weights_are_exchanged_with_the_ordinary_model_in_both_directions() -> None:
    plain, ours = small(), convert(small(), 0.5)
    steps(ours, 2)
    plain.load_state_dict(ours.state_dict())
    ours.load_state_dict(small().state_dict())
    assert torch.equal(ours[0].weight, small()[0].weight)


def test_revert_gives_the_original_classes_back() -> None:
    model = revert(convert(small(), 0.5, linear=True))
    assert [type(m) for m in model] == [type(m) for m in small()]
    assert torch.equal(steps(model, 3), steps(small(), 3))


@pytest.mark.parametrize("rule", ["halve-double", "mean-density", "quantile"])
def test_reuse_state_survives_a_state_dict_through_a_file(rule: str) -> None:
    first = convert(small(), 0.7, rule=rule, seed=3)
    steps(first, 4)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = convert(small(), 0.1, rule=rule, seed=9)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(steps(first, 3, seed=1), steps(second, 3, seed=1))
    forgetful = convert(small(), 0.7, rule=rule, seed=3)
    forgetful.load_state_dict(dict(first.state_dict()))  # without the metadata
    assert all(r.sample is None for r in reuse_layers(forgetful).values())


def test_a_training_step_depends_on_the_seed_alone() -> None:
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(runs))
        model = convert(small(), 0.8, seed=seed)
        runs.append(steps(model, 5))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_torch_generator_is_left_alone() -> None:
    model = convert(small(), 0.8)
    before = torch.get_rng_state()
    steps(model, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_evaluation_mode_is_ordinary() -> None:
    model = convert(small(), 0.8)
    steps(model, 2)
    taken = [r.steps for r in reuse_layers(model).values()]
    model.eval()
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert [r.steps for r in reuse_layers(model).values()] == taken


def test_switched_off_is_ordinary() -> None:
    model = convert(small(), 0.9)
    set_reuse(model, False)
    assert torch.equal(steps(model, 3), steps(small(), 3))
    assert reuse_layers(model)["0"].dense_steps == {"off": 3}


def test_per_layer_targets_and_skipping() -> None:
    model = convert(small(), 0.9, per_layer={"3": 0.5}, linear=True, skip=["5"])
    assert {name: r.target for name, r in reuse_layers(model).items()} == pytest.approx(
        {"0": 0.1, "3": 0.5}
    )


def test_a_module_that_is_a_convolution_itself() -> None:
    assert isinstance(convert(nn.Conv2d(1, 1, 1), 0.5), ReSpropConv2d)


def test_subclasses_keep_their_own_forward_or_their_parametrisation() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return nn.functional.conv2d(input, self.weight * 2)

    class Plain(nn.Conv2d):
        pass

    parametrised = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1))
    model = nn.Sequential(Scaled(3, 3, 1), Plain(3, 3, 1), parametrised)
    with pytest.warns(UserWarning, match="layer '0' of class Scaled has its own forward"):
        convert(model, 0.5)
    assert list(reuse_layers(model)) == ["1", "2"]
    assert isinstance(model[1], Plain)
    for _ in range(2):
        model(torch.randn(4, 3, 5, 5)).sum().backward()
    assert [r.steps for r in reuse_layers(model).values()] == [2, 2]
    assert type(revert(model)[1]) is Plain


def test_copies_do_not_share_reuse_state() -> None:
    model = convert(small(), 0.8)
    steps(model, 2)
    other = copy.deepcopy(model)
    steps(other, 1)
    assert [r.steps for r in reuse_layers(model).values()] == [2, 2]
    assert [r.steps for r in reuse_layers(other).values()] == [3, 3]


def test_a_layer_used_twice_has_the_reused_gradient_of_its_forward_pass() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    reference = copy.deepcopy(layer)
    convert(layer, 0.0)
    x = torch.randint(-3, 4, (4, 2, 5, 5)).float()
    for module in (layer, reference):
        module.weight.data.round_()
        for _ in range(3):
            module(module(x)).sum().backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, reference.weight.grad)


def test_whole_resnet34_step_at_threshold_zero_is_the_ordinary_one_to_rounding() -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    parameters = []
    for reuse_sparsity in (None, 0.0):
        torch.manual_seed(0)
        model = build_model("resnet34", channels=3, size=16, classes=10).double()
        if reuse_sparsity is not None:
            convert(model, reuse_sparsity)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            model(x.double()).logsumexp(1).sum().backward()
            optimizer.step()
        parameters.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert all(r.dense_steps == {"first": 1} for r in reuse_layers(model).values())
    difference = (parameters[0] - parameters[1]).norm() / parameters[0].norm()
    assert difference < 1e-12


@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_last_and_autocast(channels_last: bool) -> None:
    memory = torch.channels_last if channels_last else torch.contiguous_format
    model = convert(small(), 0.5).to(memory_format=memory)
    for _ in range(3):
        x = torch.randn(4, 3, 8, 8).to(memory_format=memory)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = model(x)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
    assert model[0].weight.grad.dtype == torch.float32
    assert reuse_layers(model)["3"].sample.dtype == torch.bfloat16
    assert reuse_layers(model)["0"].dense_steps == {"first": 1}


def test_channels_last_gives_the_same_gradients() -> None:
    x = torch.randint(-3, 4, (4, 3, 8, 8)).float()
    results = []
    for memory in (torch.channels_last, torch.contiguous_format):
        model = convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), 0.6, rule="quantile")
        model.to(memory_format=memory)
        for p in model.parameters():
            p.data = torch.arange(p.numel()).reshape(p.shape).remainder(5).float() - 2
        for _ in range(2):
            model.zero_grad()
            model(x.to(memory_format=memory)).square().sum().backward()
        results.append([p.grad.contiguous() for p in model.parameters()])
    assert all(map(torch.equal, *results))


def test_compiled_model_runs_with_the_layers_outside_the_graph() -> None:
    model = convert(small(), 0.5)
    compiled = torch.compile(model, backend="eager")
    for _ in range(2):
        compiled(torch.randn(4, 3, 8, 8)).sum().backward()
    assert [r.steps for r in reuse_layers(model).values()] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reuse_sparsity": 90}, "fraction in [0, 1), got 90; for 90 percent write 0.9"),
        ({"reuse_sparsity": 1.0}, "reuse_sparsity must be in [0, 1), got 1"),
        ({"reuse_sparsity": -0.1}, "reuse_sparsity must be in [0, 1), got -0.1"),
        ({"reuse_sparsity": float("nan")}, "reuse_sparsity must be in [0, 1), got nan"),
        ({"reuse_sparsity": "0.9"}, "reuse_sparsity must be a number in [0, 1), got '0.9'"),
        ({"rule": "median"}, "rule must be one of halve-double"),
        ({"per_layer": {"7": 0.5}}, "no layer '7' to convert; there are 0, 3"),
        ({"per_layer": {"3": 50}}, "for 50 percent write 0.5"),
        ({"skip": ["0", "3"]}, "Sequential has no Conv2d layer to convert"),
    ],
)
def test_bad_settings_leave_the_model_alone(arguments: dict[str, object], message: str) -> None:
    model = small()
    with pytest.raises(TrainError) as error:
        convert(model, **arguments)
    assert message in str(error.value)
    assert not reuse_layers(model)


def test_a_model_without_convolutions() -> None:
    with pytest.raises(TrainError, match="Linear has no Conv2d layer to convert"):
        convert(nn.Linear(2, 2))
    with pytest.raises(TrainError, match="layer '0' is lazy"):
        convert(nn.Sequential(nn.LazyConv2d(2, 1)))
