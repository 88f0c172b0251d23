"""Damaged traces are refused with one line or read as exactly what they hold.

Bytes: the zip's checksums cover every member, so what is still read must equal the original in
metadata, masks and values. Structure: the archive is whole but what it says was changed; it must be
accepted if and only if it keeps the rules of the format's page, which ``format_rules`` checks by
other means, and must then be read as it says.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from format_rules import is_trace, operand_shapes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import cases, spoil, spoiled

import workloads
from workloads import (
    LayerShape,
    Operation,
    Step,
    TensorUse,
    Trace,
    TraceError,
    layer_from_arrays,
    matmul_from_arrays,
)

BYTE_CASES = cases(3_000)
STRUCTURE_CASES = cases(2_000)


def original(values: bool) -> Trace:
    generator = np.random.default_rng(0)
    shape = LayerShape(C=2, H=5, W=4, K=4, R=3, S=2, padding=(1, 0), stride=(2, 1), groups=2)

    def sparse(*size: int) -> np.ndarray:
        return (generator.integers(1, 9, size) * (generator.random(size) < 0.4)).astype(np.float32)

    layers = [
        layer_from_arrays(
            name,
            activation=sparse(2, 2, 5, 4),
            weight=sparse(4, 1, 3, 2),
            gradient=sparse(2, 4, shape.P, shape.Q),
            shape=shape,
            iteration=iteration,
            batch_size=5 if iteration == 4 else None,
        )
        for name, iteration in (("conv1", 3), ("conv2", 3), ("conv1", 4))
    ]
    layers[2] = replace(layers[2], post_phases=True)
    layers.append(
        matmul_from_arrays(
            "attn@1",
            left=sparse(2, 2, 5, 3),
            right=sparse(2, 2, 3, 4),
            gradient=sparse(2, 2, 5, 4),
            iteration=4,
            batch_size=5,
        )
    )
    return Trace(
        network="toy",
        batch_size=4,
        dataset="digits",
        epoch=1,
        iteration=3,
        reuse_sparsity=0.9,
        loss=1.25,
        seed=3,
        method="resprop",
        versions={"tool": "0.1"},
        layers=layers if values else layers[:1],
        step=step(shape) if values else None,
    )


def step(shape: LayerShape) -> Step:
    tensor = TensorUse(storage=0, shape=(4, 4), dtype="bfloat16", elements=16)
    return Step(
        network="toy",
        batch_size=4,
        input_shapes=((4, 2, 5, 4),),
        optimizer="sgd",
        operations=[
            Operation(phase="forward", kind="other", name="fill_", outputs=(tensor,)),
            Operation(
                phase="backward",
                kind="convolution",
                name="convolution_backward.dgrad",
                module="conv1",
                use=2,
                inputs=(tensor, tensor),
                layer=shape,
                macs=7,
                depends_on=(0,),
                attributes={"a": [1]},
                priced=False,
            ),
        ],
    )


def content(trace: Trace) -> list[Any]:
    """Everything that a trace holds, in comparable form."""
    found: list[Any] = [trace.metadata(), trace.step and tuple(trace.step.operations)]
    for layer in trace.layers:
        found.append(layer)
        values = {o: layer.values(o) for o in workloads.OPERANDS}
        found.append({o: None if v is None else (v.dtype, v.tobytes()) for o, v in values.items()})
    return found


def test_bytes(tmp_path: Path, fuzz: Any) -> None:
    run = fuzz("trace bytes", TraceError)
    path = tmp_path / "trace.npz"
    for values in (True, False):
        workloads.save(original(values), path, values=values)
        sound, bytes_ = content(workloads.validate(path)), path.read_bytes()
        generator = np.random.default_rng(1)
        for number in range(BYTE_CASES // 2):
            path.write_bytes(spoil(bytes_, generator))
            run(lambda: content(workloads.validate(path)) == sound, lambda n=number: n)  # noqa: B023


def document(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(bytes(arrays.pop("metadata"))), arrays


@st.composite
def spoiled_arrays(draw: st.DrawFn, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The members, one or none of them changed."""
    changed = dict(arrays)
    name = draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    match draw(st.integers(0, 9)):
        case 0:
            del changed[name]
        case 1:
            changed[draw(st.sampled_from(["extra", "a/b", name + ".npy"]))] = array
        case 2:
            changed[name] = array[:-1]
        case 3:
            changed[name] = np.concatenate([array, array[:1]])
        case 4:
            changed[name] = array.astype(draw(st.sampled_from(["int8", ">f4", "float64", "bool"])))
        case 5:
            changed[name] = array.copy()
            flat = changed[name].reshape(-1)
            flat[draw(st.integers(0, flat.size - 1))] += 1
        case 6 if array.ndim > 1:
            changed[name] = np.asfortranarray(array)
        case 7:
            changed[name] = array[None]
    return changed


def read_as_it_says(path: Path, metadata: Any, arrays: dict[str, np.ndarray]) -> bool:
    """Whether accepting it is right, and metadata, masks and values are those written."""
    trace = workloads.validate(path)
    if not is_trace(metadata, arrays):
        return False
    known = {"method": None} | metadata
    same = all(trace.metadata()[key] == known[key] for key in trace.metadata())
    same &= (trace.step is None) == (metadata.get("step") is None)
    if trace.step is not None:
        written = json.loads(bytes(arrays[metadata["step"]["member"]]))
        same &= [o.name for o in trace.step.operations] == [o["name"] for o in written]
        same &= [o.macs for o in trace.step.operations] == [o.get("macs", 0) for o in written]
    for layer, record in zip(trace.layers, metadata["layers"], strict=True):
        shapes = operand_shapes(record["shape"], record["samples"], record["kind"] == "matmul")
        assert shapes is not None
        for operand in workloads.OPERANDS:
            mask = layer.mask(operand)
            if operand in record["masks"]:
                size = shapes[operand]
                bits = np.unpackbits(arrays[record["masks"][operand]], count=int(np.prod(size)))
                # A weight mask without zeros is held as none.
                held = np.ones(size) if mask is None else mask.dense()
                same &= bool((held == bits.reshape(size)).all())
            else:
                same &= mask is None
            if operand in record["values"]:
                written = arrays[record["values"][operand]["member"]]
                same &= bool((layer.values(operand) == written).all())
    return same


def test_structure(tmp_path: Path, fuzz: Any) -> None:
    run = fuzz("trace structure", TraceError)
    path = tmp_path / "trace.npz"
    workloads.save(original(True), path, values=True)
    sound, sound_arrays = document(path)
    assert is_trace(sound, sound_arrays)

    @settings(
        max_examples=STRUCTURE_CASES,
        suppress_health_check=list(HealthCheck),
        phases=[p for p in settings().phases if p.name == "generate"],
    )
    @given(
        st.one_of(st.just(sound), spoiled(sound)),
        st.one_of(st.just(sound_arrays), spoiled_arrays(sound_arrays)),
    )
    def case(metadata: Any, arrays: dict[str, np.ndarray]) -> None:
        text = json.dumps(metadata).encode()
        with path.open("wb") as file:
            np.savez(file, metadata=np.frombuffer(text, np.uint8), **arrays)
        valid = is_trace(metadata, arrays)

        def accepted() -> bool:
            try:
                return read_as_it_says(path, metadata, arrays)
            except TraceError:
                assert not valid, "refused although it keeps the rules"
                raise

        run(accepted, lambda: metadata)

    case()


def test_operations_of_a_step(tmp_path: Path, fuzz: Any) -> None:
    run = fuzz("operations of a step", TraceError)
    path = tmp_path / "trace.npz"
    workloads.save(original(True), path, values=True)
    metadata, arrays = document(path)
    sound = json.loads(bytes(arrays["step"]))

    @settings(
        max_examples=STRUCTURE_CASES,
        suppress_health_check=list(HealthCheck),
        phases=[p for p in settings().phases if p.name == "generate"],
    )
    @given(spoiled(sound))
    def case(operations: Any) -> None:
        text = json.dumps(operations).encode()
        arrays["step"] = np.frombuffer(text, np.uint8)
        metadata["step"]["size_bytes"] = len(text)
        with path.open("wb") as file:
            said = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
            np.savez(file, metadata=said, **arrays)
        valid = is_trace(metadata, arrays)

        def accepted() -> bool:
            try:
                return read_as_it_says(path, metadata, arrays)
            except TraceError:
                assert not valid, "refused although it keeps the rules"
                raise

        run(accepted, lambda: operations)

    case()
