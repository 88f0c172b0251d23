"""What operations make the vector unit do, by hand, with each fusion and without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gscn_sim.config.sections import FusionConfig
from gscn_sim.fabric.vector import VectorWork
from gscn_sim.step.flow import Flow
from gscn_sim.step.rules import Context, optimizer_work, vector_work
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
        flow=Flow(operations), fusion=fusion, value_bytes=4, compressed={"conv": sizes}
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


def resprop_step() -> list[Operation]:
    """Batch-norm makes G; the delta, its compression, pre-terms, the sum of A, the next sample."""
    backward = {"phase": "backward"}
    one = {"samples": 1}
    return [
        operation(
            "normalisation", "native_batch_norm_backward", [feature_map(0), feature_map(1)],
            [feature_map(2)], **backward,
        ),
        operation("resprop", "sub", [feature_map(2), feature_map(3, **one)], [feature_map(4)],
                  **backward),
        operation("resprop", "hardshrink", [feature_map(4)], [feature_map(4)], **backward),
        operation("resprop", "add_", [feature_map(5), feature_map(6, **one)], [feature_map(5)],
                  **backward),
        operation("resprop", "sum", [feature_map(7)], [feature_map(8, **one)], **backward),
        operation("resprop", "clone", [feature_map(2, **one)], [feature_map(9, **one)],
                  **backward),
        operation("resprop", "ne", [numbers(10, 1)], [numbers(11, 1)], **backward),
    ]  # fmt: skip


def test_what_resprop_itself_costs() -> None:
    """Unfused: every pass over whole maps, and one to compress. Fused: the sample and the delta."""
    one, all_ = 4 * MAP // N, 4 * MAP
    unfused = works(resprop_step(), NONE, (0, 70))
    assert [(w.read_bytes, w.write_bytes) for w in unfused if w is not None] == [
        (4 * all_, all_),  # batch-norm: two passes over gradient and input
        (all_ + one, all_),
        (2 * all_, all_ + 70),
        (all_ + one, all_),
        (all_, one),
        (one, one),
    ]
    assert unfused[-1] is None  # a scalar
    fused = works(resprop_step(), FusionConfig(), (0, 70))
    assert [(w.read_bytes, w.write_bytes) for w in fused if w is not None] == [
        (4 * all_, all_ - (all_ - one)),  # of G only one sample is kept
        (one, 70),
        (0, 0),
        (one, 0),
        (0, one),
        (0, one),
    ]


def test_a_gradient_that_others_read_is_written() -> None:
    operations = resprop_step()
    operations.append(
        operation("other", "sum", [feature_map(2)], [numbers(12, C)], phase="backward")
    )
    fused = works(operations, FusionConfig(), (0, 70))[0]
    assert fused is not None
    assert fused.write_bytes == 4 * MAP


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
    context = Context(flow=Flow(operations), fusion=NONE, value_bytes=4, compressed={})
    assert optimizer_work(operations, context) == VectorWork(
        read_bytes=120, write_bytes=80, elements=20
    )


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
