"""No number is read from a device during a step, and at most once after it.

A GPU is not needed to see that: the meta device has no values to read, so that reading one fails,
and on the CPU every read of a number goes through one operation that can be counted.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from resprop_train import scalars
from resprop_train.conversion import convert, reuse_layers
from resprop_train.methods import methods
from resprop_train.models import build_model
from resprop_train.reuse import last_steps
from resprop_train.threshold import RULES

READS = ("_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "unique", "masked_select")
CASES = [(m, "halve-double") for m in methods()] + [
    ("resprop", r) for r in RULES if r != "halve-double"
]


class Operations(TorchDispatchMode):
    """Names of all operations that are dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

    @property
    def reads(self) -> int:
        return sum(name in READS for name in self.names)


def everywhere_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's tensors take the way of a device's."""
    for module in ("scalars", "threshold", "randomness", "methods.delta", "loss_scale"):
        monkeypatch.setattr(f"resprop_train.{module}.on_host", lambda tensor: False)


def small(method: str, rule: str, linear: bool = True) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2), nn.Flatten(), nn.Linear(32 * 9, 5),
    )  # fmt: skip
    return convert(model, 0.7, method=method, rule=rule, linear=linear)


def step(model: nn.Module, x: Tensor) -> Tensor:
    model.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize(("method", "rule"), CASES)
def test_a_step_on_a_device_reads_nothing(method: str, rule: str) -> None:
    model = small(method, rule).to("meta")
    for _ in range(4):
        step(model, torch.empty(4, 3, 8, 8, device="meta"))
    for reuse in reuse_layers(model).values():
        assert reuse.steps == 4
        assert reuse.dense_steps["first"] == reuse.method.reuses


@pytest.mark.parametrize(("method", "rule"), CASES)
def test_one_read_a_step_with_everything_that_is_reported(
    method: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere_a_device(monkeypatch)
    model = small(method, rule)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        with Operations() as operations:
            loss = step(model, x)
            assert operations.reads == 0
            stacks = operations.names.count("stack")
            layers, (value,) = last_steps(reuse_layers(model).values(), loss)
            assert operations.names.count("stack") == stacks + 1
        assert operations.reads <= 1
        assert value == float(loss)
    assert all(isinstance(layer.density, float) for layer in layers)


@pytest.mark.parametrize(
    ("method", "rule", "count"),
    [
        *(("resprop", rule, 12) for rule in RULES),
        *((method, "mean-density", 12) for method in ("resprop-batch-sum", "batch-sum")),
        ("resprop-nm", "halve-double", 140),  # beyond the table of draws
    ],
)
def test_device_and_host_do_the_same(
    method: str, rule: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for device in (False, True):
        with monkeypatch.context() as patch:
            if device:
                everywhere_a_device(patch)
            model = small(method, rule)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            densities = []
            for seed in range(count):
                x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
                step(model, x)
                optimizer.step()
                densities.append([r.last.density for r in reuse_layers(model).values()])
        results.append((densities, [p.detach() for p in model.parameters()]))
    assert results[0][0][:12] == results[1][0][:12]
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_an_overflow_is_found_out_without_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step after it is the ordinary one, to the last bit, and says so when it is read."""
    everywhere_a_device(monkeypatch)
    layer = convert(nn.Conv2d(3, 4, 3), 0.9, rule="quantile")
    plain = nn.Conv2d(3, 4, 3)
    plain.load_state_dict(dict(layer.state_dict()))
    (reuse,) = reuse_layers(layer).values()
    x = torch.randn(4, 3, 8, 8)
    layer(x).sum().backward()
    (layer(x) * float("inf")).sum().backward()
    for module in (layer, plain):
        module.zero_grad()
        module(x).square().sum().backward()
    assert torch.equal(layer.weight.grad, plain.weight.grad)
    assert reuse.last.dense_because == "overflow"
    assert reuse.last.work == reuse.last.dense_work
    layer(x).square().sum().backward()
    assert reuse.last.dense_because is None
    assert reuse.last.density == pytest.approx(0.1, abs=0.01)


def test_state_stays_in_its_memory_as_a_captured_graph_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everywhere_a_device(monkeypatch)
    model = small("resprop", "halve-double-steered")
    x = torch.randn(4, 3, 8, 8)
    places = []
    for _ in range(5):
        step(model, x)
        states = [next(iter(r._uses.values())) for r in reuse_layers(model).values()]
        places.append(
            [t.data_ptr() for s in states for t in (s.sample, s.valid, s.rule.value, s.rule.fall)]
            if len(places) > 1
            else []
        )
    assert places[2] == places[3] == places[4] != []


def test_fake_tensors_pass_through() -> None:
    """As for recording the operations of a step without doing them."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = small("resprop", "halve-double")
        for _ in range(3):
            step(model, torch.randn(4, 3, 8, 8))


def test_operations_of_a_whole_network() -> None:
    """What ReSprop adds to a step of ResNet-34 is a fixed number of operations a layer."""
    counts = []
    for reuse in (False, True):
        with torch.device("meta"):
            model = build_model("resnet34", channels=3, size=32, classes=10)
            x = torch.empty(2, 3, 32, 32)
        if reuse:
            convert(model, 0.9)
        for _ in range(2):
            step(model, x)
        with Operations() as operations:
            step(model, x)
        assert operations.reads == 0
        counts.append(len(operations.names))
    layers = len(reuse_layers(model))
    assert layers == 36
    assert counts[1] - counts[0] <= ADDED * layers


ADDED = 60
"""Operations that ReSprop adds to a layer's step at most, views and scalars included."""


def test_the_host_does_not_use_tensors_for_numbers() -> None:
    assert scalars.on_host(torch.zeros(1))
    assert not scalars.on_host(torch.zeros(1, device="meta"))
