"""A whole step of a small network against the run of its layers, and what is refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

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
ALONE = MACHINE | {"policy.overlap": False}


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
    return gscn_sim.simulate_step(trace, gscn_sim.load_config("gscn-ideal", MACHINE), gpu=None)


@pytest.fixture(scope="module")
def alone(trace: Trace) -> gscn_sim.StepRun:
    return gscn_sim.simulate_step(trace, gscn_sim.load_config("gscn-ideal", ALONE), gpu=None)


def test_layers_take_what_the_run_says(trace: Trace, alone: gscn_sim.StepRun) -> None:
    """The limit without overlap: each convolution as in the run of layers, to the cycle."""
    config = gscn_sim.load_config("gscn-ideal", MACHINE)
    run = gscn_sim.simulate(trace, config, PHASES, gpu=None)
    cycles = {record.phase.value: record.cycles for record in run.records}
    ours = {
        o.name: o.cycles for o in alone.sparse if o.kind == "convolution" and o.how == "simulated"
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


def test_nothing_is_dropped_in_silence(found: gscn_sim.StepRun, alone: gscn_sim.StepRun) -> None:
    assert len(found.sparse) == len(small_step().operations)
    scalar, matmul = found.left_out
    assert scalar.startswith("1 operations on single numbers")
    assert matmul.startswith("1 matrix products and convolutions without masks")
    assert "do not overlap" in alone.left_out[2]


@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("share", [True, False])
def test_never_slower_than_one_by_one_nor_faster_than_its_bounds(
    trace: Trace, alone: gscn_sim.StepRun, prefetch: bool, share: bool
) -> None:
    """But for 20 ns: what the write buffers still hold of all operations is written at the end."""
    config = gscn_sim.load_config("gscn-ideal", MACHINE).replace(
        policy={"prefetch": prefetch, "share_delta": share}
    )
    found = gscn_sim.simulate_step(trace, config, gpu=None)
    assert found.seconds("gscn") < alone.seconds("gscn")
    assert found.seconds("dense") <= alone.seconds("dense") + 20e-9
    for run in (found, alone):
        bounds = run.bounds_seconds
        assert set(bounds) == {"multipliers", "lanes", "memory", "critical path"}
        assert all(0 <= bound <= run.seconds("gscn") for bound in bounds.values())


def test_each_resource_adds_up_to_the_step(
    found: gscn_sim.StepRun, alone: gscn_sim.StepRun
) -> None:
    for run in (found, alone):
        table = run.resources.set_index("resource")
        assert list(table.index) == ["PE array", "vector unit", "memory", "network"]
        assert list(table) == ["busy_seconds", "stalled_seconds", "idle_seconds"]
        assert (table >= 0).to_numpy().all()
        assert table.sum(axis=1).to_numpy() == pytest.approx(run.seconds("gscn"))


def test_nothing_starts_before_what_it_depends_on_is_over(found: gscn_sim.StepRun) -> None:
    rows = found.operations[found.operations["machine"] == "gscn"].reset_index(drop=True)
    timed = [o.end_cycle > 0 for o in found.sparse]
    for i, operation in enumerate(found.sparse):
        for earlier in operation.depends_on:
            if timed[i] and timed[earlier]:
                assert rows["start_seconds"][i] >= rows["end_seconds"][earlier]
    forward, dgrad, wgrad = (o for o in found.sparse if o.how == "simulated")
    assert dgrad.start_cycle >= forward.end_cycle
    assert wgrad.start_cycle >= dgrad.end_cycle  # one array


def test_the_delta_is_read_once(trace: Trace, alone: gscn_sim.StepRun) -> None:
    """wgrad follows dgrad and finds the delta; it reads the activations only."""
    both = [
        gscn_sim.simulate_step(
            trace,
            gscn_sim.load_config("gscn-ideal", MACHINE | {"policy.share_delta": share}),
            gpu=None,
        )
        for share in (True, False)
    ]
    shared, apart = ([o.dram_bytes for o in run.sparse if o.how == "simulated"] for run in both)
    assert shared[:2] == apart[:2]
    assert shared[2] < apart[2]
    assert apart == [o.dram_bytes for o in alone.sparse if o.how == "simulated"]


def test_mean_of_iterations(trace: Trace) -> None:
    """Two recorded iterations: each is a step, and the result is their mean."""
    (first,) = trace.layers
    rng = np.random.default_rng(1)
    second = layer_from_arrays(
        "conv",
        activation=rng.random((N, 4, 6, 6)) < 0.9,
        gradient=rng.random((N, 4, 6, 6)) < 0.6,
        weight=np.ones((4, 4, 3, 3)),
        padding=(1, 1),
        iteration=1,
    )
    config = gscn_sim.load_config("gscn-ideal", MACHINE)
    one, two, both = (
        gscn_sim.simulate_step(replace(trace, layers=layers), config, gpu=None)
        for layers in ([first], [second], [first, second])
    )
    assert one.seconds("gscn") != two.seconds("gscn")
    mean = (one.seconds("gscn") + two.seconds("gscn")) / 2
    assert both.seconds("gscn") == pytest.approx(mean)
    assert both.resources.iloc[:, 1:].sum(axis=1).to_numpy() == pytest.approx(mean)


def test_the_dense_array_at_its_bound(alone: gscn_sim.StepRun) -> None:
    """A product a slot of 4 PEs x 16; the fully connected layer needs its bytes longer.

    It reads 2 x 144 + 1440 elements, 108 bursts, and writes 20, two bursts.
    """
    conv, _, fc, *_ = alone.dense
    assert conv.array_cycles == -(-N * SHAPE.dense_macs // 64)
    assert conv.cycles == conv.array_cycles
    assert fc.array_cycles == 2880 // 64
    assert fc.dram_bytes == 64 * (108 + 2)
    assert fc.cycles > fc.array_cycles


def test_fusions_never_cost(trace: Trace, found: gscn_sim.StepRun) -> None:
    off = dict.fromkeys(("delta", "pre_terms", "batch_sum", "norm_statistics", "activation"), False)
    config = gscn_sim.load_config(
        "gscn-ideal", MACHINE | {f"fusion.{name}": value for name, value in off.items()}
    )
    unfused = gscn_sim.simulate_step(trace, config, gpu=None)
    assert unfused.seconds("gscn") > found.seconds("gscn")


def test_a_step_of_other_layers_is_refused(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn-ideal", MACHINE)
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


def test_an_operation_without_a_rule_is_refused(trace: Trace) -> None:
    operations = list(small_step().operations)
    operations[1] = replace(operations[1], name="sort", priced=False)
    step = replace(small_step(), operations=operations)
    with pytest.raises(StepMismatchError, match=r"operation 1 \(sort of relu\): no rule tells"):
        gscn_sim.simulate_step(
            trace, gscn_sim.load_config("gscn-ideal", MACHINE), step=step, gpu=None
        )


def test_what_is_refused(trace: Trace) -> None:
    config = gscn_sim.load_config("gscn-ideal", MACHINE)
    with pytest.raises(TraceError, match="no step of network 'toy' at batch 2 is known"):
        gscn_sim.simulate_step(replace(trace, step=None), config, gpu=None)
    with pytest.raises(TraceError, match="the step of toy is of batch 2, not 3"):
        gscn_sim.simulate_step(trace, config, batch_size=3, gpu=None)
    with pytest.raises(ConfigError, match="deploy must be one of standalone, coprocessor"):
        gscn_sim.simulate_step(trace, config, gpu=None, deploy="cloud")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a co-processor needs a GPU"):
        gscn_sim.simulate_step(trace, config, gpu=None, deploy="coprocessor")


def test_timeline_of_a_step(trace: Trace, tmp_path: Path) -> None:
    """Operations by unit; bytes, busy PEs and the buffer as counters that add up."""
    path = tmp_path / "step.json"
    config = gscn_sim.load_config("gscn-ideal", MACHINE | {"array.clock_ghz": 1.0})
    found = gscn_sim.simulate_step(trace, config, gpu=None, timeline=path)
    events = json.loads(path.read_text())["traceEvents"]
    spans = {e["name"]: e["args"] for e in events if e["ph"] == "X" and "conv" in e["name"]}
    assert {name: (a["cycle"], a["cycle"] + a["cycles"]) for name, a in spans.items()} == {
        f"{o.name} {o.module}": (o.start_cycle, o.end_cycle)
        for o in found.sparse
        if o.how == "simulated"
    }
    counters: dict[str, list[tuple[float, float]]] = {}
    for e in events:
        if e["ph"] == "C":
            (value,) = e["args"].values()
            counters.setdefault(e["name"], []).append((e["ts"], value))

    def total(name: str) -> float:
        values = counters[name]
        return sum(v * (later - at) for (at, v), (later, _) in itertools.pairwise(values))

    moved = sum(o.dram_bytes for o in found.sparse)
    assert total("bytes a microsecond") == pytest.approx(moved, rel=0.001)
    peak = config.dram.peak_gbps * 1000
    assert max(v for _, v in counters["bytes a microsecond"]) <= 1.01 * peak
    busy_us = sum(o.array_cycles for o in found.sparse if o.how == "simulated") * 4 / 1000
    assert total("busy PEs") == pytest.approx(busy_us, rel=0.001)
    assert max(v for _, v in counters["busy PEs"]) <= 4
    assert 0 < max(v for _, v in counters["bytes in it"]) <= config.buffer.size_bytes
    assert counters["bytes in it"][-1][1] == 0
