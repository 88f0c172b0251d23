"""Traces: metadata, digest, saving and loading."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from trace_cases import SMALL, assert_same, make_layer, members_of, small_trace, traces

import workloads
from workloads import LayerShape, Mask, Trace, TraceError
from workloads.archive import Archive

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@in_one_folder
@given(trace=traces())
def test_round_trip_keeps_everything(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    workloads.save(trace, path, values=True)
    assert_same(workloads.load(path), trace)
    assert_same(workloads.validate(path), trace)
    first = path.read_bytes()
    workloads.save(workloads.load(path), path, values=True)  # onto itself
    assert path.read_bytes() == first
    workloads.save(trace, path)
    loaded = workloads.load(path)
    assert_same(loaded, trace, values=False)
    assert all(layer.values("gradient") is None for layer in loaded.layers)


def test_values_of_every_dtype_come_back_bit_by_bit(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    for dtype in workloads.layer.VALUE_DTYPES:
        weight = np.array([0, 1, 1, 0], dtype).reshape(1, 1, 2, 2)
        activation = np.array([0, 1, 77 if dtype != "bool" else 1, 0], dtype).reshape(1, 1, 2, 2)
        if np.dtype(dtype).kind == "f":
            weight[0, 0, 0, 0] = -0.0
            activation[0, 0, 0, 0] = np.nextafter(np.array(0, dtype), np.array(1, dtype))
        layer = workloads.layer_from_arrays("a", activation=activation, weight=weight)
        workloads.save(Trace(network="toy", batch_size=1, layers=[layer]), path, values=True)
        loaded = workloads.load(path).layers[0]
        for operand, given_values in (("activation", activation), ("weight", weight)):
            values = loaded.values(operand)
            assert values is not None
            assert values.dtype == dtype
            assert values.tobytes() == given_values.tobytes()


def test_a_path_is_used_as_given(tmp_path: Path) -> None:
    path = tmp_path / "trace without suffix"
    workloads.save(small_trace(), str(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert workloads.load(str(path)).digest == small_trace().digest


def test_plain_numpy_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    trace = small_trace()
    workloads.save(trace, path)
    metadata, arrays = members_of(path)
    assert (metadata["schema_version"], metadata["network"]) == (2, "toy")
    for layer, record in zip(trace.layers, metadata["layers"], strict=True):
        assert record["name"] == layer.name
        for operand, member in record["masks"].items():
            mask = layer.mask(operand)
            assert mask is not None
            bits = np.unpackbits(arrays[member], count=mask.size).reshape(mask.shape)
            np.testing.assert_array_equal(bits, mask.dense())


def test_the_same_trace_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys; from trace_cases import small_trace; import workloads;"
        "workloads.save(small_trace(), sys.argv[1], values=True); print(small_trace().digest)"
    )
    outputs = []
    for hash_seed in "12":
        path = tmp_path / hash_seed
        digest = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        outputs.append((digest.strip().decode(), path.read_bytes()))
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == small_trace().digest


def changed_layers(index: int, **changes: Any) -> Trace:
    trace = small_trace()
    layers = list(trace.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return dataclasses.replace(trace, layers=layers)


def test_digest_tells_contents_apart() -> None:
    trace = small_trace()
    gradient = trace.layers[1].gradient
    assert gradient is not None
    flipped = gradient.dense()
    flipped[0, 0, 0, 0] ^= True
    others = [
        dataclasses.replace(trace, network="other"),
        dataclasses.replace(trace, batch_size=5),
        dataclasses.replace(trace, loss=None),
        dataclasses.replace(trace, layers=trace.layers[:2]),
        dataclasses.replace(trace, layers=trace.layers[::-1]),
        changed_layers(1, name="conv3"),
        changed_layers(1, iteration=9),
        changed_layers(1, input_gradient=False),
        changed_layers(1, weight_gradient=True),
        changed_layers(1, batch_size=3),
        changed_layers(1, extra_phases=()),
        dataclasses.replace(trace, method=None),
        dataclasses.replace(trace, step=None),
        changed_layers(1, weight=None),
        changed_layers(1, gradient=Mask.from_array(flipped)),
    ]
    assert len({trace.digest, *(other.digest for other in others)}) == 1 + len(others)


def test_digest_ignores_stored_values() -> None:
    assert changed_layers(1, stored_values={}).digest == small_trace().digest


def test_a_loaded_trace_can_be_sent_to_another_process(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    workloads.save(small_trace(), path, values=True)
    assert_same(pickle.loads(pickle.dumps(workloads.load(path))), small_trace())


def test_relative_paths_survive_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workloads.save(small_trace(), "trace.npz")
    trace = workloads.load("trace.npz")
    monkeypatch.chdir("/")
    assert trace.digest == small_trace().digest


def test_loading_reads_no_layer_and_iterating_reads_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace.npz"
    workloads.save(small_trace(), path, values=True)
    read: list[str] = []
    original = Archive.read

    def counted(self: Archive, member: str, *args: Any) -> Any:
        read.append(member)
        return original(self, member, *args)

    monkeypatch.setattr(Archive, "read", counted)
    trace = workloads.load(path)
    assert len(trace.layers) == 3
    assert read == []
    layers = iter(trace.layers)
    next(layers)
    assert read == [f"00000.{o}" for o in ("activation", "gradient", "weight")]
    next(layers).values("gradient")
    assert read[3:] == [
        *(f"00001.{o}" for o in ("activation", "gradient", "weight")),
        "00001.gradient.values",
    ]
    read.clear()
    assert trace.layers[-1].gradient == small_trace().layers[2].gradient
    assert read == ["00002.gradient"]


def test_one_layer_in_memory_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    shape = LayerShape(C=16, H=512, W=1024, K=1, R=1, S=1)  # a packed activation takes 1 MiB
    mask = Mask(shape=(1, 16, 512, 1024), packed=np.full(1 << 20, 0x5A, np.uint8))
    with workloads.TraceWriter(path, network="big", batch_size=1) as writer:
        for index in range(12):
            writer.add(workloads.Layer(name=f"layer{index}", shape=shape, activation=mask))
    tracemalloc.start()
    try:
        count = sum(1 for layer in workloads.load(path).layers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 12
    assert 1 << 20 < peak < 5 << 20  # this layer, the one before it and buffers


def test_a_file_that_changed_after_loading_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    workloads.save(small_trace(), path, values=True)
    trace = workloads.load(path)
    layer = trace.layers[0]
    workloads.save(changed_layers(1, weight=None), path)
    for use in (
        lambda: list(trace.layers),
        lambda: trace.layers[0],
        lambda: layer.values("activation"),
        lambda: trace.step and trace.step.operations[0],
    ):
        with pytest.raises(TraceError, match="it has changed since"):
            use()
    path.unlink()
    with pytest.raises(TraceError, match="no such file"):
        list(trace.layers)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": ""}, "network must be 1 to 200 printable characters, got ''"),
        ({"network": "a\nb"}, r"network must be .* got 'a\\nb'"),
        ({"dataset": 3}, "dataset must be"),
        ({"batch_size": 0}, "batch_size must be an int from 1 to .* got 0"),
        ({"batch_size": 2.0}, "batch_size must be an int from 1 to .* got 2.0"),
        ({"batch_size": True}, "batch_size must be an int from 1 to .* got True"),
        ({"batch_size": 1}, "layer 'conv1': samples must be at most batch_size 1, got 2"),
        ({"epoch": -1}, "epoch must be an int from 0"),
        ({"seed": 1 << 63}, "seed must be an int from 0"),
        ({"reuse_sparsity": 90}, "reuse_sparsity must be a number from 0 to 1, got 90"),
        ({"reuse_sparsity_reached": -0.1}, "reuse_sparsity_reached must be a number from 0"),
        ({"loss": float("nan")}, "loss must be a finite number, got nan"),
        ({"loss": 10**400}, "loss must be a finite number, got 1000"),
        ({"loss": "low"}, "loss must be a finite number, got 'low'"),
        ({"versions": ["1"]}, "versions must map names to texts, got list"),
        ({"versions": {"a": 1}}, r"versions\['a'\] must be"),
        ({"versions": {1: "a"}}, "versions key must be"),
        ({"layers": []}, "at least one layer, got none"),
        ({"layers": [3]}, "layers must hold workloads.Layer, got int"),
        (
            {"layers": [make_layer(SMALL), make_layer(SMALL)]},
            r"layer 'conv' \(iteration 0\) must be there only once",
        ),
    ],
)
def test_what_is_no_trace(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(TraceError, match=message) as caught:
        dataclasses.replace(small_trace(), **changed)
    assert str(caught.value).isprintable()


def test_numbers_of_numpy_are_taken_and_become_plain() -> None:
    layer = make_layer(SMALL)
    trace = Trace(network="a", batch_size=np.int64(4), loss=np.float32(0.5), layers=[layer])
    plain = Trace(network="a", batch_size=4, loss=0.5, layers=[layer])
    assert type(trace.batch_size) is int
    assert type(trace.loss) is float
    assert trace.digest == plain.digest


def test_layers_of_one_name_may_come_from_several_iterations() -> None:
    layers = [make_layer(SMALL, iteration=i) for i in range(3)]
    assert len(Trace(network="a", batch_size=2, layers=(x for x in layers)).layers) == 3
