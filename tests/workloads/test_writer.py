"""Writing traces layer by layer."""

from __future__ import annotations

import dataclasses
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trace_cases import SMALL, assert_same, make_layer, small_step, small_trace

import workloads
from workloads import Trace, TraceError, TraceWriter


def listing(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_streamed_trace_is_the_saved_one(tmp_path: Path) -> None:
    trace = small_trace()
    workloads.save(trace, tmp_path / "saved", values=True)
    with TraceWriter(tmp_path / "streamed", values=True, **trace.metadata()) as writer:
        for layer in trace.layers:
            writer.add(layer)
            assert not (tmp_path / "streamed").exists()
        assert trace.step is not None
        writer.add_step(trace.step)
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "saved").read_bytes()


def test_metadata_can_be_completed_at_the_end(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "out", network="toy", batch_size=4, seed=1) as writer:
        writer.add(make_layer(SMALL))
        writer.update(loss=0.5, reuse_sparsity_reached=0.8)
    loaded = workloads.load(tmp_path / "out")
    expected = Trace(
        network="toy",
        batch_size=4,
        seed=1,
        loss=0.5,
        reuse_sparsity_reached=0.8,
        layers=[make_layer(SMALL)],
    )
    assert_same(loaded, expected, values=False)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, b"old"])
def test_an_exception_in_the_middle_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException], old: bytes | None
) -> None:
    if old is not None:
        (tmp_path / "out").write_bytes(old)
    before = listing(tmp_path)
    with (  # noqa: PT012
        pytest.raises(error),
        TraceWriter(tmp_path / "out", network="toy", batch_size=4) as writer,
    ):
        writer.add(make_layer(SMALL))
        raise error
    assert listing(tmp_path) == before


def test_an_exception_inside_a_member_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_bytes(b"old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", interrupted)
    with pytest.raises(KeyboardInterrupt):
        workloads.save(small_trace(), tmp_path / "out")
    assert listing(tmp_path) == {"out": b"old"}


def test_a_damaged_source_is_not_saved_over_anything(tmp_path: Path) -> None:
    source = tmp_path / "source"
    workloads.save(small_trace(), source)
    trace = workloads.load(source)
    damaged = bytearray(source.read_bytes())
    where = damaged.index(b"00002.gradient.npy") + 60
    damaged[where] ^= 0xFF
    source.write_bytes(damaged)
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(TraceError, match=r"00002\.gradient"):
        workloads.save(trace, tmp_path / "out")
    assert listing(tmp_path)["out"] == b"old"
    assert len(listing(tmp_path)) == 2


@pytest.mark.parametrize("limit_bytes", [10, 1_000, 3_000])
def test_a_full_disk_is_one_line(tmp_path: Path, limit_bytes: int) -> None:
    (tmp_path / "out").write_bytes(b"old")
    layers = [make_layer(SMALL, f"layer{i}") for i in range(20)]
    trace = Trace(network="toy", batch_size=2, layers=layers)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limits[1]))
    try:
        with pytest.raises(TraceError, match="out: cannot write trace: File too large"):
            workloads.save(trace, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert listing(tmp_path) == {"out": b"old"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".", "not a regular file"),
        ("missing/out", "no such folder"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(TraceError, match=f"cannot write trace: .*{reason}") as caught:
        workloads.save(small_trace(), f"{tmp_path}/{name}")
    assert str(caught.value).isprintable()
    assert listing(tmp_path) == {}


def test_a_layer_that_was_refused_spoils_the_file(tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(TraceError, match="out: not written, because adding a layer failed"),
        TraceWriter(tmp_path / "out", network="toy", batch_size=4) as writer,
    ):
        writer.add(make_layer(SMALL))
        with pytest.raises(TraceError, match=r"out: layer 'conv' .* only once"):
            writer.add(make_layer(SMALL))
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 0}, "batch_size must be"),
        ({"loss": float("inf")}, "loss must be a finite number"),
        ({"layers": 3}, "unknown metadata 'layers', must be one of batch_size, dataset"),
    ],
)
def test_bad_metadata_is_refused_at_once(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(TraceError, match=message):
        TraceWriter(tmp_path / "out", **{"network": "toy", "batch_size": 4, **changed})
    with (
        pytest.raises(TraceError, match=message),
        TraceWriter(tmp_path / "out", network="toy", batch_size=4) as writer,
    ):
        writer.update(**changed)
    assert listing(tmp_path) == {}


def test_a_batch_made_smaller_than_its_samples_is_refused(tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(TraceError, match="out: layer 'conv': samples must be at most batch_size 1"),
        TraceWriter(tmp_path / "out", network="toy", batch_size=4) as writer,
    ):
        writer.add(make_layer(SMALL))
        writer.update(batch_size=1)
    assert listing(tmp_path) == {}


def test_a_trace_without_layers_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(TraceError, match="out: a trace must have at least one layer, got none"),
        TraceWriter(tmp_path / "out", network="toy", batch_size=4),
    ):
        pass
    assert listing(tmp_path) == {}


def test_a_second_step_is_refused(tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(TraceError, match="out: not written, because adding"),
        TraceWriter(tmp_path / "out", network="toy", batch_size=4) as writer,
    ):
        writer.add(make_layer(SMALL))
        writer.add_step(small_step())
        with pytest.raises(TraceError, match="out: a trace must have at most one step"):
            writer.add_step(small_step())
    assert listing(tmp_path) == {}


def test_a_step_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads.writer, "MAX_STEP_BYTES", 100)
    with pytest.raises(TraceError, match="operations of a step must take at most 100 bytes, got"):
        workloads.save(small_trace(), tmp_path / "out")
    assert listing(tmp_path) == {}


def test_layers_are_added_inside_the_block_only(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "out", network="toy", batch_size=4)
    with pytest.raises(TraceError, match="inside the with block"):
        writer.add(make_layer(SMALL))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "layer 'conv' must hold values to be saved with values"),
        ({"gradient": np.ones((2, 3, 5, 3))}, "gradient: expected values that are zero exactly"),
        ({"gradient": np.ones((2, 3, 5))}, r"gradient: expected values of shape \(2, 3, 5, 3\)"),
        ({"gradient": np.full((2, 3, 5, 3), np.nan)}, "gradient: expected finite values"),
        ({"gradient": np.ones((2, 3, 5, 3), complex)}, "gradient: expected values .* got complex"),
    ],
)
def test_values_that_are_not_those_of_the_masks(
    tmp_path: Path, values: dict[Any, np.ndarray], message: str
) -> None:
    layer = dataclasses.replace(make_layer(SMALL), stored_values=values)
    with pytest.raises(TraceError, match=message):
        workloads.save(
            Trace(network="a", batch_size=2, layers=[layer]), tmp_path / "o", values=True
        )
    assert listing(tmp_path) == {}


def test_more_metadata_than_a_reader_takes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads.writer, "MAX_METADATA_BYTES", 100)
    with pytest.raises(TraceError, match=r"metadata must take at most 100 bytes, got .* 3 layers"):
        workloads.save(small_trace(), tmp_path / "out")
    assert listing(tmp_path) == {}
