"""No damage of a trace file is believed: each byte that matters has a check."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import workloads
from workloads import TraceError

DAMAGES = int(os.environ.get("DAMAGES", "200"))


def test_no_damage_of_a_trace_is_believed(tmp_path: Path, survived) -> None:
    random = np.random.default_rng(7)
    layers = [
        workloads.layer_from_arrays(
            f"conv{i}",
            activation=random.integers(0, 2, (2, 3, 6, 6)).astype(np.float32),
            weight=random.integers(0, 2, (4, 3, 3, 3)).astype(np.float32),
            gradient=random.integers(0, 2, (2, 4, 4, 4)).astype(np.float32),
        )
        for i in range(3)
    ]
    path = tmp_path / "t.npz"
    trace = workloads.Trace(network="toy", batch_size=4, loss=0.5, layers=layers)
    workloads.save(trace, path, values=True)
    whole, digest = path.read_bytes(), trace.digest
    values = [layer.values("activation") for layer in workloads.load(path).layers]
    same = refused = 0
    for number in range(DAMAGES):
        damaged = bytearray(whole)
        start = int(random.integers(len(whole)))
        match number % 5:
            case 0 | 1:
                damaged[start] ^= 1 << int(random.integers(8))
            case 2:
                damaged[start : start + 8] = random.bytes(len(damaged[start : start + 8]))
            case 3:
                del damaged[start : start + 8]
            case 4:
                damaged[start : start + 64] = bytes(len(damaged[start : start + 64]))
        path.write_bytes(damaged)
        try:
            found = workloads.validate(path)
            assert found.digest == digest, number
            for layer, wanted in zip(found.layers, values, strict=True):
                np.testing.assert_array_equal(layer.values("activation"), wanted)
            same += 1
        except TraceError as error:
            line = str(error)
            assert line.isprintable()
            refused += 1
    survived("damage", "trace", refused=refused, in_bytes_that_say_nothing=same)
    assert refused > DAMAGES // 2
