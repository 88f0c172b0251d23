"""Remembered results: equal to fresh ones, shared between processes, never trusted when damaged."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import workloads
from gscn_sim.config import Config, load_config
from gscn_sim.config.fields import allowed_values
from gscn_sim.config.loader import flatten_config
from gscn_sim.errors import ConfigError
from gscn_sim.run.memo import Cache, open_cache, size_bytes
from gscn_sim.run.simulate import simulate

PHASES = ("dgrad", "wgrad", "pre_dgrad", "pre_wgrad")


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.result"))


def counted(calls: list[str], answer: object = 7):
    def compute() -> object:
        calls.append("run")
        return answer

    return compute


def test_memory_answers_the_second_time():
    cache, calls = Cache(), []
    assert [cache.get("key", counted(calls)) for _ in range(3)] == [7, 7, 7]
    assert cache.get("other", counted(calls, 8)) == 8
    assert len(calls) == 2
    assert (cache.hits, cache.misses) == (2, 2)


def test_memory_forgets_what_was_used_least_recently():
    cache, calls = Cache(memory_bytes=1000), []
    for key in "abacb":  # "b" has made room for "c"
        cache.get(key, counted(calls, np.zeros(400, np.uint8)))
    assert len(calls) == 4
    big = np.zeros(2000, np.uint8)
    assert cache.get("big", counted(calls, big)) is big
    assert cache.get("big", counted(calls, big)) is big
    assert len(calls) == 6


def test_the_folder_answers_another_cache(tmp_path):
    calls: list[str] = []
    value = {"counts": np.arange(9)}
    Cache(tmp_path).get_on_disk("d1", counted(calls, value))
    found = Cache(tmp_path).get_on_disk("d1", counted(calls, None))
    np.testing.assert_array_equal(found["counts"], value["counts"])
    assert len(calls) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_entry_is_worked_out_again_in_silence(tmp_path, capfd, damage):
    calls: list[str] = []
    values = np.random.default_rng(0).integers(0, 50, 5000)
    Cache(tmp_path).get_on_disk("d1", counted(calls, values))
    (entry,) = entries(tmp_path)
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(
        {
            "cut": bytes(content[: len(content) // 2]),
            "flipped": bytes(content),
            "empty": b"",
            "foreign": b"not what anybody wrote",
        }[damage]
    )
    for expected in (2, 2):  # and the entry is whole again
        found = Cache(tmp_path).get_on_disk("d1", counted(calls, values))
        np.testing.assert_array_equal(found, values)
        assert len(calls) == expected
    assert capfd.readouterr() == ("", "")


def test_the_folder_keeps_to_its_limit(tmp_path):
    value = np.random.default_rng(0).integers(0, 1 << 60, 20_000)  # does not compress
    cache = Cache(tmp_path, memory_bytes=0, disk_bytes=1_000_000)
    for number in range(30):
        cache.get_on_disk(f"d{number}", counted([], value))
    sizes = [path.stat().st_size for path in entries(tmp_path)]
    assert 0 < sum(sizes) <= 1_000_000 + max(sizes)


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    calls: list[str] = []
    cache = Cache(blocked / "cache")
    assert cache.get_on_disk("d1", counted(calls)) == 7
    assert cache.get_on_disk("d1", counted(calls)) == 7
    assert len(calls) == 1


def _fill(folder: str, start: int) -> None:
    cache = Cache(folder, memory_bytes=0, disk_bytes=300_000)
    for number in range(60):
        key = (start + number) % 30
        found = cache.get_on_disk(f"d{key}", lambda key=key: np.full(3000, key))
        assert (found == key).all()


def test_processes_share_a_folder_and_cut_it_back_at_the_same_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_fill, args=(str(tmp_path), start)) for start in (0, 15)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]


def test_where_the_folder_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for place, environment, expected in (
        (str(tmp_path / "named"), "elsewhere", tmp_path / "named"),
        (None, str(tmp_path / "environment"), tmp_path / "environment"),
        (None, "", tmp_path / "xdg" / "gscn-sim"),
        ("off", str(tmp_path / "environment"), None),
        (None, "off", None),
    ):
        monkeypatch.setenv("GSCN_SIM_CACHE", environment)
        before = len(list(tmp_path.rglob("*.result")))
        open_cache(place).get_on_disk(f"d{expected}", counted([]))
        assert len(entries(tmp_path)) == before + (expected is not None)
        if expected is not None:
            assert len(entries(expected)) == 1


def test_sizes():
    """Arrays at least, and all that is inside: of slotted dataclasses and of tuples too."""
    assert 85 <= size_bytes({"a": np.zeros(10), "b": [np.zeros(5, np.uint8)]}) <= 85 + 1000
    busy = tuple(range(1000, 1224))
    numbers = sum(map(sys.getsizeof, busy))
    assert size_bytes(busy) == sys.getsizeof(busy) + numbers
    config = load_config("scnn")
    parts = sum(size_bytes(getattr(config, field.name)) for field in dataclasses.fields(config))
    assert size_bytes(config) == sys.getsizeof(config) + parts > 1500


@pytest.fixture(scope="module")
def trace() -> workloads.Trace:
    rng = np.random.default_rng(3)

    def sparse(density: float, *shape: int) -> np.ndarray:
        return (rng.random(shape) < density).astype(np.float32)

    layers = [
        workloads.layer_from_arrays(
            name,
            activation=sparse(0.6, 2, 8, 8, 8),
            weight=sparse(weights, 16, 8, 3, 3),
            gradient=sparse(0.2, 2, 16, 8, 8),
            padding=(1, 1),
        )
        for name, weights in (("dense", 1.0), ("pruned", 0.5))
    ]
    return workloads.Trace(network="toy", batch_size=4, layers=layers)


SMALL = {"array.pe_rows": 2, "array.pe_cols": 2}
VARIATIONS = (
    {},
    {"array.clock_ghz": 0.7, "dram.preset": "hbm2", "buffer.size_bytes": 4096},
    {"pe.bank_queue_depth": 1},
    {"pe.accumulator_banks": 8},
    {"pe.bank_hash": "xor"},
    {"pe.index_bits": 2},
    {"pe.stationary_vector": 2},
    {"pe.streamed_vector": 2},
    {"pe.accumulator_entries": 256},
    {"policy.load_balance": "static"},
    {"policy.barrier": "input_channel"},
    {"dataflow.dgrad": "anticipated", "dataflow.wgrad": "anticipated"},
    {"dataflow.dgrad": "anticipated", "pe.anticipator_vectors": 1},
    {"dataflow.wgrad": "cartesian"},
    {"mapping.kind": "planar"},
)


def small(changes: dict[str, object]) -> Config:
    return load_config("gscn-ideal", {**SMALL, **changes})


def test_results_are_the_same_with_and_without(trace, tmp_path):
    """One cache over designs that differ in one key each: none may get another's costs."""
    cache = Cache(tmp_path)
    for changes in VARIATIONS:
        for batch in (4, 7):
            plain = simulate(trace, small(changes), PHASES, batch_size=batch)
            found = simulate(
                trace, small(changes), PHASES, batch_size=batch, cache=cache, workers=0
            )
            assert found.records == plain.records, changes


def another(key: str, value: object) -> object:
    """Another allowed value of a configuration key; numbers change by a factor that shows."""
    section, name = key.split(".")
    known = {f.name: f.metadata for f in dataclasses.fields(getattr(Config(), section))}[name]
    if "allowed" in known:
        return next(choice for choice in allowed_values(known) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(known["minimum"], value // 2) if value > 1 else value + 1
    return value * 0.75


def test_no_key_is_forgotten(trace, tmp_path):
    """One cache over designs each of which differs from the first in one key, for every key."""
    cache = Cache(tmp_path)
    base = small({"buffer.size_bytes": 8192, "network.operand_bytes_per_cycle": 16})
    flat = flatten_config(base)
    told_apart = set()
    first = simulate(trace, base, PHASES, workers=0, cache=cache)
    for key, value in flat.items():
        try:
            config = load_config("gscn-ideal", {**flat, key: another(key, value)})
            plain = simulate(trace, config, PHASES, workers=0)
        except ConfigError:  # the key does not go alone with the others
            continue
        found = simulate(trace, config, PHASES, workers=0, cache=cache)
        assert found.records == plain.records, key
        told_apart |= {key} if found.records != first.records else set()
    assert {"array.clock_ghz", "drain.overlap", "pe.bank_hash"} <= told_apart
    assert len(told_apart) > len(flat) // 2


def test_a_run_is_recalled_by_all_that_it_depends_on(trace, tmp_path):
    def run(changes=None, batch=4, phases=PHASES, **more):
        cache = Cache(tmp_path)  # nothing but the folder is shared
        design = small(changes or {})
        return simulate(
            trace, design, phases, batch_size=batch, workers=0, cache=cache, recall=True, **more
        )

    first, again = run(), run()
    assert (first.recalled, again.recalled) == (False, True)
    assert again == first
    assert again.table.equals(first.table)
    for changed in (
        run({"array.clock_ghz": 0.7}),
        run(batch=5),
        run(phases=PHASES[:2]),
        run(timeline=tmp_path / "t.json.gz"),
    ):
        assert not changed.recalled
    assert (tmp_path / "t.json.gz").exists()


def test_designs_that_differ_outside_the_kernels_share_their_costs(trace, tmp_path):
    cache = Cache(tmp_path)
    simulate(trace, small({}), PHASES, cache=cache)
    before = len(entries(tmp_path))
    other = {"array.clock_ghz": 1.0, "dram.channels": 4, "buffer.rounds_ahead": 2}
    again = Cache(tmp_path)
    simulate(trace, small(other), PHASES, cache=again, batch_size=4)
    assert len(entries(tmp_path)) == before > 0
    simulate(trace, small({"pe.bank_queue_depth": 0}), PHASES, cache=again)
    assert len(entries(tmp_path)) > before


def test_the_environment_of_the_tests_keeps_nothing_outside():
    assert os.environ["GSCN_SIM_CACHE"] == "off"
