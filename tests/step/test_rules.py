"""What operations make the vector unit do, by hand, with each fusion and without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gscn_sim.config.sections import FusionConfig
from gscn_sim.fabric.jobs import VectorWork
from gscn_sim.step.flow import Flow
from gscn_sim.step.rules import Context, optimizer_work, resprop_work, vector_work
from workloads import Phase
from workloads.shape import LayerShape
from workloads.step import Operation, TensorUse

N, C, SIDE = 2, 3, 4
MAP = N * C * SIDE * SIDE  # 96 elements
SHAPE = LayerShape(C=C, H=SIDE, W=SIDE, K=C, R=1, S=1)
NONE = FusionConfig(
    delta=False, pre_terms=False, batch_sum=False, norm_statistics=False, activation=False,
    optimizer=False,
)  # fmt: skip


def feature_map(storage: int, samples: int = N, dtype: str = "float32") -> TensorUse:
    elements = samples * C * SIDE * SIDE
    return TensorUse(
        storage=storage, shape=(samples, C, SIDE, SIDE), dtype=dtype, elements=elements
    )


def numbers(storage: int, count: int) -> TensorUse:
    return TensorUse(storage=storage, shape=(count,), dtype="float32", elements=count)


def operation(
    kind: str, name: str, inputs: list[TensorUse], outputs: list[TensorUse], **more: object
) -> Operation:
    given = {"phase": "forward", "module": "conv", **more}
    return Operation(kind=kind, name=name, inputs=tuple(inputs), outputs=tuple(outputs), **given)  # type: ignore[arg-type]


def convolution(x: int, y: int) -> Operation:
    inputs = [feature_map(x), numbers(50, C * C)]
    return operation(
        "convolution", "convolution", inputs, [feature_map(y)], macs=N * SHAPE.dense_macs,
        layer=SHAPE, layer_phase=Phase.FORWARD,
    )  # fmt: skip


def works(
    operations: list[Operation], fusion: FusionConfig, sizes: tuple[int, int] = (0, 0)
) -> list[VectorWork | None]:
    context = Context(
        flow=Flow(operations),
        fusion=fusion,
        value_bytes=4,
        parameter_bytes=4,
        compressed={"conv": sizes},
    )
    return [None if o.macs else vector_work(i, o, context) for i, o in enumerate(operations)]


def test_batch_norm_forward() -> None:
    """Two passes over the input without, one with statistics from the drain; one over the output.

    12 bytes a channel are read for the scale and the shift.
    """
    operations = [
        convolution(0, 1),
        operation(
            "normalisation", "native_batch_norm", [feature_map(1), numbers(2, C)], [feature_map(3)]
        ),
    ]
    unfused = works(operations, NONE)[1]
    assert unfused == VectorWork(read_bytes=2 * 4 * MAP + 12, write_bytes=4 * MAP, elements=2 * MAP)
    fused = works(operations, replace(NONE, norm_statistics=True))[1]
    assert fused == VectorWork(read_bytes=4 * MAP + 12, write_bytes=4 * MAP, elements=MAP)
    # Nobody summed up what the vector unit itself wrote.
    operations[0] = operation("addition", "add", [feature_map(0)], [feature_map(1)])
    assert works(operations, replace(NONE, norm_statistics=True))[1] == unfused


def test_relu_forward_is_stored_compressed_too() -> None:
    """In a pass of its own, or in the one before; its reader's 40 compressed bytes beside it."""
    operations = [
        operation("addition", "add", [feature_map(0), feature_map(9)], [feature_map(1)]),
        operation("activation", "relu_", [feature_map(1)], [feature_map(1)]),
        convolution(1, 2),
    ]
    alone = works(operations, NONE, (40, 0))
    assert alone[0] == VectorWork(read_bytes=8 * MAP, write_bytes=4 * MAP, elements=MAP)
    assert alone[1] == VectorWork(read_bytes=4 * MAP, write_bytes=4 * MAP + 40, elements=MAP)
    assert works(operations, replace(NONE, activation=True), (40, 0))[1] == VectorWork(
        write_bytes=40
    )


def test_relu_backward_in_the_passes_of_batch_norm() -> None:
    """Two passes read a mask of a bit an element; if another reads the gradient it is written."""
    backward = {"phase": "backward"}
    operations = [
        operation(
            "activation", "threshold_backward", [feature_map(0), feature_map(1)], [feature_map(2)],
            **backward,
        ),
        operation(
            "normalisation", "native_batch_norm_backward", [feature_map(2), feature_map(3)],
            [feature_map(4)], **backward,
        ),
    ]  # fmt: skip
    fusion = replace(NONE, activation=True)
    assert works(operations, fusion)[0] == VectorWork(read_bytes=2 * MAP // 8)
    assert works(operations, fusion)[1] == VectorWork(
        read_bytes=4 * 4 * MAP, write_bytes=4 * MAP, elements=2 * MAP
    )
    apart = VectorWork(read_bytes=8 * MAP, write_bytes=4 * MAP, elements=MAP)
    assert works(operations, NONE)[0] == apart
    operations.append(
        operation("addition", "add", [feature_map(2), feature_map(5)], [feature_map(6)], **backward)
    )
    assert works(operations, fusion)[0] == apart


def backward_convolutions(*phases: Phase) -> list[Operation]:
    return [
        operation(
            "convolution", f"convolution_backward.{phase}", [feature_map(1)], [feature_map(2)],
            phase="backward", layer=SHAPE, layer_phase=phase,
            macs=(1 if phase.one_sample else N) * SHAPE.dense_macs,
        )
        for phase in phases
    ]  # fmt: skip


BOTH = (Phase.DGRAD, Phase.WGRAD)
PRE = (Phase.PRE_DGRAD, Phase.PRE_WGRAD)
ONE, ALL, WEIGHTS = 4 * MAP // N, 4 * MAP, 4 * C * C


def own_passes(fusion: FusionConfig, *phases: Phase) -> tuple[int, int]:
    operations = backward_convolutions(*phases)
    context = Context(
        flow=Flow(operations),
        fusion=fusion,
        value_bytes=4,
        parameter_bytes=4,
        compressed={"conv": (0, 70)},
    )
    own = resprop_work(operations, context)
    parts = (own.delta, own.batch_sum, own.pre_dgrad, own.pre_wgrad)
    return sum(part.read_bytes for part in parts), sum(part.write_bytes for part in parts)


def test_what_resprop_itself_costs() -> None:
    """Maps of A and G have 96 elements, a sample 48, the filters 9; the delta is 70 bytes.

    Apart: G three times and the sample, which is read once more to be kept, and the pre-terms; dA,
    dW and A each once.
    """
    assert own_passes(NONE, *BOTH, *PRE) == (
        3 * ALL + 2 * ONE + (ALL + ONE) + 2 * WEIGHTS + ALL,
        2 * ALL + 70 + ONE + ALL + WEIGHTS + ONE,
    )
    assert own_passes(FusionConfig(), *BOTH, *PRE) == (
        ONE + ONE + WEIGHTS,  # the reused sample and the pre-terms
        70 + ONE,  # the delta, the sum of A
    )


def test_each_fusion_saves_its_passes() -> None:
    everything = own_passes(NONE, *BOTH, *PRE)
    for name, saved in {
        "delta": (3 * ALL + ONE, 2 * ALL + ONE),
        "pre_terms": (ALL + WEIGHTS, ALL + WEIGHTS),
        "batch_sum": (ALL, 0),
    }.items():
        some = own_passes(replace(NONE, **{name: True}), *BOTH, *PRE)
        assert tuple(a - b for a, b in zip(everything, some, strict=True)) == saved, name


def test_a_method_without_reuse_has_no_sample_and_no_pre_terms() -> None:
    assert own_passes(FusionConfig(), *BOTH) == (0, 70)
    assert own_passes(NONE, *BOTH) == (3 * ALL, 2 * ALL + 70)
    assert own_passes(FusionConfig(), Phase.WGRAD, Phase.PRE_WGRAD) == (
        ONE + WEIGHTS,
        70 + ONE,
    )


def test_a_gradient_of_which_only_the_delta_is_used_is_not_written() -> None:
    """But for a sample; if a bias gradient needs it too it is."""
    backward = {"phase": "backward"}
    operations = [
        operation(
            "normalisation", "native_batch_norm_backward", [feature_map(0), feature_map(1)],
            [feature_map(2)], **backward,
        ),
        operation("resprop", "sub", [feature_map(2)], [feature_map(4)], **backward),
    ]  # fmt: skip
    made = works(operations, FusionConfig())[0]
    assert made is not None
    assert (made.read_bytes, made.write_bytes) == (4 * ALL, ONE)
    operations.append(operation("other", "sum", [feature_map(2)], [numbers(12, C)], **backward))
    made = works(operations, FusionConfig())[0]
    assert made is not None
    assert made.write_bytes == ALL


def test_the_optimizer_in_one_pass() -> None:
    """Momentum 0.9: m = 0.9 m; m = m + g; w = w - lr m, of 10 parameters.

    Apart they move 2 + 3 + 3 times 40 bytes; in one pass m, g and w are read, m and w written.
    """
    m, g, w = (numbers(i, 10) for i in range(3))
    operations = [
        operation("optimizer", "_foreach_mul_", [m], [m], phase="optimizer"),
        operation("optimizer", "_foreach_add_", [m, g], [m], phase="optimizer"),
        operation("optimizer", "_foreach_add_", [w, m], [w], phase="optimizer"),
    ]
    apart = works(operations, NONE)
    assert sum(x.read_bytes + x.write_bytes for x in apart if x is not None) == 8 * 40
    context = Context(
        flow=Flow(operations), fusion=NONE, value_bytes=4, parameter_bytes=4, compressed={}
    )
    assert optimizer_work(operations, context) == VectorWork(
        read_bytes=120, write_bytes=80, elements=20
    )


def test_master_parameters_beside_bfloat16_operands() -> None:
    """The gradient is read in 2 bytes, m and w are read and written in 4; w's copy takes 2 more.

    Apart: m twice, then m, g and m, then w, m, w and the copy.
    """
    x, y, m, g, w = (numbers(i, 10) for i in range(5))
    operations = [
        operation("matmul", "mm", [x, w], [y], macs=100),
        operation("matmul", "mm", [x, y], [g], phase="backward", macs=100),
        operation("optimizer", "_foreach_mul_", [m], [m], phase="optimizer"),
        operation("optimizer", "_foreach_add_", [m, g], [m], phase="optimizer"),
        operation("optimizer", "_foreach_add_", [w, m], [w], phase="optimizer"),
    ]
    context = Context(
        flow=Flow(operations), fusion=NONE, value_bytes=2, parameter_bytes=4, compressed={}
    )
    assert optimizer_work(operations[2:], context) == VectorWork(
        read_bytes=40 + 20 + 40, write_bytes=40 + 40 + 20, elements=20
    )
    apart = [vector_work(i, o, context) for i, o in enumerate(operations) if not o.macs]
    assert [(a.read_bytes, a.write_bytes) for a in apart if a is not None] == [
        (40, 40), (40 + 20, 40), (80, 40 + 20),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_element_types(dtype: str) -> None:
    """Floating tensors have the machine's width, others their own."""
    operations = [
        operation(
            "pooling", "max_pool2d_with_indices", [feature_map(0, dtype=dtype)],
            [feature_map(1, dtype=dtype), feature_map(2, dtype="int64")],
        )
    ]  # fmt: skip
    assert works(operations, NONE) == [
        VectorWork(read_bytes=4 * MAP, write_bytes=(4 + 8) * MAP, elements=MAP)
    ]
