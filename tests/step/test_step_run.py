"""A whole step of a small network against the run of its layers, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gscn_sim
from gscn_sim.errors import ConfigError, StepMismatchError
from workloads import LayerShape, Phase, Trace, TraceError, layer_from_arrays
from workloads.step import Operation, Step, TensorUse

N = 2
SHAPE = LayerShape(C=4, H=6, W=6, K=4, R=3, S=3, padding=(1, 1))
PHASES = ("forward", "dgrad", "wgrad")
MACHINE = {"array.pe_rows": 2, "array.pe_cols": 2}


def tensor(storage: int, *shape: int) -> TensorUse:
    return TensorUse(storage=storage, shape=shape, dtype="float32", elements=int(np.prod(shape)))


def small_step() -> Step:
    """conv, ReLU; backward ReLU, dgrad, wgrad; a fully connected layer that no trace knows."""
    x, y, w = tensor(0, N, 4, 6, 6), tensor(1, N, 4, 6, 6), tensor(2, 4, 4, 3, 3)
    macs = N * SHAPE.dense_macs
    conv = {"kind": "convolution", "module": "conv", "layer": SHAPE, "macs": macs}
    g, dx, dw = tensor(5, N, 4, 6, 6), tensor(6, N, 4, 6, 6), tensor(7, 4, 4, 3, 3)
    operations = [
        Operation(phase="forward", name="convolution", inputs=(x, w), outputs=(y,),
                  layer_phase=Phase.FORWARD, **conv),
        Operation(phase="forward", kind="activation", name="relu_", module="relu", inputs=(y,),
                  outputs=(y,), depends_on=(0,)),
        Operation(phase="forward", kind="matmul", name="addmm", module="fc", macs=N * 144 * 10,
                  inputs=(y, tensor(3, 144, 10)), outputs=(tensor(4, N, 10),), depends_on=(1,)),
        Operation(phase="backward", name="convolution_backward.dgrad", inputs=(g, w),
                  outputs=(dx,), layer_phase=Phase.DGRAD, depends_on=(2,), **conv),
        Operation(phase="backward", name="convolution_backward.wgrad", inputs=(g, x),
                  outputs=(dw,), layer_phase=Phase.WGRAD, depends_on=(2,), **conv),
        Operation(phase="backward", kind="other", name="ne", inputs=(tensor(8),),
                  outputs=(tensor(9),)),
    ]  # fmt: skip
    return Step(
        network="toy", batch_size=N, input_shapes=((N, 4, 6, 6),), optimizer="sgd",
        operations=operations,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trace() -> Trace:
    rng = np.random.default_rng(0)
    layer = layer_from_arrays(
        "conv",
        activation=rng.random((N, 4, 6, 6)) < 0.5,
        gradient=rng.random((N, 4, 6, 6)) < 0.2,
        weight=np.ones((4, 4, 3, 3)),
        padding=(1, 1),
    )
    return Trace(network="toy", batch_size=N, layers=[layer], step=small_step())


@pytest.fixture(scope="module")
def found(trace: Trace) -> gscn_sim.StepRun:
    return gscn_sim.simulate_step(trace, gscn_sim.load_config("gscn", MACHINE), gpu=None)


def test_layers_take_what_the_run_says(trace: Trace, found: gscn_sim.StepRun) -> None:
    """The limit without overlap: each convolution as in the run of layers, to the cycle."""
    config = gscn_sim.load_config("gscn", MACHINE)
    run = gscn_sim.simulate(trace, config, PHASES, gpu=None)
    cycles = {record.phase.value: record.cycles for record in run.records}
    ours = {
        o.name: o.cycles for o in found.sparse if o.kind == "convolution" and o.how == "simulated"
    }
    assert ours == {
        "convolution": cycles["forward"],
        "convolution_backward.dgrad": cycles["dgrad"],
        "convolution_backward.wgrad": cycles["wgrad"],
    }


def test_tables_add_up(found: gscn_sim.StepRun) -> None:
    clock_hz = found.config.array.clock_ghz * 1e9
    for machine, operations in (("gscn", found.sparse), ("dense", found.dense)):
        total = sum(o.cycles for o in operations) / clock_hz
        rows = found.table[found.table["machine"] == machine]
        assert rows["seconds"].sum() == pytest.approx(total)
        assert found.seconds(machine) == pytest.approx(total)
    columns = ["machine", "phase", "kind", "seconds", "energy_j", "limited_by"]
    assert list(found.table) == columns
    ratio = found.seconds("dense") / found.seconds("gscn")
    assert found.speedup == {"over_dense": pytest.approx(ratio)}


def test_nothing_is_dropped_in_silence(found: gscn_sim.StepRun) -> None:
    assert len(found.sparse) == len(small_step().operations)
    scalar, matmul, overlap = found.left_out
    assert scalar.startswith("1 operations on single numbers")
    assert matmul.startswith("1 matrix products and convolutions without masks")
    assert "do not overlap" in overlap


def test_bounds_hold(found: gscn_sim.StepRun) -> None:
    """The sequential step is no faster than any resource or than the longest chain."""
    assert all(0 <= bound <= found.seconds("gscn") for bound in found.bounds_seconds.values())
    cycles = [o.cycles for o in found.sparse]
    chain = cycles[0] + cycles[1] + cycles[2] + max(cycles[3], cycles[4])
    clock_hz = found.config.array.clock_ghz * 1e9
    assert found.bounds_seconds["critical path"] == pytest.approx(chain / clock_hz)


def test_the_dense_array_at_its_bound(found: gscn_sim.StepRun) -> None:
    """A product a slot of 4 PEs x 16; the fully connected layer needs its bytes longer."""
    conv, _, fc, *_ = found.dense
    assert conv.array_cycles == -(-N * SHAPE.dense_macs // 64)
    assert conv.cycles == conv.array_cycles
    assert fc.array_cycles == 2880 // 64
    assert fc.dram_bytes == 4 * (N * 144 + 1440 + N * 10)


def test_fusions_never_cost(trace: Trace, found: gscn_sim.StepRun) -> None:
    off = dict.fromkeys(("delta", "pre_terms", "batch_sum", "norm_statistics", "activation"), False)
    config = gscn_sim.load_config(
        "gscn", MACHINE | {f"fusion.{name}": value for name, value in off.items()}
    )
    unfused = gscn_sim.simulate_step(trace, config, gpu=None)
    assert unfused.seconds("gscn") > found.seconds("gscn")


def test_a_step_of_other_layers_is_refused(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn", MACHINE)
    operations = small_step().operations
    other = replace(small_step(), operations=[replace(o, module="x") for o in operations])
    with pytest.raises(StepMismatchError, match="layer conv: the step has no forward of it"):
        gscn_sim.simulate_step(trace, config, step=other, gpu=None)
    wide = replace(SHAPE, C=8)
    changed = [replace(o, layer=wide) if o.layer else o for o in operations]
    with pytest.raises(StepMismatchError, match=r"layer conv, forward: .* in the trace"):
        gscn_sim.simulate_step(
            trace, config, step=replace(small_step(), operations=changed), gpu=None
        )


def test_what_is_refused(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn", MACHINE)
    with pytest.raises(TraceError, match="no step of network 'toy' at batch 2 is known"):
        gscn_sim.simulate_step(replace(trace, step=None), config, gpu=None)
    with pytest.raises(TraceError, match="the step of toy is of batch 2, not 3"):
        gscn_sim.simulate_step(trace, config, batch_size=3, gpu=None)
    with pytest.raises(ConfigError, match="deploy must be one of standalone, coprocessor"):
        gscn_sim.simulate_step(trace, config, gpu=None, deploy="cloud")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a co-processor needs a GPU"):
        gscn_sim.simulate_step(trace, config, gpu=None, deploy="coprocessor")
