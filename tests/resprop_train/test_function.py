"""The ReSprop step: exact where it must be, and equal to its definition."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from resprop_train.conversion import convert, reuse_layers

CONVOLUTIONS = {
    "3x3": {"kernel_size": 3, "padding": 1},
    "1x1": {"kernel_size": 1},
    "7x7": {"kernel_size": 7, "padding": 3, "stride": 2},
    "stride": {"kernel_size": 3, "padding": 1, "stride": (2, 1)},
    "groups": {"kernel_size": 3, "groups": 2},
    "depthwise": {"kernel_size": 3, "groups": 4, "padding": 1},
    "dilated": {"kernel_size": 3, "dilation": (2, 1), "padding": (2, 1)},
    "same": {"kernel_size": 3, "padding": "same"},
    "same-even": {"kernel_size": (2, 4), "padding": "same"},
    "valid": {"kernel_size": 3, "padding": "valid"},
    "reflect": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "circular": {"kernel_size": 3, "padding": (1, 2), "padding_mode": "circular"},
    "bias": {"kernel_size": 3, "bias": True},
}


def integers(*shape: int, seed: int, high: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-high, high + 1, shape, generator=generator).float()


def integer_layer(settings: dict[str, object], seed: int = 0) -> nn.Conv2d:
    layer = nn.Conv2d(4, 8, **{"bias": False, **settings})
    for index, parameter in enumerate(layer.parameters()):
        parameter.data = integers(*parameter.shape, seed=seed + index)
    return layer


def gradients(layer: nn.Module, x: Tensor, g: Tensor) -> list[Tensor]:
    layer.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    layer(x).backward(g)
    assert x.grad is not None
    return [x.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", list(CONVOLUTIONS))
def test_reuse_sparsity_zero_is_ordinary_backpropagation_exactly(name: str) -> None:
    plain = integer_layer(CONVOLUTIONS[name])
    ours = convert(integer_layer(CONVOLUTIONS[name]), 0.0)
    for step in range(3):
        x = integers(5, 4, 9, 11, seed=10 + step)
        g = integers(*plain(x).shape, seed=20 + step)
        for expected, got in zip(gradients(plain, x, g), gradients(ours, x, g), strict=True):
            assert torch.equal(expected, got)
    (reuse,) = reuse_layers(ours).values()
    assert reuse.dense_steps == {"first": 1}  # so the other two went through the delta


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", list(CONVOLUTIONS))
@pytest.mark.parametrize("rule", ["halve-double", "quantile", "quantile-per-sample"])
def test_two_terms_equal_backward_through_the_rebuilt_gradient(name: str, rule: str) -> None:
    """Oracle: delta + P as the gradient of an ordinary layer."""
    plain = integer_layer(CONVOLUTIONS[name])
    ours = convert(integer_layer(CONVOLUTIONS[name]), 0.7, rule=rule)
    (reuse,) = reuse_layers(ours).values()
    for step in range(3):
        if rule == "halve-double":
            reuse.rule.load_state_dict({"value": 2.5})
        x = integers(5, 4, 9, 11, seed=10 + step)
        g = integers(*plain(x).shape, seed=20 + step)
        sample = reuse.sample
        seen: list[Tensor] = []
        reuse.observer = lambda event, seen=seen: seen.append(event.gradient.clone())
        got = gradients(ours, x, g)
        rebuilt = g
        if sample is not None:
            (delta,) = seen
            difference = g - sample
            kept = delta != 0
            assert torch.equal(delta[kept], difference[kept])
            # Nothing that was dropped is larger than anything that was kept, sample by sample.
            for d, k in zip(difference.abs(), kept, strict=True):
                assert k.any()
                assert not k.all()
                assert d[~k].max() <= d[k].min()
            rebuilt = delta + sample
        expected = gradients(plain, x, rebuilt)
        for want, have in zip(expected[:2], got[:2], strict=True):
            assert torch.equal(want, have)
        if plain.bias is not None:
            assert torch.equal(got[2], g.sum((0, 2, 3)))  # the bias has the dense gradient


def test_density_and_work_are_counted() -> None:
    layer = convert(integer_layer({"kernel_size": 3}), 0.5, rule="quantile")
    (reuse,) = reuse_layers(layer).values()
    for step in range(2):
        gradients(layer, integers(4, 4, 6, 6, seed=step), torch.randn(4, 8, 4, 4))
    last = reuse.last
    assert last is not None
    assert last.density == 0.5
    assert last.elements == 4 * 8 * 4 * 4
    assert last.macs == 8 * 4 * 4 * 4 * 3 * 3
    assert last.dense_work == 4 * last.macs * 2
    assert last.work == (0.5 * 4 + 1) * last.macs * 2


def test_reused_sample_is_a_sample_of_the_previous_dense_gradient() -> None:
    layer = convert(integer_layer({"kernel_size": 3}), 0.9)
    (reuse,) = reuse_layers(layer).values()
    chosen = set()
    for step in range(30):
        g = integers(4, 8, 4, 4, seed=step)
        gradients(layer, integers(4, 4, 6, 6, seed=50), g)
        assert reuse.sample is not None
        matches = [n for n in range(4) if torch.equal(reuse.sample[0], g[n])]
        assert len(matches) == 1
        chosen.update(matches)
    assert chosen == {0, 1, 2, 3}


@pytest.mark.parametrize("shape", [(3, 4, 6, 6), (4, 4, 7, 6)])
def test_another_shape_makes_the_step_dense_and_is_counted(shape: tuple[int, ...]) -> None:
    layer = convert(integer_layer({"kernel_size": 3}), 0.9)
    plain = integer_layer({"kernel_size": 3})
    (reuse,) = reuse_layers(layer).values()
    x = integers(4, 4, 6, 6, seed=1)
    other = integers(*shape, seed=2)
    for step, batch in enumerate((x, x, other, x, x)):
        g = torch.randn(plain(batch).shape, generator=torch.Generator().manual_seed(step))
        exact = gradients(plain, batch, g)
        same = all(map(torch.equal, exact, gradients(layer, batch, g)))
        assert same == (step in (0, 2, 3))
    assert reuse.dense_steps == {"first": 1, "shape": 2}


def test_a_batch_without_samples_is_passed_over() -> None:
    layer = convert(integer_layer({"kernel_size": 3}), 0.9)
    (reuse,) = reuse_layers(layer).values()
    for batch in (4, 0, 4, 4):
        gradients(layer, torch.randn(batch, 4, 6, 6), torch.randn(batch, 8, 4, 4))
    assert reuse.dense_steps == {"first": 2, "empty": 1}


def test_overflow_is_not_reused() -> None:
    layer = convert(integer_layer({"kernel_size": 3}), 0.9)
    (reuse,) = reuse_layers(layer).values()
    x, g = integers(4, 4, 6, 6, seed=1), torch.randn(4, 8, 4, 4)
    gradients(layer, x, g)
    gradients(layer, x, torch.full_like(g, float("inf")))
    assert reuse.sample is None
    assert all(t.isfinite().all() for t in gradients(layer, x, g))


@pytest.mark.parametrize(
    ("input_grad", "weight_grad"), list(itertools.product([False, True], repeat=2))
)
def test_only_what_is_needed_is_computed(input_grad: bool, weight_grad: bool) -> None:
    layer = convert(integer_layer({"kernel_size": 3}), 0.0)
    assert isinstance(layer, nn.Conv2d)
    layer.weight.requires_grad_(weight_grad)
    (reuse,) = reuse_layers(layer).values()
    for step in range(2):
        x = integers(4, 4, 6, 6, seed=step).requires_grad_(input_grad)
        y = layer(x)
        if y.requires_grad:
            y.sum().backward()
            assert reuse.last is not None
            assert reuse.last.convolutions == input_grad + weight_grad
        assert (x.grad is not None) == input_grad


@pytest.mark.parametrize("shape", [(6, 5), (6, 3, 5)])
def test_linear_layers_too(shape: tuple[int, ...]) -> None:
    plain, ours = nn.Linear(5, 7), convert(nn.Linear(5, 7), 0.6, rule="quantile", linear=True)
    for module in (plain, ours):
        for index, parameter in enumerate(module.parameters()):
            parameter.data = integers(*parameter.shape, seed=index)
    (reuse,) = reuse_layers(ours).values()
    for step in range(3):
        x, g = integers(*shape, seed=step), integers(*shape[:-1], 7, seed=9 + step)
        sample, seen = reuse.sample, []
        reuse.observer = lambda event, seen=seen: seen.append(event.gradient.clone())
        got = gradients(ours, x, g)
        rebuilt = g if sample is None else seen[0] + sample
        assert all(map(torch.equal, gradients(plain, x, rebuilt)[:2], got[:2]))
        assert sample is None or not torch.equal(rebuilt, g)


def test_cosine_between_gradient_and_hybrid_gradient() -> None:
    layer = convert(integer_layer({"kernel_size": 3}), 0.5, rule="quantile")
    (reuse,) = reuse_layers(layer).values()
    reuse.measure_cosine = True
    x, g = integers(4, 4, 6, 6, seed=1), torch.randn(4, 8, 4, 4)
    gradients(layer, x, g)
    sample, seen = reuse.sample, []
    assert sample is not None
    reuse.observer = lambda event: seen.append(event.gradient.clone())
    gradients(layer, x, g)
    assert reuse.last is not None
    expected = nn.functional.cosine_similarity(g.flatten(), (seen[0] + sample).flatten(), dim=0)
    assert reuse.last.cosine == pytest.approx(float(expected), abs=1e-6)
