"""Which gradients training computed: recorded, booked and worked for is what autograd did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import resprop_train
import workloads
from resprop_train.conversion import convert, reuse_layers

NAMES = ("a", "b", "c")
Needs = dict[str, tuple[bool, bool] | None]
"""(input gradient, weight gradient) of each layer; None where it has no backward pass."""


class Three(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).relu())


def freeze(*modules: nn.Module, bias: bool = True) -> None:
    for module in modules:
        for name, parameter in module.named_parameters():
            if bias or "bias" not in name:
                parameter.requires_grad_(False)


def middle_frozen(m: Three) -> Callable[[Tensor], None]:
    freeze(m.b)
    return lambda x: m(x).square().sum().backward()


def only_first(m: Three) -> Callable[[Tensor], None]:
    freeze(m.b, m.c)
    return lambda x: m(x).square().sum().backward()


def only_last(m: Three) -> Callable[[Tensor], None]:
    freeze(m.a, m.b)
    return lambda x: m(x).square().sum().backward()


def bias_only(m: Three) -> Callable[[Tensor], None]:
    freeze(m, bias=False)
    return lambda x: m(x).square().sum().backward()


def input_gradient_alone(m: Three) -> Callable[[Tensor], None]:
    def step(x: Tensor) -> None:
        x = x.requires_grad_()
        torch.autograd.grad(m(x).square().sum(), x)

    return step


def some_weights(m: Three) -> Callable[[Tensor], None]:
    return lambda x: m(x).square().sum().backward(inputs=[m.b.weight])


def all_needed(m: Three) -> Callable[[Tensor], None]:
    return lambda x: m(x.requires_grad_()).square().sum().backward()


CASES: dict[str, tuple[Callable[[Three], Callable[[Tensor], None]], Needs]] = {
    "middle frozen": (
        middle_frozen,
        {"a": (False, True), "b": (True, False), "c": (True, True)},
    ),
    "only the first learns": (
        only_first,
        {"a": (False, True), "b": (True, False), "c": (True, False)},
    ),
    "only the last learns": (only_last, {"a": None, "b": None, "c": (False, True)}),
    "biases only": (bias_only, {"a": (False, False), "b": (True, False), "c": (True, False)}),
    "input gradient alone": (input_gradient_alone, dict.fromkeys(NAMES, (True, False))),
    "one weight asked for": (some_weights, {"a": None, "b": (False, True), "c": (True, False)}),
    "all": (all_needed, dict.fromkeys(NAMES, (True, True))),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_trace_says_what_was_computed(case: str, tmp_path: Path) -> None:
    prepare, needs = CASES[case]
    model = Three()
    step = prepare(model)
    convert(model, 0.5, rule="quantile")
    with resprop_train.record(model, tmp_path / "t.npz", iterations=[1], quiet=True):
        for seed in range(2):
            step(torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed)))
    layers = {layer.name: layer for layer in workloads.load(tmp_path / "t.npz").layers}
    for name, need in needs.items():
        if name not in layers:
            assert need is None
            continue
        of_input, of_weight = need or (False, False)
        assert layers[name].input_gradient == of_input, name
        assert layers[name].weight_gradient == of_weight, name
        assert (layers[name].gradient is None) == (not of_input and not of_weight)
        phases = {phase.value for phase in layers[name].phases()}
        assert ("dgrad" in phases, "wgrad" in phases) == (of_input, of_weight)
        assert ("pre_dgrad" in phases, "pre_wgrad" in phases) == (of_input, of_weight)


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("enabled", [True, False])
def test_work_is_counted_for_what_was_computed(case: str, enabled: bool) -> None:
    prepare, needs = CASES[case]
    model = Three()
    step = prepare(model)
    convert(model, 0.5, rule="quantile")
    resprop_train.set_reuse(model, enabled)
    for seed in range(2):
        step(torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed)))
    for name, reuse in reuse_layers(model).items():
        need = needs[name]
        last = reuse.last
        if need is None or not any(need):
            assert last is None
            continue
        assert last is not None
        assert last.convolutions == sum(need)
        macs = 6 * 6 * 9 * getattr(model, name).in_channels * getattr(model, name).out_channels
        assert last.dense_work == 4 * macs * sum(need)
        if enabled:
            assert 0.2 < last.density <= 0.5
            assert last.work == pytest.approx((last.density * 4 + 1) * macs * sum(need))
        else:
            assert last.work == last.dense_work


@pytest.mark.parametrize("case", list(CASES))
def test_gradients_appear_where_ordinary_training_has_them(case: str) -> None:
    prepare, _ = CASES[case]
    models = [Three(), Three()]
    steps = [prepare(model) for model in models]
    convert(models[1], 0.0)
    for step in steps:
        for seed in range(2):
            step(torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed)))
    for ours, theirs in zip(models[1].parameters(), models[0].parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_the_generators_step_of_a_gan(tmp_path: Path) -> None:
    """The discriminator passes the gradient on; its own weights are frozen meanwhile."""
    torch.manual_seed(0)
    generator = convert(nn.Sequential(nn.ConvTranspose2d(4, 3, 4, 2, 1), nn.Tanh()), 0.5)
    critic = convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3)), 0.5)
    with resprop_train.record(critic, tmp_path / "t.npz", quiet=True) as recorder:
        for _ in range(3):
            fake = generator(torch.randn(4, 4, 4, 4))
            critic.requires_grad_(True)
            (critic(torch.randn(4, 3, 8, 8)) - critic(fake.detach())).mean().backward()
            critic.requires_grad_(False)
            (-critic(fake).mean()).backward()
    # Iterations 0 and 1 are the first of their kind; the critic's has two uses of each layer.
    assert recorder.iterations == [2, 3, 4, 5]
    layers = list(workloads.load(tmp_path / "t.npz").layers)
    critics = [(x.name, x.input_gradient, x.weight_gradient) for x in layers if x.iteration == 2]
    generators = [(x.name, x.input_gradient, x.weight_gradient) for x in layers if x.iteration == 3]
    assert critics == [
        *(("0", False, True), ("0#2", False, True)),
        *(("2", True, True), ("2#2", True, True)),
    ]
    assert generators == [("0", True, False), ("2", True, False)]
