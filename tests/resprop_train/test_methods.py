"""The methods: one suite runs them all, then what each of them promises."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import resprop_train
import workloads
from resprop_train.conversion import convert, reuse_layers
from resprop_train.errors import TrainError
from resprop_train.grouping import expand, group_sums
from resprop_train.methods import find_method, methods
from resprop_train.methods.base import Operands
from resprop_train.recipe import PRESETS, Recipe

NAMES = list(methods())
LAYERS = {
    "Conv1d": (lambda: nn.Conv1d(3, 32, 3, stride=2, padding=1), (4, 3, 12)),
    "Conv2d": (lambda: nn.Conv2d(3, 32, 3, padding=1), (4, 3, 6, 5)),
    "Conv3d": (lambda: nn.Conv3d(2, 16, (1, 3, 3)), (4, 2, 2, 5, 5)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(3, 16, 3, stride=2), (4, 3, 6)),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(4, 32, 3, stride=2, padding=1, output_padding=1, groups=2),
        (4, 4, 4, 5),
    ),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(2, 16, 2), (4, 2, 2, 3, 3)),
    "Linear": (lambda: nn.Linear(6, 32), (4, 6)),
    "tokens": (lambda: nn.Linear(6, 32), (4, 7, 6)),
}


def integers(*shape: int, seed: int) -> Tensor:
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(seed)).float()


def pair(kind: str, sparsity: float, **settings: object) -> tuple[nn.Module, nn.Module]:
    """An ordinary layer of integer weights, and its converted copy."""
    torch.manual_seed(0)
    plain = LAYERS[kind][0]()
    for seed, parameter in enumerate(plain.parameters()):
        parameter.data = integers(*parameter.shape, seed=seed)
    return plain, convert(copy.deepcopy(plain), sparsity, linear=True, **settings)  # type: ignore[arg-type]


def gradients(layer: nn.Module, x: Tensor, g: Tensor) -> list[Tensor]:
    layer.zero_grad()
    x = x.clone().requires_grad_()
    layer(x).backward(g)
    assert x.grad is not None
    return [x.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]


@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize("method", NAMES)
def test_nothing_dropped_is_ordinary_training_exactly(method: str, kind: str) -> None:
    plain, ours = pair(kind, 0.0, method=method)
    for step in range(3):
        x = integers(*LAYERS[kind][1], seed=10 + step)
        g = integers(*plain(x).shape, seed=20 + step)
        assert all(map(torch.equal, gradients(plain, x, g), gradients(ours, x, g)))
    (reuse,) = reuse_layers(ours).values()
    assert reuse.last.dense_because is None


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize("method", [n for n in NAMES if n not in ("swat", "pruned")])
def test_two_terms_equal_backward_through_the_rebuilt_gradient(
    method: str, kind: str, groups: int
) -> None:
    plain, ours = pair(kind, 0.7, method=method, rule="quantile", groups=groups)
    (reuse,) = reuse_layers(ours).values()
    for step in range(3):
        x = integers(*LAYERS[kind][1], seed=10 + step).double()
        g = integers(*plain(x.float()).shape, seed=20 + step).double()
        plain.double(), ours.double()
        made: list[object] = []
        state = reuse.latest
        original = type(state).sparsify

        def sparsify(operands: Operands, density: float, state=state, made=made) -> object:  # type: ignore[no-untyped-def]
            sparse = original(state, operands, density)  # noqa: B023
            shared = None if sparse.shared is None else sparse.shared.clone()
            made.append((sparse.gradient.clone(), shared))
            return sparse

        state.sparsify = sparsify  # type: ignore[method-assign]
        got = gradients(ours, x, g)
        del state.sparsify
        rebuilt = g
        if made:
            delta, shared = made[0]  # type: ignore[misc]
            rebuilt = delta if shared is None else delta + expand(shared, len(g))
            assert 0 < float((delta != 0).double().mean()) < 1
        expected = gradients(plain, x, rebuilt)
        for a, b in zip(expected[:2], got[:2], strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-9)
        plain.float(), ours.float()
    assert reuse.steps == 3


@pytest.mark.parametrize("method", ["batch-sum", "resprop-batch-sum"])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_batch_sum_is_kept(method: str, groups: int) -> None:
    """The bias, whose gradient is the plain sum, sees no difference; neither do equal inputs."""
    _, ours = pair("Conv2d", 0.9, method=method, rule="quantile", groups=groups)
    plain = pair("Conv2d", 0.9)[0]
    for step in range(3):
        x = integers(1, 3, 6, 5, seed=step).expand(5, -1, -1, -1)
        g = torch.randn(5, 32, 6, 5, generator=torch.Generator().manual_seed(step))
        expected, got = gradients(plain, x, g)[1], gradients(ours, x, g)[1]
        assert torch.allclose(expected, got, rtol=1e-4, atol=1e-3)
    (reuse,) = reuse_layers(ours).values()
    assert 0 < reuse.last.density <= 0.1


@pytest.mark.parametrize("method", ["stochastic", "resprop-stochastic"])
def test_the_stochastic_threshold_has_no_bias(method: str) -> None:
    """The mean of many draws is the difference; what is above the threshold never changes."""
    torch.manual_seed(0)
    layer = convert(nn.Conv2d(2, 8, 3), 0.5, method=method)
    (reuse,) = reuse_layers(layer).values()
    state = reuse.latest
    difference = torch.randn(4, 8, 3, 3)
    threshold, count = 1.5, 1000
    total = torch.zeros_like(difference)
    for step in range(count):
        reuse.tools.draws.step = step
        delta = difference.clone()
        state.drop(delta, threshold)  # type: ignore[attr-defined]
        large = difference.abs() > threshold
        assert torch.equal(delta[large], difference[large])
        assert set(delta[~large].abs().unique().tolist()) <= {0.0, threshold}
        assert not (delta * difference < 0).any()
        total += delta
    error = (total / count - difference).abs()
    assert float(error.max()) < 5 * threshold / 2 / math.sqrt(count)


def test_noise_depends_on_the_step_alone() -> None:
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(runs))
        layer = convert(nn.Conv2d(2, 8, 3), 0.5, method="stochastic", seed=seed)
        for reuse in reuse_layers(layer).values():
            reuse.rule.load_state_dict({"value": 1.0})
        torch.manual_seed(7)
        nn.init.normal_(layer.weight)
        before = torch.get_rng_state()
        x = integers(4, 2, 6, 6, seed=0)
        runs.append(torch.cat([gradients(layer, x, x[:, :1].repeat(1, 8, 1, 1)[..., :4, :4] / 4)[1]
                               for _ in range(2)]))  # fmt: skip
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    first, second = runs[0].chunk(2)
    assert not torch.equal(first, second)


def test_meprop_keeps_the_largest_of_every_sample() -> None:
    _, layer = pair("Conv2d", 0.75, method="meprop")
    (reuse,) = reuse_layers(layer).values()
    seen: list[Tensor] = []
    reuse.observer = lambda event: seen.append(event.gradient.clone())
    g = torch.randn(4, 32, 6, 5) * torch.tensor([1.0, 10, 100, 1000])[:, None, None, None]
    gradients(layer, integers(4, 3, 6, 5, seed=1), g)
    (sparse,) = seen
    assert (sparse != 0).flatten(1).sum(1).tolist() == [240] * 4
    for kept, all_of_it in zip(sparse, g, strict=True):
        assert kept[kept != 0].abs().min() > all_of_it[kept == 0].abs().max()
    assert reuse.dense_steps == {}


def test_nm_keeps_so_many_of_every_group_of_channels() -> None:
    _, layer = pair("Conv2d", 0.75, method="resprop-nm")
    (reuse,) = reuse_layers(layer).values()
    for _ in range(2):
        seen: list[Tensor] = []
        reuse.observer = lambda event, seen=seen: seen.append(event.gradient.clone())
        gradients(layer, integers(4, 3, 6, 5, seed=1), torch.randn(4, 32, 6, 5))
    groups = (seen[0] != 0).unflatten(1, (2, 16)).sum(2)
    assert groups.unique().tolist() == [4]
    with pytest.raises(TrainError, match=r"reuse_sparsity must be below 0\.96875, got 0\.99"):
        convert(nn.Conv2d(1, 1, 1), 0.99, method="resprop-nm")


def test_swat_drops_weights_for_dgrad_and_activations_for_wgrad() -> None:
    plain, ours = pair("Conv2d", 0.75, method="swat")
    torch.manual_seed(1)
    x, g = torch.randn(4, 3, 6, 5), torch.randn(4, 32, 6, 5)
    for layer in (plain, ours):
        layer.weight.data.copy_(
            torch.randn(32, 3, 3, 3, generator=torch.Generator().manual_seed(2))
        )
    weight = plain.weight.detach().clone()
    cut = weight.abs().flatten().kthvalue(648).values
    dense_of_input, dense_of_weight, _ = gradients(plain, x, g)
    of_input, of_weight, _ = gradients(ours, x, g)
    plain.weight.data *= weight.abs() > cut
    assert torch.allclose(of_input, gradients(plain, x, g)[0], atol=1e-5)
    plain.weight.data.copy_(weight)
    sparse = x * (x.abs() > x.abs().flatten().kthvalue(270).values)
    assert torch.allclose(of_weight, gradients(plain, sparse, g)[1], atol=1e-4)
    assert not torch.allclose(of_input, dense_of_input, atol=1e-2)
    assert not torch.allclose(of_weight, dense_of_weight, atol=1e-2)
    assert torch.equal(plain(x), ours(x))  # the forward pass is the ordinary one
    (reuse,) = reuse_layers(ours).values()
    assert reuse.last.density == pytest.approx(0.25, abs=0.01)


def test_pruned_weights_take_part_in_no_pass() -> None:
    plain, ours = pair("Conv2d", 0.75, method="pruned")
    for layer in (plain, ours):
        layer.weight.data.copy_(
            torch.randn(32, 3, 3, 3, generator=torch.Generator().manual_seed(2))
        )
    kept = ours.weight.abs() > ours.weight.abs().flatten().kthvalue(648).values
    plain.weight.data *= kept
    x, g = torch.randn(4, 3, 6, 5), torch.randn(4, 32, 6, 5)
    of_input, of_weight, of_bias = gradients(plain, x, g)
    got = gradients(ours, x, g)
    assert torch.equal(of_input, got[0])
    assert torch.equal(of_weight * kept, got[1])
    assert torch.allclose(of_bias, got[2], rtol=1e-4)  # summed in another order
    ours.eval()
    assert torch.equal(ours(x), plain(x))
    (reuse,) = reuse_layers(ours).values()
    assert reuse.last.work == pytest.approx((0.25 + 1) / 2 * reuse.last.dense_work)


@pytest.mark.parametrize("method", NAMES)
def test_the_trace_says_which_method_and_which_phases(method: str, tmp_path: Path) -> None:
    _, layer = pair("Conv2d", 0.5, method=method)
    with resprop_train.record(layer, tmp_path / "t.npz", quiet=True):
        for seed in range(2):
            gradients(layer, integers(4, 3, 6, 5, seed=seed), torch.randn(4, 32, 6, 5))
    trace = workloads.load(tmp_path / "t.npz")
    assert trace.method == method
    (*_, last) = trace.layers
    added = {str(phase.value) for phase in last.extra_phases}
    expected = find_method(method).extra_phases
    assert added == (set() if expected == "none" else {"pre_dgrad", "pre_wgrad"})
    assert last.post_phases == (expected == "post")
    (reuse,) = reuse_layers(layer).values()
    assert reuse.last.extra_samples == (expected != "none")


@pytest.mark.parametrize("method", NAMES)
def test_state_goes_through_a_state_dict(method: str) -> None:
    _, first = pair("Conv2d", 0.5, method=method, seed=3)
    for seed in range(3):
        gradients(first, integers(4, 3, 6, 5, seed=seed), integers(4, 32, 6, 5, seed=seed + 5))
    _, second = pair("Conv2d", 0.5, method=method)
    second.load_state_dict(first.state_dict())
    for seed in range(3):
        x, g = integers(4, 3, 6, 5, seed=seed), integers(4, 32, 6, 5, seed=seed + 8)
        assert all(map(torch.equal, gradients(first, x, g), gradients(second, x, g)))


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_overflow_reaches_the_weights_gradient(method: str, bad: float) -> None:
    """So that a loss scaler sees it and skips the step."""
    for rule in ("halve-double", "quantile", "quantile-per-sample", "mean-density"):
        _, layer = pair("Conv2d", 0.9, method=method, rule=rule)
        x, g = integers(4, 3, 6, 5, seed=1), torch.randn(4, 32, 6, 5)
        gradients(layer, x, g)
        assert not gradients(layer, x, torch.full_like(g, bad))[1].isfinite().all()
        gradients(layer, x, g)
        assert gradients(layer, x, g)[1].isfinite().all()


@pytest.mark.parametrize(("size", "groups"), [(8, 1), (8, 2), (8, 3), (7, 4), (3, 8), (1, 2)])
def test_groups_deal_out_a_batch_as_data_parallelism_does(size: int, groups: int) -> None:
    x = torch.arange(float(size))[:, None]
    parts = torch.chunk(x, groups)
    sums = group_sums(x, len(parts))
    assert torch.equal(sums, torch.cat([part.sum(0, keepdim=True) for part in parts]))
    expected = torch.cat([part * 0 + part.sum() for part in parts])
    assert torch.equal(expand(sums, size).expand(size, 1), expected)


def test_the_papers_preset_steers_to_five_points_more() -> None:
    paper = Recipe(**PRESETS["paper"] | {"rule": "quantile"})
    assert (paper.density_margin, paper.method) == (0.05, "resprop")
    layer = convert(nn.Conv2d(3, 32, 3), 0.9, rule="quantile", margin=paper.density_margin)
    (reuse,) = reuse_layers(layer).values()
    for _ in range(2):
        gradients(layer, torch.randn(4, 3, 8, 8), torch.randn(4, 32, 6, 6))
    assert reuse.last.density == pytest.approx(0.15, abs=1e-3)


def test_unknown_methods_and_margins() -> None:
    with pytest.raises(TrainError, match=r"method must be one of batch-sum, .*, got 'best'"):
        convert(nn.Conv2d(1, 1, 1), method="best")
    with pytest.raises(TrainError, match=r"margin must be in \[0, 1\), got 2"):
        convert(nn.Conv2d(1, 1, 1), margin=2)
    with pytest.raises(TrainError, match="groups must be at least 1, got 0"):
        convert(nn.Conv2d(1, 1, 1), groups=0)
    with pytest.raises(TrainError, match="method must be one of"):
        Recipe(method="best")
    with pytest.raises(TrainError, match=r"density_margin must be in \[0, 1\), got 1"):
        Recipe(density_margin=1)
