"""Files of version 1: read as before, with what they do not say as the format's page defines it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trace_cases import assert_same, edited, members_of, refused, small_trace

import workloads
from workloads import Trace
from workloads.layer import PRE_PHASES

DATA = Path(workloads.__file__).parent / "data"


def said_by_version_1() -> Trace:
    """A trace that version 1 can hold."""
    trace = small_trace()
    layers = [
        dataclasses.replace(
            layer,
            weight_gradient=True,
            batch_size=None,
            extra_phases=PRE_PHASES,
            post_phases=False,
        )
        for layer in trace.layers
    ]
    return dataclasses.replace(trace, method=None, step=None, layers=layers)


def to_version_1(metadata: dict[str, Any], _: dict[str, np.ndarray]) -> None:
    metadata["schema_version"] = 1
    del metadata["method"], metadata["step"]
    for record in metadata["layers"]:
        for key in ("kind", "weight_gradient", "batch_size", "extra_phases"):
            del record[key]


def test_a_file_of_version_1_is_read_and_written_as_version_2(tmp_path: Path) -> None:
    trace = said_by_version_1()
    workloads.save(trace, tmp_path / "trace.npz", values=True)
    old = edited(tmp_path / "trace.npz", to_version_1)
    loaded = workloads.validate(old)
    assert_same(loaded, trace)
    assert [layer.phases() for layer in loaded.layers] == [
        ("forward", "wgrad", "pre_wgrad"),
        ("forward", "dgrad", "wgrad", "pre_dgrad", "pre_wgrad"),
        ("dgrad", "pre_dgrad"),
    ]
    workloads.save(loaded, old)
    assert members_of(old)[0]["schema_version"] == 2
    assert_same(workloads.validate(old), trace, values=False)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("resnet8_digits", "b2ff3208ff84da115fba5f75fea6e8d06700c0582b5c52790b177344568008bc"),
        ("resnet20", "ca15cfefc8d4d5431dc8139861804b2171450a6e63576a3ee2553fc3aa365214"),
    ],
)
def test_digests_are_those_that_version_1_gave(name: str, digest: str) -> None:
    assert workloads.load(DATA / f"{name}.npz").digest == digest


def test_what_each_version_does_not_have_is_refused(tmp_path: Path) -> None:
    workloads.save(said_by_version_1(), tmp_path / "trace.npz")
    for where, key, value in (
        ("metadata", "method", None),
        ("metadata", "step", None),
        ("layers", "weight_gradient", True),
    ):

        def edit(
            metadata: dict[str, Any],
            arrays: dict[str, np.ndarray],
            where: str = where,
            key: str = key,
            value: Any = value,
        ) -> None:
            to_version_1(metadata, arrays)
            (metadata if where == "metadata" else metadata["layers"][1])[key] = value

        assert f"unknown key {key!r}, must have" in refused(edited(tmp_path / "trace.npz", edit))
    lacking = edited(tmp_path / "trace.npz", lambda metadata, _: metadata.pop("step"))
    assert "metadata: missing key 'step'" in refused(lacking)
