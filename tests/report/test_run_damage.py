"""A damaged document of a run is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gscn_sim.files import is_whole, sealed, write_json
from gscn_sim.report.sources import read_run
from workloads import GscnError

DAMAGES = int(os.environ.get("DAMAGES", "200"))
DOCUMENT = {
    "summary": {"phases": {"dgrad": {"speedup": 1.25, "cycles": 123456}}, "headline": "1.25x"},
    "layers": [{"layer": f"conv{i}", "cycles": 1000 + i, "speedup": None} for i in range(9)],
    "config": {"pe.accumulator_banks": 32, "name": "gscn"},
    "provenance": {"command": "gscn-sim run", "trace": {"digest": "00ff" * 16}},
}


def test_no_damage_of_a_run_is_believed(tmp_path: Path, survived) -> None:
    path = tmp_path / "run.json"
    write_json(path, sealed(DOCUMENT))
    whole = path.read_bytes()
    assert is_whole(json.loads(whole))
    assert is_whole(DOCUMENT)  # as version 0.1 wrote it
    random = np.random.default_rng(8)
    refused = same = 0
    for number in range(DAMAGES):
        damaged = bytearray(whole)
        start = int(random.integers(len(whole)))
        match number % 3:
            case 0:
                damaged[start] ^= 1 << int(random.integers(8))
            case 1:
                damaged[start : start + 4] = random.integers(48, 58, 4).astype(np.uint8).tobytes()
            case 2:
                del damaged[start : start + 9]
        path.write_bytes(damaged)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            keys_are_there = all(key in found for key in DOCUMENT)
        except ValueError:
            keys_are_there = False
        content = (
            {key: value for key, value in found.items() if key in DOCUMENT}
            if (keys_are_there)
            else None
        )
        if content == DOCUMENT:
            same += 1
            continue
        with pytest.raises(GscnError) as caught:
            read_run(path)
        assert str(caught.value).isprintable()
        refused += 1
    survived("damage", "document of a run", refused=refused, in_bytes_that_say_nothing=same)
    assert refused > DAMAGES // 2
