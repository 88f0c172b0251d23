"""Products of two tensors in a recorded step: found, named, with the operands they really had."""

from __future__ import annotations

import copy
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as torch_module
from torch.utils.checkpoint import checkpoint

import gscn_sim
import resprop_train
import workloads
from workloads import Layer, Trace

HEADS, TOKENS, DEPTH = 2, 5, 3


class Attention(nn.Module):
    """Attention that keeps what it multiplied, and asks for the gradients of that."""

    def __init__(self, form: str, dropout: float = 0.0, causal: bool = False) -> None:
        super().__init__()
        width = HEADS * DEPTH
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.form, self.dropout, self.causal = form, nn.Dropout(dropout), causal
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        query, key, value = self.qkv(x).view(n, t, 3, HEADS, DEPTH).permute(2, 0, 3, 1, 4)
        if self.form == "fused":
            attended = functional.scaled_dot_product_attention(
                query, key, value, dropout_p=self.dropout.p, is_causal=self.causal
            )
        else:
            query = query * DEPTH**-0.5
            scores = (
                torch.einsum("nhid,nhjd->nhij", query, key)
                if self.form == "einsum"
                else query @ key.mT
            )
            masked = scores
            if self.causal:
                future = torch.ones(t, t, dtype=torch.bool).triu(1)
                masked = scores.masked_fill(future, float("-inf"))
            weights = self.dropout(masked.softmax(-1))
            attended = weights @ value
            self.seen = [query, key, scores, weights, value, attended]
            for tensor in self.seen:
                tensor.retain_grad()
        return self.out(attended.transpose(1, 2).reshape(n, t, width))


def record(
    model: nn.Module, path: Path, *inputs: Tensor, capsys: Any = None, **options: Any
) -> tuple[Trace, str]:
    """The trace of a step for each input, and the summary."""
    torch.manual_seed(7)
    with resprop_train.record(model, path, values=True, quiet=True, **options) as recorder:
        for x in inputs:
            model.zero_grad()
            model(x).square().mean().backward()
    return workloads.validate(path), recorder.summary()


def converted(model: nn.Module) -> nn.Module:
    return resprop_train.convert(model, rule="mean-density", linear=True)


def batch(n: int = 4, seed: int = 3) -> Tensor:
    return torch.randn(n, TOKENS, HEADS * DEPTH, generator=torch.Generator().manual_seed(seed))


def matrices(layer: Layer) -> tuple[Any, Any, Any]:
    """X, Y and dC of a recorded product: [n, heads, rows, columns]."""
    found = []
    for operand in ("activation", "weight", "gradient"):
        values = layer.values(operand)  # type: ignore[arg-type]
        assert values is not None
        split = values.reshape(layer.n_samples, layer.shape.groups, -1, max(values.shape[-2:]))
        if operand == "weight":  # [n * heads * L, D, 1, 1]
            inner = values.shape[1]
            split = values.reshape(layer.n_samples, layer.shape.groups, -1, inner)
        found.append(split.transpose(0, 1, 3, 2))
    return found[0], found[1], found[2]


@pytest.mark.parametrize("form", ["hand", "einsum"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("causal", [False, True])
def test_operands_are_those_of_the_step(
    form: str, dropout: float, causal: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = converted(Attention(form, dropout, causal))
    trace, _ = record(model, tmp_path / "t.npz", batch(), batch(seed=4))
    query, key, scores, weights, value, attended = model.seen  # of the second step
    for name, left, right, result in (
        ("Attention@1", query, key.mT, scores),
        ("Attention@2", weights, value, attended),
    ):
        x, y, g = matrices(trace[name, 1])
        np.testing.assert_array_equal(x, left.detach().numpy())
        np.testing.assert_array_equal(y, right.detach().numpy())
        assert result.grad is not None
        np.testing.assert_array_equal(g, result.grad.numpy())
    if causal or dropout:
        mask = trace["Attention@2"].activation
        assert mask is not None
        assert mask.density < 0.9


def test_the_machine_forms_the_gradients_of_the_step(tmp_path: Path) -> None:
    """dX and dY of the functional mode are those that autograd has worked out, to its rounding."""
    torch.manual_seed(0)
    model = converted(Attention("hand"))
    trace, _ = record(model, tmp_path / "t.npz", batch(), batch(seed=4))
    query, key, *_ = model.seen
    config = gscn_sim.load_config("gscn", {"array.pe_rows": 2, "array.pe_cols": 2})
    layer = trace["Attention@1", 1]
    of_query = gscn_sim.execute(layer, "dgrad", config).reshape(4, HEADS, DEPTH, TOKENS)
    of_key = gscn_sim.execute(layer, "wgrad", config).reshape(4, HEADS, TOKENS, DEPTH)
    assert query.grad is not None
    assert key.grad is not None
    np.testing.assert_allclose(of_query.transpose(0, 1, 3, 2), query.grad.numpy(), atol=1e-7)
    np.testing.assert_allclose(of_key, key.grad.numpy(), atol=1e-7)


@pytest.mark.parametrize("causal", [False, True])
def test_a_fused_kernel_is_worked_out_again(causal: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    fused = converted(Attention("fused", causal=causal))
    hand = converted(Attention("hand", causal=causal))
    hand.load_state_dict(fused.state_dict())
    one, _ = record(fused, tmp_path / "one.npz", batch(), batch(seed=4))
    two, _ = record(hand, tmp_path / "two.npz", batch(), batch(seed=4))
    assert [layer.name for layer in one.layers] == [layer.name for layer in two.layers]
    for name in ("Attention@1", "Attention@2"):
        a, b = one[name], two[name]
        assert a.phases() == b.phases()
        (x, y, g), (p, q, r) = matrices(a), matrices(b)
        scale = DEPTH**-0.5 if name.endswith("1") else 1.0  # where it is multiplied by that
        np.testing.assert_allclose(x * scale, p, atol=1e-6)
        np.testing.assert_allclose(y, q, atol=1e-6)
        np.testing.assert_allclose(g / scale, r, atol=1e-6)
    if causal:
        assert one["Attention@2"].activation.density == pytest.approx(0.6)  # type: ignore[union-attr]


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_multihead_attention(need_weights: bool, batch_first: bool, tmp_path: Path) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.attn = nn.MultiheadAttention(6, HEADS, dropout=0.3, batch_first=batch_first)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            out: Tensor = self.attn(x, x, x, need_weights=need_weights)[0]
            return out

    torch.manual_seed(0)
    trace, summary = record(converted(Model()), tmp_path / "t.npz", batch(), batch(seed=4))
    products = [layer for layer in trace.layers if layer.is_matmul]
    assert [layer.name for layer in products] == ["attn@1", "attn@2"]
    for layer, tokens in zip(products, ("queries", "values"), strict=True):
        assert layer.batch_size == 4 if batch_first else True, tokens
        length = TOKENS if batch_first else 4  # the other axis is the batch
        assert length == layer.shape.H
        assert layer.shape.dense_macs * (layer.batch_size or 0) == (
            (4 * TOKENS // length) * HEADS * length * length * DEPTH
        )
    assert products[1].activation is not None
    assert 0.4 < products[1].activation.density < 0.95  # what dropout left
    assert "1 layer and 2 matrix products" in summary
    assert "attn (MultiheadAttention but for its matrix products)" in summary


def test_recording_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    hooks = len(torch_module._global_forward_hooks), len(torch_module._global_forward_pre_hooks)
    gradients = []
    for recorded in (False, True):
        torch.manual_seed(0)
        model = converted(Attention("fused", dropout=0.3))
        if recorded:
            record(model, tmp_path / "t.npz", batch(), batch(seed=4))
        else:
            torch.manual_seed(7)
            for x in (batch(), batch(seed=4)):
                model.zero_grad()
                model(x).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)
    assert hooks == (
        len(torch_module._global_forward_hooks),
        len(torch_module._global_forward_pre_hooks),
    )


def test_copies_and_files_of_the_model_inside_the_block(tmp_path: Path) -> None:
    model = converted(Attention("fused"))
    with resprop_train.record(model, tmp_path / "t.npz", quiet=True):
        for seed in (3, 4):
            model(batch(seed=seed)).sum().backward()
            other = copy.deepcopy(model)
            torch.save(model, io.BytesIO())
            other(batch())  # nobody looks at a copy
    names = [layer.name for layer in workloads.load(tmp_path / "t.npz").layers]
    assert names == ["Attention@1", "Attention@2", "qkv", "out"]


def test_what_is_checkpointed_is_named_and_training_goes_on(tmp_path: Path) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Attention("fused")

        def forward(self, x: Tensor) -> Any:
            return checkpoint(self.block, x, use_reentrant=False)

    trace, summary = record(converted(Model()), tmp_path / "t.npz", batch(), batch(seed=4))
    assert not any(layer.is_matmul for layer in trace.layers)
    assert "not recorded, matrix products of block: its operands are made again" in summary


def test_frozen_parts(tmp_path: Path) -> None:
    """Only what training computed: no gradient of the keys, none of what is below them."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries, self.keys, self.out = (nn.Linear(6, 6) for _ in range(3))
            self.keys.requires_grad_(False)

        def forward(self, x: Tensor) -> Any:
            return self.out(self.queries(x) @ self.keys(x).mT @ x)

    trace, _ = record(converted(Model()), tmp_path / "t.npz", batch(), batch(seed=4))
    assert trace["Model@1"].phases() == (workloads.Phase.DGRAD,)  # autograd saved no left operand
    assert (trace["Model@1"].input_gradient, trace["Model@1"].weight_gradient) == (True, False)
    assert trace["Model@2"].phases() == (workloads.Phase.DGRAD,)


def test_samples_iterations_and_uses(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Attention("fused")

        def forward(self, x: Tensor) -> Any:
            return self.block(self.block(x))

    inputs = [batch(4), batch(4, 1), batch(4, 2), batch(4, 5)]
    trace, _ = record(converted(Twice()), tmp_path / "t.npz", *inputs, iterations=[1, 3], samples=2)
    names = [(layer.iteration, layer.name) for layer in trace.layers if layer.is_matmul]
    assert names == [(i, f"block@{k}") for i in (1, 3) for k in (1, 2, 3, 4)]
    assert {layer.n_samples for layer in trace.layers} == {2}
    assert {layer.batch_size for layer in trace.layers} == {4}


def test_a_step_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    model = converted(Attention("hand"))
    bad = batch(seed=4)
    bad[0, 0, 0] = float("inf")
    trace, summary = record(model, tmp_path / "t.npz", batch(), batch(seed=2), bad)
    assert trace.iterations == (1,)
    assert "left out, 1 iteration (2)" in summary


def test_a_vision_transformers_trace_runs(tmp_path: Path) -> None:
    from resprop_train.models.vit import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(channels=3, classes=5, size=16, patch=8, width=16, depth=1, heads=2)
    path = tmp_path / "t.npz"
    resprop_train.convert(model, rule="mean-density", linear=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with resprop_train.record(model, path, quiet=True):
            for seed in range(2):
                x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
                functional.cross_entropy(model(x), torch.arange(4)).backward()
    trace = workloads.load(path)
    assert [x.name for x in trace.layers if x.is_matmul] == ["blocks.0@1", "blocks.0@2"]
    run = gscn_sim.simulate(trace, gscn_sim.load_config("gscn"))
    rows = run.table[run.table["layer"].str.contains("@")]
    assert rows["phase"].tolist() == ["dgrad", "wgrad"] * 2
    step = resprop_train.trace_step(model, (4, 3, 16, 16))
    whole = gscn_sim.simulate_step(trace, gscn_sim.load_config("gscn"), step=step, gpu=None)
    linear = ("qkv", "fc1", "fc2", "projection", "head")
    products = [
        operation
        for operation in whole.on_machine.operations
        if operation.kind == "matmul" and not operation.module.endswith(linear)
    ]
    assert len(products) == 6  # two forward, four backward: each once, at its best case
    assert {o.how for o in products} == {"bound"}
