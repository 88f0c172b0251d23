"""The timeline: what the file holds, its structure, and that it stays small."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gscn_sim.results.timeline import MAX_LANES, Timeline
from workloads.errors import GscnError


def recorder(**options: Any) -> Timeline:
    return Timeline(**{"clock_ghz": 2.0, "num_pes": 8, **options})


def spans(timeline: Timeline) -> list[dict[str, Any]]:
    return [event for event in timeline.document()["traceEvents"] if event["ph"] == "X"]


def check_structure(timeline: Timeline) -> None:
    """What a viewer needs: named processes and threads, ordered and disjoint spans of a thread."""
    events = timeline.document()["traceEvents"]
    names = {
        (e["name"], e["pid"], e["tid"]): e["args"]["name"]
        for e in events
        if e["name"] in ("process_name", "thread_name")
    }
    threads: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        assert event["ph"] in "MXC"
        assert ("process_name", event["pid"], 0) in names
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append(event)
    for (process, thread), of_thread in threads.items():
        assert ("thread_name", process, thread) in names
        for before, after in pairwise(of_thread):
            # In whole ns, as a viewer stores them.
            assert round(1e3 * before["ts"]) + round(1e3 * before["dur"]) <= round(
                1e3 * after["ts"]
            )
            assert before["args"]["cycle"] + before["args"]["cycles"] <= after["args"]["cycle"]
    threads_with_name = [key for key in names if key[0] == "thread_name"]
    assert len({key[2] for key in threads_with_name}) == len(threads_with_name)


def test_events_by_hand() -> None:
    timeline = recorder()
    timeline.span("pe/0,0", "multiply", 0, 100, layer="conv1")
    timeline.span("pe/0,0", "bank conflict", 100, 150)
    timeline.span("drain", "drain", 200, 300)
    timeline.counter("dram/channel 0", "GB/s", 40, 7.5)
    assert timeline.document()["traceEvents"] == [
        *(
            {"ph": "M", "name": f"process_{name}", "pid": number, "tid": 0, "args": arguments}
            for number, group in enumerate(("dram", "pe", "drain"), start=1)
            for name, arguments in (
                ("name", {"name": group}),
                ("sort_index", {"sort_index": number}),
            )
        ),
        {"ph": "M", "name": "thread_name", "pid": 2, "tid": 1, "args": {"name": "0,0"}},
        {
            "ph": "X",
            "name": "multiply",
            "pid": 2,
            "tid": 1,
            "ts": 0.0,
            "dur": 0.05,
            "args": {"cycle": 0, "cycles": 100, "layer": "conv1"},
        },
        {
            "ph": "X",
            "name": "bank conflict",
            "pid": 2,
            "tid": 1,
            "ts": 0.05,
            "dur": 0.025,
            "args": {"cycle": 100, "cycles": 50},
        },
        {"ph": "M", "name": "thread_name", "pid": 3, "tid": 2, "args": {"name": "drain"}},
        {
            "ph": "X",
            "name": "drain",
            "pid": 3,
            "tid": 2,
            "ts": 0.1,
            "dur": 0.05,
            "args": {"cycle": 200, "cycles": 100},
        },
        {
            "ph": "C",
            "name": "channel 0 GB/s",
            "pid": 1,
            "ts": 0.02,
            "args": {"GB/s": 7.5},
        },
    ]
    check_structure(timeline)


def counter_values(timeline: Timeline, name: str) -> list[float]:
    events = timeline.document()["traceEvents"]
    return [event["args"][name] for event in events if event["ph"] == "C"]


def test_groups_stand_in_the_order_of_the_data() -> None:
    timeline = recorder()
    for track in ("zebra", "drain/a", "pe/0", "network", "dram/channel 0", "layer/phase", "buffer"):
        timeline.span(track, "x", 0, 1)
    events = timeline.document()["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    order = {e["pid"]: e["args"]["sort_index"] for e in events if e["name"] == "process_sort_index"}
    assert [names[pid] for pid in sorted(names, key=order.__getitem__)] == [
        *("layer", "dram", "buffer", "network", "pe", "drain", "zebra"),
    ]


def test_counters_of_bandwidth_and_busy_pes_by_hand() -> None:
    """Two channels: one busy for 1000 cycles of 2000, the other for the last 500."""
    timeline = recorder()
    timeline.span("dram/channel 0", "read", 0, 1000)
    timeline.span("dram/channel 1", "write", 1500, 2000)
    values = counter_values(timeline, "bandwidth, % of peak")
    assert values == [50.0] * 500 + [0.0] * 250 + [50.0] * 250 + [0.0]
    timeline = recorder()
    timeline.span("pe/0", "compute", 0, 3)
    timeline.span("pe/0", "operand wait", 3, 8)
    timeline.span("pe/1", "compute", 2, 4)
    assert counter_values(timeline, "computing, % of the PEs shown") == [50, 50, 100, 50, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 900)), min_size=1, max_size=40))
def test_the_area_under_a_counter_is_the_busy_time(pieces: list[tuple[int, int]]) -> None:
    timeline = recorder()
    for channel, (start, length) in enumerate(pieces):
        timeline.span(f"dram/channel {channel}", "read", start, start + length)
    values = counter_values(timeline, "bandwidth, % of peak")
    end = max(start + length for start, length in pieces)
    step = max(1, -(-end // 1000))
    area = sum(values) / 100 * step * len(pieces)
    assert area == pytest.approx(sum(length for _, length in pieces), rel=0.02, abs=step)


def test_equal_spans_that_touch_become_one() -> None:
    timeline = recorder()
    for start in range(0, 100, 10):
        timeline.span("pe/0", "multiply", start, start + 10, layer="a")
    timeline.span("pe/0", "multiply", 100, 110, layer="b")
    timeline.span("pe/0", "multiply", 120, 130, layer="b")
    timeline.span("pe/0", "multiply", 130, 130, layer="b")
    assert [(e["args"]["cycle"], e["args"]["cycles"]) for e in spans(timeline)] == [
        (0, 100),
        (100, 10),
        (120, 10),
    ]


def test_overlapping_spans_take_further_rows() -> None:
    timeline = recorder()
    timeline.span("dram", "read", 0, 100)
    timeline.span("dram", "write", 50, 150)
    timeline.span("dram", "read", 100, 120)
    names = [
        event["args"]["name"]
        for event in timeline.document()["traceEvents"]
        if event["name"] == "thread_name"
    ]
    assert names == ["dram", "dram (2)"]
    check_structure(timeline)


def test_a_crowded_track_says_what_it_left_out() -> None:
    timeline = recorder()
    for _ in range(MAX_LANES + 3):
        timeline.span("dram", "read", 0, 100)
    assert len(spans(timeline)) == MAX_LANES
    assert timeline.document()["otherData"]["dropped_spans"] == 3
    assert "3 spans of crowded tracks are left out" in timeline.document()["otherData"]["note"]


@pytest.mark.parametrize(("num_pes", "shown"), [(1, 1), (5, 5), (16, 16), (17, 16), (224, 16)])
def test_shows_at_most_max_pes_spread_evenly(num_pes: int, shown: int) -> None:
    timeline = recorder(num_pes=num_pes)
    pes = sorted(timeline.pes)
    assert len(pes) == shown
    assert pes == [pe for pe in range(num_pes) if timeline.shows(pe)]
    steps = {after - before for before, after in pairwise(pes)}
    assert not steps or max(steps) - min(steps) <= 1


def test_a_long_run_gets_coarser_and_stays_bounded() -> None:
    timeline = recorder(max_events=2000)
    causes = ("multiply", "bank conflict", "operand wait")
    for step in range(30_000):
        start = 7 * step
        timeline.span(f"pe/{step % 4}", causes[step % 3], start, start + 5 + step % 20)
        timeline.counter("dram", "GB/s", start, step % 11)
        assert timeline.num_events <= 2000
    document = timeline.document()
    events = [event for event in document["traceEvents"] if event["ph"] != "M"]
    assert 500 < len(events) <= 2000
    assert len(events) == timeline.num_events
    grain = document["otherData"]["grain_cycles"]
    assert f"spans closer than {grain} cycles are merged" in document["otherData"]["note"]
    merged = [event for event in spans(timeline) if "merged_spans" in event["args"]]
    assert merged
    # Nothing is lost: every span recorded is one of those that the file counts.
    assert sum(e["args"].get("merged_spans", 1) for e in spans(timeline)) == 30_000
    check_structure(timeline)


def test_a_merged_span_is_named_after_the_longest() -> None:
    timeline = recorder(max_events=1000)
    for index in range(1001):
        timeline.span("pe/0", "long", 100 * index, 100 * index + 8)
        timeline.span("pe/0", "short", 100 * index + 8, 100 * index + 10)
    assert {event["name"] for event in spans(timeline) if "merged_spans" in event["args"]} == {
        "long"
    }


@settings(max_examples=60, deadline=None)
@given(
    clock=st.sampled_from([0.7, 1.0, 1.582]),
    recorded=st.lists(
        st.tuples(
            st.sampled_from(["pe/0", "pe/1", "dram"]),
            st.sampled_from("abc"),
            st.integers(0, 1000),
            st.integers(0, 50),
        ),
        max_size=60,
    ),
)
def test_structure_holds_for_any_spans(
    clock: float, recorded: list[tuple[str, str, int, int]]
) -> None:
    timeline = recorder(clock_ghz=clock)
    for track, name, start, length in recorded:
        timeline.span(track, name, start, start + length)
    check_structure(timeline)
    total = sum(event["args"]["cycles"] for event in spans(timeline))
    kept = total == sum(length for *_, length in recorded)
    assert kept or timeline.dropped_spans


@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_saved_file_is_the_document(tmp_path: Path, name: str) -> None:
    timeline = recorder()
    timeline.span("pe/0", "multiply", 0, 10)
    path = tmp_path / name
    timeline.save(path)
    data = path.read_bytes()
    assert json.loads(gzip.decompress(data) if name.endswith("gz") else data) == (
        timeline.document()
    )
    timeline.save(path)
    assert path.read_bytes() == data
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_missing_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(GscnError, match="cannot be written"):
        recorder().save(tmp_path / "missing" / "t.json")


def test_parts_that_count_from_zero_are_put_one_after_another() -> None:
    timeline = recorder()
    timeline.span("pe/0", "multiply", 0, 10)
    timeline.origin_cycle = 10
    timeline.span("pe/0", "multiply", 0, 5)
    timeline.counter("dram", "queue", 2, 1)
    assert [(e["args"]["cycle"], e["args"]["cycles"]) for e in spans(timeline)] == [(0, 15)]
    assert timeline.document()["traceEvents"][-1]["ts"] == 0.006


def test_more_tracks_than_events_ends() -> None:
    timeline = recorder(max_events=1000)
    for row in range(1200):
        timeline.span(f"pe/{row}", "multiply", 0, 10)
    assert len(spans(timeline)) == 1200


def test_what_cannot_be_is_refused() -> None:
    timeline = recorder()
    with pytest.raises(ValueError, match="dram: read cannot last from 5 to 3"):
        timeline.span("dram", "read", 5, 3)
    timeline.counter("dram", "queue", 10, 1)
    with pytest.raises(ValueError, match="dram: queue goes back from 10 to 9"):
        timeline.counter("dram", "queue", 9, 2)
    with pytest.raises(ValueError, match="max_events 1000"):
        recorder(max_events=10)
