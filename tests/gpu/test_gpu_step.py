"""A training step on a GPU: its operations, times, energy and sparse products."""

from __future__ import annotations

import numpy as np
import pytest

from gscn_sim.gpu import (
    GpuError,
    layers_frame,
    network_step,
    predict,
    predict_sparse,
    predict_step,
    step_energy_j,
)
from gscn_sim.gpu.device import load_device
from gscn_sim.gpu.fits import load_file
from gscn_sim.gpu.measured import measured_operators
from gscn_sim.gpu.step import WAITING
from gscn_sim.gpu.step_price import Sizes, work
from workloads.shape import LayerShape
from workloads.step import Operation, Step, TensorUse

H100 = ("h100", "h100:tf32", "h100:bf16")
STEPS = (("resnet34", 128), ("resnet34", 16), ("vgg16", 128))
LAYER = LayerShape(C=64, H=56, W=56, K=64, R=3, S=3, padding=(1, 1))


def tensor(*shape: int, dtype: str = "float32") -> TensorUse:
    return TensorUse(storage=0, shape=shape, dtype=dtype, elements=int(np.prod(shape)))


def operation(kind: str, name: str, phase: str = "forward", **fields: object) -> Operation:
    return Operation(phase=phase, kind=kind, name=name, **fields)  # type: ignore[arg-type]


def step(*operations: Operation) -> Step:
    return Step(
        network="toy", batch_size=2, input_shapes=((2, 3),), optimizer="sgd", operations=operations
    )


def test_bytes_by_hand() -> None:
    """ResNet-34 at N = 2: its first ReLU, batch-norm and pooling, 64 x 112 x 112 values each."""
    size = 4 * 2 * 64 * 112 * 112
    found = {}
    for one in network_step("resnet34", 2).operations:
        found.setdefault((one.phase, one.name), one)
    gpu, sizes = load_device("gtx-1080ti"), Sizes(half=False)

    def moved(phase: str, name: str) -> float:
        return work(found[phase, name], sizes, gpu).moved_bytes

    assert moved("forward", "relu_") == 2 * size
    assert moved("forward", "native_batch_norm") == 3 * size + 4 * 4 * 64
    pooled = size // 4
    assert moved("forward", "max_pool2d_with_indices") == 9 * pooled + 3 * pooled
    last = 4 * 2 * 512 * 7 * 7
    assert moved("backward", "threshold_backward") == 3 * last
    assert moved("backward", "native_batch_norm_backward") == 5 * last + 4 * 4 * 512


def test_a_known_network_has_the_operations_that_are_recorded_of_it() -> None:
    """Bytes and multiply-adds by phase and class, against the recorder's on the real model."""
    pytest.importorskip("torch")
    import resprop_train
    from resprop_train.models import build_model

    if not hasattr(resprop_train, "trace_step"):
        pytest.skip("this version records no steps")
    for name in ("resnet34", "vgg16"):
        model = build_model(name, channels=3, size=224, classes=1000)
        recorded = resprop_train.trace_step(
            model, input_shape=(4, 3, 224, 224), optimizer="sgd-momentum"
        )
        ours, theirs = _sums(network_step(name, 4)), _sums(recorded)
        for key in ("convolution", "normalisation", "activation", "matmul", "optimizer"):
            for phase in ("forward", "backward", "optimizer"):
                assert ours.get((phase, key), (0.0, 0.0, 0.0)) == pytest.approx(
                    theirs.get((phase, key), (0.0, 0.0, 0.0)), rel=2e-3
                ), (name, phase, key)


def _sums(one: Step) -> dict[tuple[str, str], tuple[float, ...]]:
    sums: dict[tuple[str, str], tuple[float, ...]] = {}
    for o in one.operations:
        before = sums.get((o.phase, o.kind), (0.0, 0.0, 0.0))
        now = (o.bytes_read, o.bytes_written, o.macs)
        sums[o.phase, o.kind] = tuple(a + b for a, b in zip(before, now, strict=True))
    return sums


@pytest.mark.parametrize("key", H100)
@pytest.mark.parametrize("network", STEPS)
def test_busy_time_of_measured_steps_within_ten_percent(key: str, network: tuple[str, int]) -> None:
    table = predict_step(network_step(*network), key)
    busy = 1e3 * table.loc[table["operation"] != WAITING, "seconds"].sum()
    measured = measured_operators(load_device(key))
    same = (measured["network"] == network[0]) & (measured["batch_size"] == network[1])
    kernels = measured[same & measured["operator"].str.contains("aten")]
    assert busy == pytest.approx(kernels["device_ms"].sum(), rel=0.10)
    errors = load_file().step[key].errors[f"{network[0]}, N = {network[1]}"]
    assert abs(errors["held_out_busy_percent"]) < 10


def test_columns_and_convolutions_are_those_of_predict() -> None:
    table = predict_step(network_step("resnet18", 16), device="h100", precision="bf16")
    assert list(table.columns[:4]) == ["phase", "kind", "operation", "seconds"]
    assert (table["seconds"] >= 0).all()
    assert set(table["phase"]) == {"forward", "backward", "optimizer"}
    layer = layers_frame(
        [LayerShape(C=3, H=224, W=224, K=64, R=7, S=7, stride=(2, 2), padding=(3, 3))], 16
    )
    first = table[table["operation"] == "convolution"].iloc[0]
    assert first["seconds"] == pytest.approx(predict(layer, "h100:bf16")["forward_ms"][0] / 1e3)


def test_waiting_for_launches_is_a_row_of_its_own() -> None:
    small = predict_step(network_step("resnet34", 1), "h100:bf16")
    large = predict_step(network_step("vgg16", 128), "h100")
    waits = small[small["operation"] == WAITING]
    assert list(waits["phase"]) == ["forward", "backward"]
    assert (waits["seconds"] > 1e-3).all()
    assert large.loc[large["operation"] == WAITING, "seconds"].sum() == 0


def test_bf16_casts_what_was_recorded_in_fp32_and_nothing_else() -> None:
    one = network_step("resnet18", 16)
    plain, half = predict_step(one, "h100:tf32"), predict_step(one, "h100:bf16")
    assert "cast" not in set(plain["kind"])
    casts = half[half["kind"] == "cast"]
    assert (casts["phase"] == "backward").sum() == 22, "a gradient a weight; fc: both products"
    assert (casts["phase"] == "forward").sum() == 23, "weights, pictures, the bias of fc"
    recorded = step(operation("activation", "relu_", inputs=(tensor(8, dtype="bfloat16"),)))
    assert "cast" not in set(predict_step(recorded, "h100:bf16")["kind"])
    relu = [t[t["operation"] == "relu_"]["moved_bytes"].sum() for t in (plain, half)]
    assert relu[0] == 2 * relu[1]


def test_unknown_operations_are_priced_by_their_bytes() -> None:
    unheard = operation("other", "roll", inputs=(tensor(1 << 24),), outputs=(tensor(1 << 24),))
    table = predict_step(step(unheard), "gtx-1080ti")
    c = load_file().step["gtx-1080ti"].coefficients
    expected = 2 * 4 * (1 << 24) / (484e9 * c.stream_fraction)
    assert table.loc[table["operation"] == "roll", "seconds"].iloc[0] == pytest.approx(expected)


def test_a_card_without_measured_steps_borrows_those_of_its_kind() -> None:
    table = predict_step(network_step("resnet18", 16), "p100")
    assert table["seconds"].sum() > 0
    with pytest.raises(GpuError, match="energy of device p100 was not measured"):
        step_energy_j(table, "p100")


@pytest.mark.parametrize("key", H100)
def test_energy_of_measured_steps(key: str) -> None:
    """Within 15 % but for ResNet-34 at N = 128 in TF32, which ran at the card's power limit."""
    for label, figures in load_file().energy[key].errors.items():
        if not label.startswith(("resnet34", "vgg16")):
            continue
        limit = 22 if key == "h100:tf32" and label.startswith("resnet34, N = 128") else 16
        assert abs(figures["fitted_percent"]) < limit, label
    table = predict_step(network_step("resnet34", 16), key)
    joules = step_energy_j(table, key)
    idle = load_file().energy[key].coefficients.idle_w * table["seconds"].sum()
    assert idle < joules < 700 * table["seconds"].sum()


def test_sparse_products_gain_only_on_very_sparse_gradients() -> None:
    """As measured: none of these layers gains at 10 %, and denser gradients gain less."""
    layers = layers_frame([LAYER, LayerShape(C=256, H=56, W=56, K=64, R=1, S=1)], 16)
    at_ten = predict_sparse(layers, 0.1)
    assert (at_ten["gain"] < 1).all()
    assert (at_ten["gain_below"] < 0.1).all()
    points = predict_sparse(layers.iloc[[1]], at_ten["gain_below"].iloc[1])
    if at_ten["gain_below"].iloc[1] > 0:
        assert points["gain"].iloc[0] == pytest.approx(1.0, rel=1e-6)
    lower, higher = (predict_sparse(layers, d)["gain"] for d in (0.01, 0.02))
    assert (lower > higher).all()


def test_sparse_errors() -> None:
    layers = layers_frame([LAYER], 16)
    with pytest.raises(GpuError, match=r"density must be from 0 to 1"):
        predict_sparse(layers, 1.5)
    with pytest.raises(GpuError, match="were not measured on device p100"):
        predict_sparse(layers, 0.1, "p100")
    with pytest.raises(GpuError, match="in fp32 only, got bf16"):
        predict_sparse(layers, 0.1, "h100:bf16")
