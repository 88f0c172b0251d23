"""Converted models under other people's tools: parametrizations, files, transforms, loss scales."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parametrizations, parametrize

from resprop_train.conversion import ReSpropLayer, convert, reuse_layers, revert, set_reuse


class Special(nn.Conv2d):
    """A subclass that adds nothing to the forward pass; pickle finds it here."""

    extra = 3


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def old_weight_norm(module: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(module)


def old_spectral_norm(module: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.spectral_norm(module)


WRAPPERS: dict[str, tuple[Callable[[nn.Module], object], Callable[[nn.Module], object]]] = {
    "weight_norm": (
        parametrizations.weight_norm,
        lambda m: parametrize.remove_parametrizations(m, "weight"),
    ),
    "spectral_norm": (
        parametrizations.spectral_norm,
        lambda m: parametrize.remove_parametrizations(m, "weight"),
    ),
    "own": (
        lambda m: parametrize.register_parametrization(m, "weight", Halved()),
        lambda m: parametrize.remove_parametrizations(m, "weight"),
    ),
    "old weight_norm": (old_weight_norm, lambda m: nn.utils.remove_weight_norm(m)),
    "old spectral_norm": (old_spectral_norm, lambda m: nn.utils.remove_spectral_norm(m)),
}
ORDERS = ("wcur", "wcru", "cwur", "cwru", "wuc", "cru", "wcr", "cwr", "wcurwc", "cwcr")
"""Wrap, unwrap, convert, revert; training steps in between."""


def train(module: nn.Module, seed: int) -> Tensor:
    module.zero_grad()
    x = torch.randint(-3, 4, (4, 3, 6, 6), generator=torch.Generator().manual_seed(seed)).float()
    y = module(x)
    y.square().sum().backward()
    return y.detach()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", [nn.Conv2d, Special])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wrapper", list(WRAPPERS))
def test_parametrizations_in_any_order(wrapper: str, order: str, kind: type[nn.Conv2d]) -> None:
    wrap, unwrap = WRAPPERS[wrapper]
    modules = []
    for converts in (True, False):
        torch.manual_seed(1)
        module: nn.Module = kind(3, 4, 3)
        wrapped = False
        for seed, act in enumerate(order):
            if act == "w":
                wrap(module)
                wrapped = True
            elif act == "u" and wrapped:
                unwrap(module)
                wrapped = False
            elif act == "c" and converts:
                convert(module, 0.0)
            elif act == "r" and converts:
                revert(module)
            y = train(module, seed)
        modules.append((module, y))
    (ours, y), (theirs, expected) = modules
    assert torch.allclose(y, expected, rtol=1e-5, atol=1e-5)
    gradients = [[p.grad for p in m.parameters()] for m in (ours, theirs)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))
    converted = max(order.rfind("c"), 0) > order.rfind("r") or "r" not in order
    assert isinstance(ours, ReSpropLayer) == converted
    assert isinstance(ours, kind)
    if not converted:
        assert type(ours).__name__ == type(theirs).__name__


@pytest.mark.parametrize("kind", [nn.Conv2d, Special, nn.Linear, nn.ConvTranspose2d])
def test_whole_models_go_through_files_and_copies(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    sizes = (6, 6) if kind is nn.Linear else (3, 3, 3)
    model = convert(nn.Sequential(kind(*sizes)), 0.5, linear=True)
    x = torch.randn(4, 3, 6, 6)
    for _ in range(2):
        model(x).sum().backward()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (loaded, copy.deepcopy(model)):
        assert type(other[0]) is type(model[0])
        assert reuse_layers(other)["0"].steps == 2
        results = []
        for m in (copy.deepcopy(model), other):
            m.zero_grad()
            m(x * 2).square().sum().backward()
            results.append([p.grad for p in m.parameters()])
        assert all(map(torch.equal, *results))
        assert type(revert(other)[0]) is kind


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Tanh(),
        nn.ConvTranspose2d(4, 4, 3, stride=2, output_padding=1),
        nn.Conv2d(4, 2, 3, padding="same", padding_mode="reflect"),
        nn.Flatten(),
        nn.Linear(392, 2),
    )


def switched_off() -> nn.Module:
    model = convert(network(), 0.9, linear=True)
    set_reuse(model, False)
    return model


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(3))


def test_second_derivatives_when_off() -> None:
    results = []
    for model in (network(), switched_off()):
        x = X.clone().requires_grad_()
        (first,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        first.square().sum().backward()
        results.append([p.grad for p in model.parameters()])
    assert all(map(torch.equal, *results))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own use of its jit
@pytest.mark.parametrize("enabled", [False, True])
def test_function_transforms(enabled: bool) -> None:
    ours = switched_off()
    set_reuse(ours, enabled)
    results = []
    for model in (network(), ours):
        weights = {k: v.detach() for k, v in model.named_parameters()}

        def loss(weights: dict[str, Tensor], x: Tensor, model: nn.Module = model) -> Tensor:
            return functional_call(model, weights, (x,)).square().sum()

        whole = grad(loss)(weights, X)
        each = vmap(grad(loss), in_dims=(None, 0))(weights, X[:, None])
        forward_mode = torch.func.jvp(model, (X,), (X,))[1]
        results.append([*whole.values(), *each.values(), forward_mode])
    assert all(map(torch.equal, *results))
    assert all(reuse.steps == 0 for reuse in reuse_layers(ours).values())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("how", ["trace", "script"])
def test_jit_when_off(how: str) -> None:
    model, plain = switched_off(), network()
    compiled = torch.jit.trace(model, X) if how == "trace" else torch.jit.script(model)
    assert torch.equal(compiled(X), plain(X))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("enabled", [False, True])
def test_complex_weights_are_ordinary(enabled: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(2, 2, 3, dtype=torch.complex64)
    ours = convert(copy.deepcopy(plain), 0.9)
    set_reuse(ours, enabled)
    for _ in range(2):
        for module in (plain, ours):
            module.zero_grad()
            x = torch.view_as_complex(X.reshape(1, 2, 9, 6, 2).contiguous())
            module(x).abs().sum().backward()
    assert torch.equal(plain.weight.grad, ours.weight.grad)


def test_weights_of_another_run_change_no_setting() -> None:
    """A warm-up's weights, another rule's, another method's."""
    donor = convert(network(), 0.5, rule="mean-density")
    set_reuse(donor, False)
    for _ in range(2):
        donor(X).square().sum().backward()
    for settings in (
        {"reuse_sparsity": 0.9},
        {"reuse_sparsity": 0.9, "rule": "halve-double"},
        {"reuse_sparsity": 0.9, "rule": "quantile"},
        {"reuse_sparsity": 0.8, "method": "stochastic"},
        {"reuse_sparsity": 0.8, "method": "swat"},
    ):
        model = convert(network(), **{"rule": "mean-density"} | settings)  # type: ignore[arg-type]
        model.load_state_dict(donor.state_dict())
        for reuse in reuse_layers(model).values():
            assert reuse.enabled
            assert reuse.target == pytest.approx(1 - settings["reuse_sparsity"])  # type: ignore[operator]
            assert reuse.density == reuse.target
        for _ in range(2):
            model(X).square().sum().backward()
        assert all(reuse.last.dense_because is None for reuse in reuse_layers(model).values())


@pytest.mark.parametrize("method", ["resprop", "resprop-nm", "batch-sum", "stochastic"])
@pytest.mark.parametrize("change", [0.5, 2.0, 0.125])
def test_what_is_carried_follows_the_loss_scale(method: str, change: float) -> None:
    """Unscaled gradients do not depend on when the scale changed."""
    results = []
    for changing in (False, True):
        torch.manual_seed(0)
        model = convert(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), 0.7,
                        method=method)  # fmt: skip
        for reuse in reuse_layers(model).values():
            if reuse.rule is not None:
                reuse.rule.load_state_dict({"value": 0.5 * 1024})
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        for step in range(4):
            optimizer.zero_grad()
            x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            scaler.scale(model(x).square().sum()).backward()
            scaler.unscale_(optimizer)
            gradients = [p.grad.clone() for p in model.parameters()]
            scaler.step(optimizer)
            scaler.update(1024.0 * change ** (step + 1) if changing else None)
        results.append(gradients)
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


def test_without_a_scaler_nothing_is_scaled() -> None:
    """A scaler that other losses use does not touch the passes of this one."""
    model, scaler = convert(nn.Conv2d(3, 4, 3), 0.5), torch.amp.GradScaler("cpu")
    weight = nn.Parameter(torch.ones(1))
    scaler.scale(weight.sum()).backward()
    model(X).sum().backward()
    (state,) = next(iter(reuse_layers(model).values()))._uses.values()
    assert state.loss_scale is None
    scaler.scale(model(X).sum()).backward()
    assert state.loss_scale == 65536.0
