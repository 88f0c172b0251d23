"""State by use: layers that are used several times, on several sizes, in any order."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import resprop_train
import workloads
from resprop_train.conversion import convert, reuse_layers, set_reuse
from resprop_train.reuse import MOST_USES


def head(sparsity: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    return convert(nn.Conv2d(3, 4, 3, padding=1), sparsity, rule="quantile")


def batch(size: int, seed: int = 0, count: int = 4) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "orders",
    [
        [(8, 4), (8, 4), (8, 4)],
        [(8, 4), (4, 8), (8, 4)],
        [(8, 8, 4), (4, 8, 8), (8, 4, 8)],
        [(8,), (4,), (8,), (4,)],
        [(4, 5, 6, 7), (7, 6, 5, 4)],
    ],
)
def test_each_size_is_dense_once(orders: list[tuple[int, ...]]) -> None:
    layer = head()
    (reuse,) = reuse_layers(layer).values()
    uses = max(sum(1 for s in order if s == size) for order in orders for size in (8, 4))
    for step, order in enumerate(orders):
        total = sum(layer(batch(size, step)).square().mean() for size in order)
        assert isinstance(total, Tensor)
        total.backward()
    first = {(size, n) for order in orders for size in order for n in range(order.count(size))}
    assert reuse.dense_steps == {"first": len(first)}
    assert uses >= 1


def test_two_uses_of_one_size_have_a_sample_each() -> None:
    """Those of different losses must not be mixed: the second is 100 times the first."""
    layer = head(0.0)
    (reuse,) = reuse_layers(layer).values()
    for step in range(3):
        small, large = layer(batch(4, step)), layer(batch(4, step + 9))
        (small.sum() + 100 * large.sum()).backward()
    samples = [reuse._uses[key].sample for key in sorted(reuse._uses)]
    assert [float(s.mean()) for s in samples] == [1.0, 100.0]


def test_forward_passes_without_a_backward_pass_take_no_use_away() -> None:
    layer = head()
    (reuse,) = reuse_layers(layer).values()
    for step in range(4):
        layer(batch(4, step))  # thrown away
        with torch.no_grad():
            layer(batch(4, step))
        layer(batch(4, step)).sum().backward()
    gc.collect()
    assert reuse.dense_steps == {"first": 1}
    assert not reuse._open


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_layers(reentrant: bool) -> None:
    layer, plain = head(0.0), nn.Conv2d(3, 4, 3, padding=1)
    plain.load_state_dict(dict(layer.state_dict()))
    (reuse,) = reuse_layers(layer).values()
    for step in range(3):
        for module in (layer, plain):
            module.zero_grad()
            x = batch(4, step).requires_grad_()
            checkpoint(module, x, use_reentrant=reentrant).square().sum().backward()
        assert torch.allclose(layer.weight.grad, plain.weight.grad, rtol=1e-5, atol=1e-5)
    assert reuse.dense_steps == {"first": 1}
    assert reuse.steps == 3


def test_sizes_beyond_the_limit_are_forgotten_in_turn() -> None:
    layer = head()
    (reuse,) = reuse_layers(layer).values()
    for size in range(3, 3 + MOST_USES + 5):
        layer(torch.randn(2, 3, size, 3)).sum().backward()
    assert len(reuse._uses) == MOST_USES
    layer(torch.randn(2, 3, 3, 3)).sum().backward()  # the first size is unknown again
    assert reuse.dense_steps["first"] == MOST_USES + 6


def test_gradients_are_those_of_the_rebuilt_gradient_for_every_use() -> None:
    """Threshold 0 on integers is exact, whatever the sizes and their order."""
    layer, plain = head(0.0), nn.Conv2d(3, 4, 3, padding=1)
    for index, parameter in enumerate(layer.parameters()):
        parameter.data = torch.randint(-3, 4, parameter.shape).float() + index
    plain.load_state_dict(dict(layer.state_dict()))
    for order in [(5, 4, 5), (4, 5, 5), (5, 5, 4)]:
        for module in (layer, plain):
            module.zero_grad()
            for place, size in enumerate(order):
                x = torch.arange(4 * 3 * size * size).reshape(4, 3, size, size) % 7
                y = module(x.float() - 3)
                (y * (torch.arange(y.numel()).reshape(y.shape) % 5 - place)).sum().backward()
        for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad)


def test_a_recorded_shared_head_has_a_record_for_each_use(tmp_path: Path) -> None:
    model = nn.ModuleDict({"stem": nn.Conv2d(3, 3, 1), "head": nn.Conv2d(3, 2, 3, padding=1)})
    convert(model, 0.5, rule="quantile")
    with resprop_train.record(model, tmp_path / "t.npz", quiet=True) as recorder:
        for step in range(3):
            fine = model["stem"](batch(8, step))
            coarse = nn.functional.avg_pool2d(fine, 2)
            (model["head"](fine).sum() + model["head"](coarse).square().sum()).backward()
    assert recorder.iterations == [1, 2]
    layers = [x for x in workloads.load(tmp_path / "t.npz").layers if x.iteration == 2]
    assert [x.name for x in layers] == ["stem", "head", "head#2"]
    assert {x.shape.H for x in layers[1:]} == {4, 8}


def test_copies_and_switches_keep_uses_apart() -> None:
    layer = head()
    for step in range(2):
        (layer(batch(8, step)).sum() + layer(batch(4, step)).sum()).backward()
    other = copy.deepcopy(layer)
    set_reuse(layer, False)
    layer(batch(8)).sum().backward()
    ours, theirs = (next(iter(reuse_layers(m).values())) for m in (layer, other))
    assert (ours.steps, theirs.steps) == (5, 4)
    assert ours.dense_steps == {"first": 2, "off": 1}
    (other(batch(8)).sum() + other(batch(4)).sum()).backward()
    assert theirs.dense_steps == {"first": 2}
