"""Layers and files that the tests of the trace format share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import workloads
from workloads import (
    Layer,
    LayerShape,
    Operation,
    Phase,
    Step,
    TensorUse,
    Trace,
    TraceError,
    layer_from_arrays,
)
from workloads.layer import PRE_PHASES, operand_shape


def sparse(generator: np.random.Generator, shape: tuple[int, ...], density: float) -> np.ndarray:
    values = generator.integers(1, 100, shape) * generator.choice([-1, 1], shape)
    return (values * (generator.random(shape) < density)).astype(np.float32)


def make_layer(
    shape: LayerShape,
    name: str = "conv",
    *,
    samples: int = 2,
    density: float = 0.4,
    seed: int = 0,
    operands: tuple[str, ...] = workloads.OPERANDS,
    **more: Any,
) -> Layer:
    generator = np.random.default_rng(seed)
    arrays = {
        o: sparse(generator, operand_shape(shape, o, samples), density)
        for o in workloads.OPERANDS
        if o in operands
    }
    return layer_from_arrays(name, shape=shape, **arrays, **more)


SMALL = LayerShape(C=2, H=5, W=4, K=3, R=3, S=2, padding=(1, 0))
STRIDED = LayerShape(
    C=4, H=9, W=7, K=6, R=3, S=3, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2
)


def small_step() -> Step:
    def use(storage: int, *shape: int, dtype: str = "float32") -> TensorUse:
        return TensorUse(storage=storage, shape=shape, dtype=dtype, elements=math.prod(shape))

    image, weight, output = use(0, 4, 2, 5, 4), use(1, 3, 2, 3, 2), use(2, 4, 3, 5, 3)
    return Step(
        network="toy",
        batch_size=4,
        input_shapes=((4, 2, 5, 4),),
        optimizer="sgd",
        synchronisations=2,
        left_out={"rand": 1},
        versions={"resprop_train": "0.1"},
        operations=[
            Operation(
                phase="forward",
                kind="convolution",
                name="convolution",
                module="conv1",
                inputs=(image, weight),
                outputs=(output,),
                layer=SMALL,
                layer_phase=Phase.FORWARD,
                macs=4 * SMALL.dense_macs,
            ),
            Operation(phase="forward", kind="activation", name="relu", inputs=(output,),
                      outputs=(output,), depends_on=(0,)),
            Operation(phase="backward", kind="other", name="odd", module="conv1", use=2,
                      inputs=(output, use(3, 7, dtype="int64")), depends_on=(0, 1),
                      attributes={"window": [2, 2]}, priced=False),
        ],
    )  # fmt: skip


def small_trace() -> Trace:
    return Trace(
        network="toy",
        batch_size=4,
        dataset="digits",
        epoch=1,
        iteration=7,
        reuse_sparsity=0.9,
        reuse_sparsity_reached=0.85,
        loss=1.25,
        seed=3,
        method="resprop",
        versions={"resprop_train": "0.1"},
        layers=[
            make_layer(SMALL, "conv1", iteration=7, input_gradient=False),
            make_layer(STRIDED, "conv2", iteration=7, seed=1, weight_gradient=False),
            make_layer(
                SMALL,
                "conv1",
                iteration=8,
                seed=2,
                operands=("gradient",),
                batch_size=2,
                extra_phases=(Phase.PRE_DGRAD,),
                post_phases=True,
            ),
        ],
        step=small_step(),
    )


def assert_same(one: Trace, other: Trace, values: bool = True) -> None:
    assert one.metadata() == other.metadata()
    assert list(one.layers) == list(other.layers)
    assert one.step == other.step
    assert one.digest == other.digest
    if values:
        for a, b in zip(one.layers, other.layers, strict=True):
            for operand in workloads.OPERANDS:
                left, right = a.values(operand), b.values(operand)
                assert (left is None) == (right is None)
                if left is not None:
                    assert right is not None
                    assert left.dtype == right.dtype
                    np.testing.assert_array_equal(left, right)


def members_of(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a trace file with nothing but numpy and json."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(bytes(arrays.pop("metadata"))), arrays


def write_npz(path: Path, metadata: object, arrays: dict[str, np.ndarray]) -> None:
    """Write a trace file with nothing but numpy and json."""
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    with path.open("wb") as file:
        np.savez(file, metadata=np.frombuffer(text, np.uint8), **arrays)


def edited(path: Path, edit: Callable[[dict[str, Any], dict[str, np.ndarray]], object]) -> Path:
    """Return a copy of a trace file in which ``edit`` changed metadata or arrays."""
    metadata, arrays = members_of(path)
    edit(metadata, arrays)
    copy = path.with_name("edited.npz")
    write_npz(copy, metadata, arrays)
    return copy


def refused(path: Path) -> str:
    """Return the message with which a whole read of the file is refused."""
    with pytest.raises(TraceError) as caught:
        workloads.validate(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def read_if_sound(path: Path) -> Trace | None:
    """Return the whole trace, None if it is refused as it should be."""
    try:
        return workloads.validate(path)
    except TraceError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return None


@st.composite
def layer_shapes(draw: st.DrawFn) -> LayerShape:
    groups = draw(st.integers(1, 3))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding)]  # noqa: B905
    return LayerShape(
        C=groups * draw(st.integers(1, 3)),
        H=least[0] + draw(st.integers(0, 5)),
        W=least[1] + draw(st.integers(0, 5)),
        K=groups * draw(st.integers(1, 3)),
        R=kernel[0],
        S=kernel[1],
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@st.composite
def layers(draw: st.DrawFn, samples: int, name: str = "conv") -> Layer:
    operands = draw(
        st.sampled_from(
            [
                ("activation", "gradient", "weight"),
                ("activation", "gradient"),
                ("activation", "weight"),
                ("gradient",),
            ]
        )
    )
    extra = draw(st.sampled_from([(), (Phase.PRE_WGRAD,), PRE_PHASES]))
    return make_layer(
        draw(layer_shapes()),
        name,
        samples=samples,
        density=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        seed=draw(st.integers(0, 1000)),
        operands=operands,
        iteration=draw(st.integers(0, 3)),
        input_gradient=draw(st.booleans()),
        weight_gradient=draw(st.booleans()),
        batch_size=draw(st.none() | st.integers(samples, 5)),
        extra_phases=extra,
        post_phases=bool(extra) and draw(st.booleans()),
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    samples = draw(st.integers(1, 3))
    return Trace(
        network=draw(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)),
        batch_size=samples + draw(st.integers(0, 2)),
        loss=draw(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
        layers=[draw(layers(samples, f"layer{i}")) for i in range(draw(st.integers(1, 3)))],
        step=draw(st.sampled_from([None, small_step()])),
    )
