"""Steps in files of their own, those that ship, and steps put into traces."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from trace_cases import SMALL, STRIDED, make_layer, small_step

import workloads
from workloads import Operation, Phase, Step, Trace, TraceError
from workloads.networks import conv_layers
from workloads.step_file import known_steps, layer_operations

DATA = Path(workloads.__file__).parent / "data"


def test_a_saved_step_is_read_again(tmp_path: Path) -> None:
    workloads.save_step(small_step(), tmp_path / "step")
    assert workloads.load_step(tmp_path / "step") == small_step()
    first = (tmp_path / "step").read_bytes()
    workloads.save_step(small_step(), tmp_path / "step")
    assert (tmp_path / "step").read_bytes() == first
    (tmp_path / "plain").write_bytes(gzip.decompress(first))
    assert workloads.load_step(tmp_path / "plain") == small_step()


def document() -> dict[str, Any]:
    return {
        "format": "gscn-step", "schema_version": 1, "network": "toy", "batch_size": 1,
        "input_shapes": [[1]], "optimizer": "sgd", "synchronisations": 0, "left_out": {},
        "versions": {}, "operations": [{"phase": "forward", "kind": "other", "name": "fill_"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a step (JSON, or that gzipped): Expecting value"),
        (b"\xff\xfe", "expected a step (JSON, or that gzipped): "),
        (b"[" * 100_000, "expected a step (JSON, or that gzipped): "),
        (b"\x1f\x8bnonsense", "expected a step (JSON, or that gzipped): "),
        (gzip.compress(json.dumps(document()).encode())[:-20], "expected a step"),
        (gzip.compress(b" " * (1 << 26)), "expected a step of at most 33554432 bytes"),
        (b"[]", "expected an object with format 'gscn-step', got []"),
        (document() | {"schema_version": 2}, "schema_version must be 1, got 2"),
        (document() | {"extra": 1}, "step: unknown key 'extra'"),
        (document() | {"optimizer": ""}, "step: optimizer must be 1 to 200"),
        (document() | {"operations": []}, "operations: a step must have at least one operation"),
        (document() | {"operations": [{}]}, "operation 0: missing key 'kind'"),
    ],
)
def test_what_is_no_step_file(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "step"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(TraceError) as caught:
        workloads.load_step(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert str(caught.value).isprintable()


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="none: no such file"):
        workloads.load_step(tmp_path / "none")
    with pytest.raises(TraceError, match="cannot be read: is a folder, not a file"):
        workloads.load_step(tmp_path)
    with pytest.raises(TraceError, match="cannot write step: no such folder"):
        workloads.save_step(small_step(), tmp_path / "none" / "step")


@pytest.mark.parametrize("batch", [16, 128])
@pytest.mark.parametrize("name", ["resnet34", "resnet50", "vgg16"])
def test_shipped_steps_have_the_layers_of_their_networks(name: str, batch: int) -> None:
    step = workloads.known_step(name, batch)
    found = layer_operations(step, conv_layers(name, linear=True))
    first, *others = conv_layers(name)
    reused = {Phase.PRE_DGRAD, Phase.PRE_WGRAD}
    for layer, shape in (first, *others):
        phases = {Phase.FORWARD, Phase.DGRAD, Phase.WGRAD, *reused}
        if layer == first[0]:
            phases -= {Phase.DGRAD, Phase.PRE_DGRAD}
        assert set(found[layer]) == phases
        for phase, position in found[layer].items():
            operation = step.operations[position]
            samples = 1 if phase.is_pre_phase else batch
            assert operation.macs == samples * shape.dense_macs
            assert (operation.kind == "resprop") == phase.is_pre_phase
    assert step.unpriced == {}
    assert step.left_out == {}


def test_which_steps_ship() -> None:
    networks = ("mobilenet", "resnet34", "resnet50", "vgg16", "vgg16-bn", "vit-tiny")
    of_each = [(name, batch) for name in networks for batch in (16, 128)]
    assert known_steps() == sorted([*of_each, ("resnet8", 64)])
    with pytest.raises(TraceError, match="no step of network 'lenet' at batch 3 is known; there"):
        workloads.known_step("lenet", 3)


@pytest.mark.parametrize("name", ["resnet34_q10", "vgg16_q10"])
def test_a_trace_of_version_1_is_completed(name: str, tmp_path: Path) -> None:
    old = workloads.load(DATA / f"{name}.npz")
    step = workloads.known_step(old.network, old.batch_size)
    made = workloads.add_step(DATA / f"{name}.npz", step, tmp_path / "trace.npz")
    assert made.step == step
    assert dataclasses.replace(made, step=None).digest == old.digest
    assert made.digest != old.digest
    assert list(made.layers)[:3] == list(old.layers)[:3]


def trace_of(*layers: workloads.Layer) -> Trace:
    return Trace(network="toy", batch_size=4, layers=layers)


def test_a_step_takes_the_place_of_another_and_values_stay(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    layer = make_layer(SMALL, "conv1")
    workloads.save(trace_of(layer), path, values=True)
    workloads.add_step(path, small_step())
    other = dataclasses.replace(small_step(), optimizer="adam")
    made = workloads.add_step(path, other)
    assert made.step is not None
    assert made.step.optimizer == "adam"
    assert (made.layers[0].values("gradient") == layer.values("gradient")).all()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (make_layer(SMALL, "conv2"), "layer 'conv2' is not in the step of toy"),
        (make_layer(SMALL, "conv1#3"), "layer 'conv1#3' is not in the step of toy"),
        (make_layer(STRIDED, "conv1"), "layer 'conv1' must be LayerShape(C=2, H=5"),
    ],
)
def test_trace_and_step_must_be_of_the_same_network(
    layer: workloads.Layer, message: str, tmp_path: Path
) -> None:
    workloads.save(trace_of(layer), tmp_path / "trace.npz")
    before = (tmp_path / "trace.npz").read_bytes()
    with pytest.raises(TraceError) as caught:
        workloads.add_step(tmp_path / "trace.npz", small_step())
    assert message in str(caught.value)
    assert (tmp_path / "trace.npz").read_bytes() == before


def test_uses_of_a_layer_by_number() -> None:
    forward = small_step().operations[0]
    operations = [
        dataclasses.replace(forward, layer_phase=phase, use=use, layer=shape)
        for phase, use, shape in (
            (Phase.FORWARD, 1, SMALL),
            (Phase.FORWARD, 2, STRIDED),
            (Phase.WGRAD, 2, STRIDED),
            (Phase.WGRAD, 1, SMALL),
        )
    ]
    step = dataclasses.replace(small_step(), operations=operations)
    assert layer_operations(step, [("conv1", SMALL), ("conv1#2", STRIDED)]) == {
        "conv1": {Phase.FORWARD: 0, Phase.WGRAD: 3},
        "conv1#2": {Phase.FORWARD: 1, Phase.WGRAD: 2},
    }


def test_without_a_kind_what_waited_for_it_waits_for_what_it_waited_for() -> None:
    def of(kind: Any, *depends_on: int) -> Operation:
        return Operation(phase="backward", kind=kind, name="a", depends_on=depends_on)

    operations = [
        of("other"), of("resprop", 0), of("other"), of("resprop", 1, 2), of("addition", 3),
        of("resprop"), of("other", 5), of("other", 0, 4),
    ]  # fmt: skip
    step = dataclasses.replace(small_step(), operations=operations)
    kept = step.without("resprop").operations
    assert [o.depends_on for o in kept] == [(), (), (0, 1), (), (0, 2)]
    assert [o.kind for o in kept] == ["other", "other", "addition", "other", "other"]


def test_sums_by_class() -> None:
    assert [(r["phase"], r["kind"], r["operations"]) for r in small_step().by_class()] == [
        ("forward", "convolution", 1), ("forward", "activation", 1), ("backward", "other", 1),
    ]  # fmt: skip
    rows = small_step().by_class()
    assert sum(row["macs"] for row in rows) == small_step().macs
    assert isinstance(small_step(), Step)
