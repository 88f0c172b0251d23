"""Steps: what is no step, and how one travels in a trace."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trace_cases import edited, members_of, refused, small_step, small_trace

import workloads
from workloads import Operation, Step, StepError, TensorUse
from workloads.archive import Archive


@pytest.fixture
def path(tmp_path: Path) -> Path:
    workloads.save(small_trace(), tmp_path / "trace.npz")
    return tmp_path / "trace.npz"


def test_bytes_are_those_of_the_elements_that_move() -> None:
    convolution, relu, odd = small_step().operations
    assert convolution.bytes_read == 4 * (4 * 2 * 5 * 4 + 3 * 2 * 3 * 2)
    assert convolution.bytes_written == relu.bytes_read == 4 * (4 * 3 * 5 * 3)
    assert odd.bytes_read == 4 * (4 * 3 * 5 * 3) + 8 * 7
    assert (odd.bytes_written, odd.elements) == (0, 4 * 3 * 5 * 3)
    broadcast = TensorUse(storage=0, shape=(8, 3), dtype="bfloat16", elements=3)
    assert broadcast.size_bytes == 6


def test_sums_over_a_step() -> None:
    step = small_step()
    assert step.macs == 4 * (3 * 2 * 3 * 2) * (5 * 3)
    assert step.unpriced == {"odd": 1}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": ""}, "network must be 1 to 200 printable characters, got ''"),
        ({"batch_size": 0}, "batch_size must be an int from 1, got 0"),
        ({"synchronisations": -1}, "synchronisations must be an int from 0, got -1"),
        ({"input_shapes": ((2, "a"),)}, "input_shapes must be an int from 0, got 'a'"),
        ({"left_out": {"a": 1.5}}, "left_out of a must be an int from 0, got 1.5"),
        ({"operations": []}, "a step must have at least one operation, got none"),
        ({"operations": [3]}, "operation 0 must be an Operation, got 3"),
    ],
)
def test_what_is_no_step(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(StepError, match=message):
        dataclasses.replace(small_step(), **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"phase": "sideways"},
            "phase must be one of forward, backward, optimizer, got 'sideways'",
        ),
        ({"kind": "magic"}, "kind must be one of convolution, matmul, .* got 'magic'"),
        ({"name": "a\nb"}, r"name must be .* got 'a\\nb'"),
        ({"use": 0}, "use must be an int from 1, got 0"),
        ({"macs": True}, "macs must be an int from 0, got True"),
        ({"priced": 1}, "priced must be True or False, got 1"),
        ({"layer": 3}, "layer must be a LayerShape or None, got 3"),
    ],
)
def test_what_is_no_operation(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(StepError, match=message):
        dataclasses.replace(small_step().operations[0], **changed)


@pytest.mark.parametrize("earlier", [0, 1, 5, -1, 0.5])
def test_operations_depend_on_earlier_ones_only(earlier: Any) -> None:
    operation = Operation(phase="forward", kind="other", name="a", depends_on=(earlier,))
    with pytest.raises(StepError, match=r"operation 0 \(a\): depends_on must hold earlier"):
        dataclasses.replace(small_step(), operations=[operation])


def test_operations_are_read_when_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = Archive.read

    def counted(self: Archive, member: str, *args: Any) -> Any:
        read.append(member)
        return original(self, member, *args)

    monkeypatch.setattr(Archive, "read", counted)
    step = workloads.load(path).step
    assert step is not None
    assert (step.network, step.batch_size, len(step.operations)) == ("toy", 4, 3)
    assert (step.input_shapes, step.left_out) == (((4, 2, 5, 4),), {"rand": 1})
    assert read == []
    assert step.operations[0].macs == small_step().macs
    assert step == small_step()
    assert read == ["step"]


def test_a_text_that_contradicts_the_metadata(path: Path) -> None:
    def text_of(operations: object, changed: dict[str, Any]) -> Any:
        def edit(metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
            text = operations if isinstance(operations, bytes) else json.dumps(operations).encode()
            arrays["step"] = np.frombuffer(text, np.uint8)
            metadata["step"] |= {"size_bytes": len(text)} | changed

        return edit

    where = "step, member 'step.npy': "
    _, arrays = members_of(path)
    sound = json.loads(bytes(arrays["step"]))
    for operations, changed, message in (
        (b"{", {}, where + "expected JSON text in UTF-8: "),
        (b'[{"a": NaN}]', {}, where + "expected JSON text in UTF-8: NaN is not a number"),
        ({}, {}, where + "operations must be a list, got {}"),
        ([3], {}, where + "operation 0 must be an object, got 3"),
        (sound[:2], {}, where + "expected 3 operations, got 2"),
        (sound, {"operations": 4}, where + "expected 4 operations, got 3"),
        (b" " * 9000, {"size_bytes": 9}, "expected an array of 9 bytes after its header"),
        (sound, {"size_bytes": 9}, where + "expected uint8 of shape (9,), got uint8 of shape"),
        (
            [sound[0], sound[1] | {"depends_on": [1]}, sound[2]],
            {},
            where + "operations: operation 1 (relu): depends_on must hold earlier operations",
        ),
        ([sound[0] | {"speed": 3}], {}, where + "operation 0: unknown key 'speed', must have "),
        ([sound[0] | {"inputs": [[0]]}], {}, where + "operation 0: inputs must hold lists of"),
        ([sound[0] | {"layer": {}}], {}, where + "operation 0: shape: missing key 'C'"),
        (
            [sound[0] | {"inputs": [[0, "quaternion", [1], 1]]}],
            {},
            where + "operation 0: inputs: dtype must be one of bfloat16, ",
        ),
    ):
        assert message in refused(edited(path, text_of(operations, changed)))


def test_a_step_member_of_other_content(path: Path) -> None:
    def edit(_: Any, arrays: dict[str, np.ndarray]) -> None:
        arrays["step"] = arrays["step"].view(np.int8)

    assert "expected uint8 of shape" in refused(edited(path, edit))
    missing = refused(edited(path, lambda _, arrays: arrays.pop("step")))
    assert missing == "member 'step.npy': expected, because the metadata names it, but missing"
    extra = refused(edited(path, lambda metadata, _: metadata.update(step=None)))
    assert extra == "member 'step.npy': not expected, the metadata does not name it"


def test_a_trace_takes_a_step_only() -> None:
    with pytest.raises(workloads.TraceError, match=r"step must be a workloads.Step, got int"):
        dataclasses.replace(small_trace(), step=3)
    assert isinstance(small_trace().step, Step)
