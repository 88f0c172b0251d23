"""Steps of kinds of layers and optimizers, with what must be on their lists worked out by hand."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from step_models import PICTURES, macs, small
from torch import Tensor, nn

from resprop_train.step import trace_step
from workloads import LayerShape


def encoder(layers: int = 2) -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, layers), nn.Linear(32, 7))


def test_transformer_encoder() -> None:
    n, t, d, f, layers = 3, 10, 32, 64, 2
    step = trace_step(encoder(layers), (n, t, d))
    linear = n * t * (4 * d * d + 2 * d * f) * layers
    attention = n * t * t * d * 2 * layers
    head = n * t * d * 7
    assert macs(step, phase="forward") == linear + attention + head
    first = n * t * 3 * d * d  # nothing before the first projections wants a gradient
    assert macs(step, phase="backward") == 2 * (linear + attention + head) - first
    assert {o.kind for o in step.operations if o.macs} == {"matmul"}
    assert step.unpriced == {}
    meeting = [o for o in step.operations if o.phase == "backward" and o.name == "add"]
    # Two residual ways a layer, of which the first begins at the input; queries, keys and values.
    assert len(meeting) == 2 * layers - 1 + 2 * layers
    assert {o.kind for o in meeting} == {"addition"}
    names = Counter(o.name for o in step.operations)
    assert names["native_layer_norm"] == 2 * layers
    assert names["native_dropout"] == 3 * layers
    (head_forward,) = [o for o in step.operations if o.module == "1" and o.phase == "forward"]
    assert head_forward.layer == LayerShape(C=d, H=t, W=1, K=7, R=1, S=1)
    assert head_forward.samples == n


def test_recurrent_layers_are_what_they_are_made_of() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 8)
            self.lstm = nn.LSTM(8, 16, 2, batch_first=True)
            self.head = nn.Linear(16, 50)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(self.embedding(x))[0])

    n, t = 3, 5
    step = trace_step(Language(), inputs=(torch.zeros(n, t, dtype=torch.long),))
    forward = n * t * (4 * 16 * (8 + 16) + 4 * 16 * (16 + 16) + 16 * 50)
    assert macs(step, phase="forward") == forward
    # The first hidden states are zeros that want no gradient.
    assert macs(step, phase="backward") == 2 * forward - 2 * n * 4 * 16 * 16
    (embedding,) = [o for o in step.operations if o.name == "embedding"]
    assert embedding.bytes_read == 8 * n * t + 4 * n * t * 8
    assert step.unpriced == {}
    assert {o.module for o in step.operations if o.macs} == {"lstm", "head"}


def test_other_convolutions() -> None:
    row = trace_step(nn.Conv1d(6, 8, 5, stride=2, padding=1, groups=2), (2, 6, 31))
    assert {o.layer for o in row.operations if o.macs} == {
        LayerShape(C=6, H=1, W=31, K=8, R=1, S=5, stride=(1, 2), padding=(0, 1), groups=2)
    }
    assert row.operations[0].samples == 2
    cube = trace_step(nn.Conv3d(3, 8, 3), (2, 3, 6, 7, 8), loss=lambda y: y.sum())
    assert [(o.layer, o.macs) for o in cube.operations if o.macs] == [
        (None, 2 * 8 * 3 * 27 * 4 * 5 * 6)
    ] * 2
    assert cube.operations[0].attributes["stride"] == [1, 1, 1]
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ConvTranspose2d(8, 5, 3, stride=2, padding=1, output_padding=1),
    )
    transposed = LayerShape(C=5, H=8, W=8, K=8, R=3, S=3, stride=(2, 2), padding=(1, 1))
    found = [o for o in trace_step(model, (2, 3, 8, 8)).operations if o.layer and o.module == "1"]
    assert [(o.layer, str(o.layer_phase), o.samples) for o in found] == [
        (transposed, phase, 2) for phase in ("dgrad", "forward", "wgrad")
    ]
    assert all(o.attributes == {"transposed": True} for o in found)


def test_values_that_the_host_asks_for() -> None:
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            y = self.linear(x)
            return y * scale if y.sum().item() > 0 else y

    given = {"x": torch.zeros(2, 3), "scale": torch.ones(())}
    step = trace_step(Asking(), inputs=given)
    assert step.synchronisations == 1
    assert "mul" in [o.name for o in step.operations]
    assert step.input_shapes == ((2, 3), ())


def test_casts() -> None:
    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4).bfloat16(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).float())

    step = trace_step(Casting(), (2, 4))
    casts = [(o.phase, o.bytes_read, o.bytes_written) for o in step.operations if o.kind == "cast"]
    assert casts == [("forward", 16, 32), ("backward", 32, 16)]


@pytest.mark.parametrize(
    ("optimizer", "passes"),
    [("sgd", 3), ("sgd-momentum", 11), ("adam", 18), ("adamw", 20)],
)
def test_passes_of_optimizers_over_the_parameters(optimizer: str, passes: int) -> None:
    model = small()
    parameters = sum(p.numel() for p in model.parameters())
    step = trace_step(model, PICTURES, optimizer)
    moved = sum(o.bytes_read + o.bytes_written for o in step.operations if o.phase == "optimizer")
    assert moved == 4 * passes * parameters
    assert step.synchronisations == 0


def test_an_optimizer_of_ones_own() -> None:
    class Halving:
        def __init__(self, parameters: list[nn.Parameter]) -> None:
            self.parameters = parameters

        @torch.no_grad()
        def step(self) -> None:
            for parameter in self.parameters:
                assert parameter.grad is not None
                parameter.sub_(parameter.grad, alpha=0.5)

    model = small()
    step = trace_step(model, PICTURES, Halving)
    updates = [o for o in step.operations if o.phase == "optimizer"]
    assert [(o.name, o.kind) for o in updates] == [("sub_", "optimizer")] * 10
    assert step.optimizer == "Halving"
