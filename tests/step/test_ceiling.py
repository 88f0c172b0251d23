"""What no array could beat: bytes and products by hand, and below every simulated step."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from click.testing import CliRunner

from gscn_sim import load_config
from gscn_sim.cli import main
from gscn_sim.config import Config
from gscn_sim.step.ceiling import ceiling, dense_pass_bytes
from gscn_sim.step.simulate import simulate_step
from workloads import LayerShape, Phase, Trace, layer_from_arrays
from workloads.step import Operation, Step, TensorUse

N, MAP, WEIGHTS = 2, 288, 144
SHAPE = LayerShape(C=4, H=6, W=6, K=4, R=3, S=3, padding=(1, 1))
DENSE = N * SHAPE.dense_macs
SHIPPED = str(resources.files("workloads.data").joinpath("resnet8_digits.npz"))


def tensor(storage: int, *shape: int) -> TensorUse:
    return TensorUse(storage=storage, shape=shape, dtype="float32", elements=int(np.prod(shape)))


def step() -> Step:
    """A convolution and its backward pass around a fully connected layer."""
    x, y, w = tensor(0, N, 4, 6, 6), tensor(1, N, 4, 6, 6), tensor(2, 4, 4, 3, 3)
    g, dx, dw = tensor(5, N, 4, 6, 6), tensor(6, N, 4, 6, 6), tensor(7, 4, 4, 3, 3)
    conv = {"kind": "convolution", "module": "conv", "layer": SHAPE, "macs": DENSE, "name": "conv"}
    operations = [
        Operation(phase="forward", inputs=(x, w), outputs=(y,), layer_phase=Phase.FORWARD, **conv),
        Operation(
            phase="forward", kind="matmul", name="addmm", module="fc", macs=N * 144 * 10,
            inputs=(y, tensor(3, 144, 10)), outputs=(g,), depends_on=(0,),
        ),
        Operation(
            phase="backward", inputs=(g, w), outputs=(dx,), layer_phase=Phase.DGRAD,
            depends_on=(1,), **conv,
        ),
        Operation(
            phase="backward", inputs=(g, x), outputs=(dw,), layer_phase=Phase.WGRAD,
            depends_on=(1,), **conv,
        ),
    ]  # fmt: skip
    return Step(
        network="toy", batch_size=N, input_shapes=((N, 4, 6, 6),), optimizer="sgd",
        operations=operations,
    )  # fmt: skip


def trace() -> Trace:
    """Half of the activations and a quarter of the gradients are there."""
    activation, gradient = np.zeros((2, N, 4, 6, 6), bool)
    activation[..., :3], gradient[:, 0] = True, True
    layer = layer_from_arrays("conv", activation=activation, gradient=gradient, shape=SHAPE)
    return Trace(network="toy", batch_size=N, layers=[layer])


def test_bytes_and_products_by_hand() -> None:
    """fp32 and 6 bits a run: 684 bytes of activations, 342 of gradients; bf16: 396 and 198."""
    for preset, each, activation, gradient in (("gscn", 4, 684, 342), ("gscn-bf16", 2, 396, 198)):
        config = load_config(preset)
        found = ceiling(trace(), step(), config)
        fc = (MAP + 1440 + MAP) * each
        w, result = WEIGHTS * each, MAP * each
        moved = dict(
            zip(zip(found.table["phase"], found.table["kind"], strict=True),
                found.table["moved_bytes"], strict=True)
        )  # fmt: skip
        assert moved == {
            ("forward", "convolution"): activation + w + result,
            ("forward", "matmul"): fc,
            ("backward", "convolution"): (gradient + w + result) + (gradient + activation + w),
        }
        assert found.table["products"].tolist() == [DENSE / 2, 2880, DENSE / 4 + DENSE / 8]
        cycles = int(sum(moved.values()) * 1.582 / 484)
        assert found.memory_seconds == pytest.approx(cycles / 1.582e9)
        peak = 3584 * 1.582e9
        assert found.products_seconds == pytest.approx((DENSE * 0.875 + 2880) / peak)


@pytest.mark.parametrize(
    "config",
    [
        load_config("gscn"),
        load_config("gscn-bf16", {"array.pe_rows": 2, "policy.overlap": False}),
        load_config("gscn", {"dram.preset": "hbm3", "fusion.activation": False}),
    ],
    ids=["gscn", "bf16", "hbm3"],
)
def test_no_simulated_step_is_faster(config: Config) -> None:
    found = ceiling(trace(), step(), config)
    run = simulate_step(trace(), config, step=step(), gpu=None)
    assert 0 < found.memory_seconds <= found.seconds <= run.seconds("gscn")
    assert found.seconds >= found.chain_seconds > 0


def test_passes_beside_dense_products() -> None:
    """Without vector operations there are none; a ReLU that nothing fuses reads and writes."""
    config = load_config("gscn-bf16", {"fusion.activation": False})
    assert dense_pass_bytes(step(), config) == 0
    relu = Operation(
        phase="forward", kind="activation", name="relu", inputs=(tensor(5, N, 4, 6, 6),),
        outputs=(tensor(9, N, 4, 6, 6),), depends_on=(1,),
    )  # fmt: skip
    more = replace(step(), operations=[*step().operations, relu])
    assert dense_pass_bytes(more, config) == 2 * MAP * 2


def test_the_multipliers_do_not_matter() -> None:
    few, many = (
        ceiling(trace(), step(), load_config("gscn", {"array.pe_rows": rows})) for rows in (1, 64)
    )
    assert few.seconds == many.seconds
    assert few.products_seconds == pytest.approx(64 * many.products_seconds)


def test_command() -> None:
    """At most as fast as its own bound says, beside a GPU that does not wait for its host."""
    arguments = ["ceiling", SHIPPED, "--config", "gscn-bf16", "--gpu", "h100:bf16"]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0, shown.output
    assert "no array with this memory (484 GB/s) is faster than" in shown.stdout
    found = json.loads(CliRunner().invoke(main, [*arguments, "--format", "json"]).stdout)
    assert found["most_speedup"] == pytest.approx(found["gpu_busy_seconds"] / found["seconds"])
    assert found["gpu_fused_seconds"] < found["gpu_busy_seconds"]
    assert found["seconds"] == max(found["memory_seconds"], found["chain_seconds"])
