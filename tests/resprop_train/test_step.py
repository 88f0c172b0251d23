"""Steps of all kinds of models, with what must be on their lists worked out by hand."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from step_models import PICTURES, phases, small
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import resprop_train
from resprop_train.step import trace_step
from workloads import LayerShape, Phase, Step, StepError
from workloads.networks import conv_layers


def test_operations_of_a_small_network_in_order() -> None:
    step = trace_step(small(), PICTURES)
    assert [(o.kind, o.name, o.module) for o in step.operations if o.phase == "forward"] == [
        ("convolution", "convolution", "0"),
        ("normalisation", "add_", "1"),
        ("normalisation", "native_batch_norm", "1"),
        ("activation", "relu", "2"),
        ("convolution", "convolution", "3"),
        ("activation", "relu", "4"),
        ("convolution", "convolution", "5"),
        ("matmul", "addmm", "7"),
        ("loss", "_log_softmax", ""),
        ("loss", "nll_loss_forward", ""),
    ]
    assert [(o.kind, o.name, o.module) for o in step.operations if o.phase == "backward"] == [
        ("other", "ones_like", ""),
        ("loss", "nll_loss_backward", ""),
        ("loss", "_log_softmax_backward_data", ""),
        ("matmul", "mm", "7"),
        ("matmul", "mm", "7"),
        ("addition", "sum", "7"),
        *(("convolution", f"convolution_backward.{g}", "5") for g in ("dgrad", "wgrad")),
        ("addition", "convolution_backward.bias", "5"),
        ("activation", "threshold_backward", "4"),
        *(("convolution", f"convolution_backward.{g}", "3") for g in ("dgrad", "wgrad")),
        ("addition", "convolution_backward.bias", "3"),
        ("activation", "threshold_backward", "2"),
        ("normalisation", "native_batch_norm_backward", "1"),
        ("convolution", "convolution_backward.wgrad", "0"),
        ("addition", "convolution_backward.bias", "0"),
    ]
    assert [o.name for o in step.operations if o.phase == "optimizer"] == [
        *("_foreach_add", "_foreach_mul_", "_foreach_add_", "_foreach_add_"),
    ]
    assert step.operations[4].layer == LayerShape(C=8, H=10, W=10, K=6, R=3, S=3, stride=(2, 2))
    assert (step.network, step.batch_size, step.optimizer) == ("Sequential", 4, "sgd-momentum")
    assert step.input_shapes == (PICTURES,)
    assert step.synchronisations == 0


def test_dependencies_by_hand() -> None:
    model = nn.Sequential(nn.Linear(3, 5, bias=False), nn.ReLU(inplace=True), nn.Linear(5, 2))
    step = trace_step(model, (4, 3), "sgd")
    listed = [(o.name, o.depends_on) for o in step.operations]
    assert listed == [
        ("mm", ()),  # 0: x W0
        ("relu_", (0,)),  # 1
        ("addmm", (1,)),  # 2
        ("_log_softmax", (2,)),  # 3
        ("nll_loss_forward", (3,)),  # 4
        ("ones_like", ()),  # 5
        ("nll_loss_backward", (4, 5)),  # 6: the total weight and the gradient of the loss
        ("_log_softmax_backward_data", (3, 6)),  # 7
        ("mm", (7,)),  # 8: dgrad of the second
        ("mm", (1, 7)),  # 9: its wgrad
        ("sum", (7,)),  # 10: its bias
        ("threshold_backward", (1, 8)),  # 11: reads the ReLU's output, which it was done on
        ("mm", (11,)),  # 12: wgrad of the first
        ("_foreach_add_", (0, 2, 8, 9, 10, 12)),  # weights may change once they were read
    ]


def test_dgrad_and_wgrad_by_need() -> None:
    def with_frozen(*frozen: str) -> list[tuple[str, str]]:
        model = small()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not any(name.startswith(f) for f in frozen))
        found = phases(trace_step(model, PICTURES))
        return [entry for entry in found if entry[1] != "forward"]

    everything = [
        *(("7", "dgrad"), ("7", "wgrad"), ("5", "dgrad"), ("5", "wgrad")),
        *(("3", "dgrad"), ("3", "wgrad"), ("0", "wgrad")),
    ]
    assert with_frozen() == everything
    assert with_frozen("3") == [e for e in everything if e != ("3", "wgrad")]
    assert with_frozen("0", "1") == [
        *(("7", "dgrad"), ("7", "wgrad"), ("5", "dgrad"), ("5", "wgrad"), ("3", "wgrad")),
    ]
    assert with_frozen("1", "3", "5", "7") == [
        *(("7", "dgrad"), ("5", "dgrad"), ("3", "dgrad"), ("0", "wgrad")),
    ]
    weights = [f"{layer}.weight" for layer in "01357"]
    assert with_frozen(*weights) == [("7", "dgrad"), ("5", "dgrad"), ("3", "dgrad")]
    assert with_frozen("0", "1", "3", "5") == [("7", "wgrad")]


def test_uses_of_a_shared_layer_go_back_in_reverse() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.head = nn.Linear(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(self.conv(x).relu()[:, :, ::2])
            return self.head(x.mean((2, 3)))

    step = trace_step(Shared(), (2, 3, 8, 8))
    uses = [
        (o.use, str(o.layer_phase), o.layer.H)
        for o in step.operations
        if o.module == "conv" and o.layer
    ]
    assert uses == [
        *((1, "forward", 8), (2, "forward", 4)),
        *((2, "dgrad", 4), (2, "wgrad", 4), (1, "wgrad", 8)),
    ]


def test_checkpointing_repeats_the_forward_pass() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = small()[:-2], small()[-2:]

        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.body, x, use_reentrant=False))

    step = trace_step(Checkpointed(), PICTURES)
    again = [o for o in step.operations if o.phase == "backward" and o.name == "convolution"]
    # As the backward pass needs no output of the last one, it is left out where recomputing stops.
    assert [(o.module, o.use, o.layer_phase) for o in again][:2] == [
        ("body.0", 1, Phase.FORWARD),
        ("body.3", 1, Phase.FORWARD),
    ]
    ordinary = trace_step(small(), PICTURES)
    assert step.macs == ordinary.macs + sum(o.macs for o in again)


def test_what_has_no_rule_is_named_and_counted() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.inv(self.linear(x)).sort().values

    step = trace_step(Odd(), (4, 4))
    assert step.unpriced["sort"] == 1
    assert step.unpriced["linalg_inv_ex"] == 1
    assert all(o.kind == "other" for o in step.operations if not o.priced)


def test_nothing_of_the_model_changes() -> None:
    model = resprop_train.convert(small().eval(), 0.9)
    before = copy.deepcopy(model.state_dict())
    step = trace_step(model, PICTURES)
    assert not model.training
    assert all(p.grad is None and p.device.type == "cpu" for p in model.parameters())
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert {reuse.steps for reuse in resprop_train.reuse_layers(model).values()} == {0}
    assert trace_step(model, PICTURES) == step


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_converted_model(batch: int, bias: bool) -> None:
    shape = (batch, *PICTURES[1:])
    ordinary = trace_step(small(bias), shape)
    step = trace_step(resprop_train.convert(small(bias), 0.9), shape)
    own = [o for o in step.operations if o.kind == "resprop"]
    assert {o.phase for o in own} == {"backward"}
    assert {o.module for o in own} == {"0", "3", "5"}
    pre = [(o.module, str(o.layer_phase), o.samples) for o in own if o.macs]
    assert pre == [
        *(("5", "pre_dgrad", 1), ("5", "pre_wgrad", 1)),
        *(("3", "pre_dgrad", 1), ("3", "pre_wgrad", 1), ("0", "pre_wgrad", 1)),
    ]
    # Each layer's gradient is read to form the difference, which is written.
    for module, gradient in (("0", 8 * 10 * 10), ("3", 6 * 4 * 4), ("5", 4 * 4 * 4)):
        (formed,) = [o for o in own if o.name == "sub" and o.module == module]
        assert formed.bytes_written == 4 * batch * gradient
        assert formed.bytes_read == 4 * (batch + 1) * gradient
    assert step.unpriced == {}

    def essence(listed: Step) -> Counter[Any]:
        return Counter(
            (o.phase, o.kind, o.module, o.layer_phase, o.bytes_read, o.bytes_written, o.macs)
            for o in listed.operations
        )

    rest = step.without("resprop")
    assert essence(rest) == essence(ordinary)
    assert all(i < k for k, o in enumerate(rest.operations) for i in o.depends_on)
    (dgrad,) = [o for o in rest.operations if (o.module, o.layer_phase) == ("5", Phase.DGRAD)]
    (before,) = [
        i for i, o in enumerate(rest.operations) if (o.module, o.layer_phase) == ("7", Phase.DGRAD)
    ]
    assert before in dgrad.depends_on


def test_known_networks_of_another_library() -> None:
    zoo = pytest.importorskip("pytorchcv.model_provider")
    step = trace_step(zoo.get_model("densenet121"), (2, 3, 224, 224), network="densenet121")
    shapes = Counter(shape for _, shape in conv_layers("densenet121"))
    recorded = Counter(
        o.layer for o in step.operations if o.kind == "convolution" and o.phase == "forward"
    )
    assert recorded == shapes
    mobile = trace_step(zoo.get_model("mobilenet_w1"), (2, 3, 224, 224))
    depthwise = [o for o in mobile.operations if o.layer and o.layer.groups == o.layer.C > 1]
    assert len(depthwise) == 3 * 13
    assert {*step.unpriced, *mobile.unpriced} == set()


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (nn.Linear(3, 3), {}, "Linear: either input_shape or inputs must be given"),
        (nn.Linear(3, 3), {"input_shape": (0, 3)}, "input_shape must be positive ints, got (0, 3)"),
        (nn.Linear(3, 3), {"input_shape": (2, 4)}, "Linear: cannot be recorded: RuntimeError: "),
        (nn.Linear(3, 3), {"inputs": (3,)}, "inputs must hold a tensor, got none"),
        (nn.ReLU(), {"input_shape": (2, 3)}, "no parameter of the model requires a gradient"),
        (nn.LSTM(3, 3), {"input_shape": (2, 4, 3)}, "loss must be given: the model returns tuple"),
        (nn.LazyLinear(3), {"input_shape": (2, 3)}, "a lazy module has no shapes yet"),
        (
            nn.Linear(3, 3),
            {"input_shape": (2, 3), "optimizer": "lion"},
            "optimizer must be one of sgd, sgd-momentum, adam, adamw or a function, got 'lion'",
        ),
        (
            nn.Linear(3, 3),
            {"input_shape": (2, 3), "loss": lambda y: y[y > 0].sum()},
            "operation index of the loss has an output whose size depends on values",
        ),
    ],
)
def test_what_cannot_be_recorded(model: nn.Module, arguments: Any, message: str) -> None:
    with pytest.raises(StepError) as caught:
        trace_step(model, **arguments)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
