"""What happened when, bounded in size, as a trace-event file for Perfetto and chrome://tracing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gscn_sim.files import whole_file
from gscn_sim.problem.geometry import Ints

MAX_LANES = 16  # rows a track may take for spans that overlap
LARGEST_GRAIN = 1 << 48
GROUPS = ("layer", "step", "dram", "buffer", "network", "pe", "drain")
"""The order of the groups in a viewer: what is computed, then the way of the data."""
SHARES = (
    ("dram", "bandwidth, % of peak", None),
    ("pe", "computing, % of the PEs shown", "compute"),
)
"""Counters that follow from the spans of a group, all or those of one name."""
SHARE_STEPS = 1000


class Span(NamedTuple):
    """One bar: half-open, in cycles."""

    start: int
    end: int
    name: str
    args: dict[str, Any]


class Timeline:
    """Records spans and counters of named tracks.

    A track is ``group/row`` (``pe/3,4``) or one word, its own group. Spans of a track that overlap
    go to further rows of it. Equal spans that touch become one. Above ``max_events`` the timeline
    gets coarser: neighbours closer than ``grain_cycles`` become one span named after the longest,
    and the grain doubles until half the events are left; the file says so. Parts of a
    run that each count from 0 set ``origin_cycle`` to where they start.

    Args:
        clock_ghz: clock of the machine, to turn cycles into time.
        num_pes: PEs of the machine; at most ``max_pes`` of them, evenly spread, are in ``pes``.
        max_pes: how many PEs to show.
        max_events: most spans and counter values the file holds.
    """

    def __init__(
        self, *, clock_ghz: float, num_pes: int, max_pes: int = 16, max_events: int = 100_000
    ) -> None:
        if max_pes < 1 or max_events < 1000:
            raise ValueError(
                f"max_pes must be at least 1 and max_events 1000, got {max_pes} and {max_events}"
            )
        shown = min(num_pes, max_pes)
        self.pes = frozenset(i * num_pes // shown for i in range(shown))
        self.num_pes = num_pes
        self.max_events = max_events
        self.grain_cycles = 0
        self.dropped_spans = 0
        self.num_events = 0
        self.origin_cycle = 0
        self._clock = Fraction(repr(clock_ghz))
        self._tracks: dict[str, list[list[Span]]] = {}
        self._counters: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self._moved: list[tuple[float, float, int]] = []  # start, end, bytes
        self._computed: list[tuple[Ints, Ints]] = []

    def shows(self, pe: int) -> bool:
        """Whether a PE is among those that are recorded."""
        return pe in self.pes

    def span(self, track: str, name: str, start_cycle: int, end_cycle: int, **args: Any) -> None:
        """Record that a track did something from ``start_cycle`` up to ``end_cycle``.

        ``args`` are shown when the span is selected. A span of no length is left out.

        Raises:
            ValueError: if the span ends before it starts, or starts before cycle 0.
        """
        if not 0 <= start_cycle <= end_cycle:
            raise ValueError(f"{track}: {name} cannot last from {start_cycle} to {end_cycle}")
        if start_cycle == end_cycle:
            return
        start, end = start_cycle + self.origin_cycle, end_cycle + self.origin_cycle
        lanes = self._tracks.setdefault(track, [])
        lane = next((lane for lane in lanes if lane[-1].end <= start), None)
        if lane is None:
            if len(lanes) == MAX_LANES:
                self.dropped_spans += 1
                return
            lane = []
            lanes.append(lane)
        last = lane[-1] if lane else None
        if last and last.end == start and last.name == name and last.args == args:
            lane[-1] = last._replace(end=end)
            return
        lane.append(Span(start, end, name, args))
        self._count()

    def counter(self, track: str, name: str, cycle: int, value: float) -> None:
        """Record that a quantity has a value from a cycle on; cycles must not go back.

        Raises:
            ValueError: if ``cycle`` is before the previous one.
        """
        cycle += self.origin_cycle
        values = self._counters.setdefault((track, name), [])
        if values and cycle < values[-1][0]:
            raise ValueError(f"{track}: {name} goes back from {values[-1][0]} to {cycle}")
        if values and values[-1][1] == value:
            return
        if values and values[-1][0] == cycle:
            values[-1] = (cycle, value)
            return
        values.append((cycle, value))
        self._count()

    def moved(self, start_cycle: float, end_cycle: float, size_bytes: int) -> None:
        """Record that the memory moved bytes between two cycles, for a counter of the file."""
        origin = self.origin_cycle
        self._moved.append((origin + start_cycle, origin + end_cycle, size_bytes))

    def computed(self, start_cycles: Ints, end_cycles: Ints) -> None:
        """Record when each of some PEs computed, shown or not, for a counter of the file."""
        self._computed.append((start_cycles + self.origin_cycle, end_cycles + self.origin_cycle))

    def save(self, path: str | Path) -> None:
        """Write the file, gzipped if its name ends in ``.gz``; it appears whole or not at all.

        Raises:
            GscnError: the file cannot be written.
        """
        text = json.dumps(self.document(), separators=(",", ":"), allow_nan=False).encode()
        if str(path).endswith(".gz"):
            text = gzip.compress(text, mtime=0)
        with whole_file(path) as file:
            file.write(text)

    def document(self) -> dict[str, Any]:
        """The trace-event document: microseconds in ``ts`` and ``dur``, cycles in ``args``."""
        return {
            "traceEvents": list(self._events()),
            "displayTimeUnit": "ns",
            "otherData": {
                "clock_ghz": float(self._clock),
                "pes_shown": sorted(self.pes),
                "pes": self.num_pes,
                "grain_cycles": self.grain_cycles,
                "dropped_spans": self.dropped_spans,
                "note": self._note(),
            },
        }

    def _note(self) -> str:
        notes = [f"{len(self.pes)} of {self.num_pes} PEs"]
        if self.grain_cycles:
            notes.append(f"spans closer than {self.grain_cycles} cycles are merged")
        if self.dropped_spans:
            notes.append(f"{self.dropped_spans} spans of crowded tracks are left out")
        return "; ".join(notes)

    def _count(self) -> None:
        self.num_events += 1
        if self.num_events > self.max_events:
            self._merge_all()  # what came since the last time may be all that is too fine
            while self.num_events > self.max_events // 2 and self.grain_cycles < LARGEST_GRAIN:
                self.grain_cycles = max(1, 2 * self.grain_cycles)
                self._merge_all()

    def _merge_all(self) -> None:
        for lanes in self._tracks.values():
            lanes[:] = [_merge(lane, self.grain_cycles) for lane in lanes]
        for key, values in self._counters.items():
            self._counters[key] = _thin(values, max(1, self.grain_cycles))
        self.num_events = sum(len(lane) for lanes in self._tracks.values() for lane in lanes)
        self.num_events += sum(map(len, self._counters.values()))

    def _shares(self) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """How much of the DRAM's pins and of the PEs shown is at work, in percent over time."""
        shares = {}
        for group, name, work in SHARES:
            tracks = [lanes for t, lanes in self._tracks.items() if t.partition("/")[0] == group]
            spans = [
                s for t in tracks for lane in t for s in lane if work is None or s.name == work
            ]
            if spans:
                values = _busy_share(spans, len(tracks), max(1, self.grain_cycles))
                shares[group, name] = values
        return shares

    def _rates(self) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """Bytes that the memory moves a microsecond, and how many PEs compute, over time."""
        rates = {}
        if self._moved:
            start, end, size = np.array(self._moved, dtype=np.float64).T
            per_us = size * float(1000 * self._clock)
            rates["dram", "bytes a microsecond"] = _rate(start, end, per_us, self.grain_cycles)
        if self._computed:
            start, end = (np.concatenate(part) for part in zip(*self._computed, strict=True))
            weight = (end - start).astype(np.float64)
            rates["pe", "busy PEs"] = _rate(start, end, weight, self.grain_cycles)
        return rates

    def _ns(self, cycle: int) -> int:
        return int(cycle / self._clock)

    def _events(self) -> Iterator[dict[str, Any]]:
        counters = {**self._shares(), **self._rates(), **self._counters}
        found = {track.partition("/")[0] for track in (*self._tracks, *(t for t, _ in counters))}
        order = [*(g for g in GROUPS if g in found), *sorted(found - set(GROUPS))]
        groups = {group: number for number, group in enumerate(order, start=1)}
        for group, number in groups.items():
            yield _name("process_name", number, 0, group)
            sort = {"sort_index": number}
            yield {"ph": "M", "name": "process_sort_index", "pid": number, "tid": 0, "args": sort}
        thread = 0
        for track, lanes in self._tracks.items():
            group, _, row = track.partition("/")
            for number, lane in enumerate(lanes):
                thread += 1
                name = (row or group) + (f" ({number + 1})" if number else "")
                yield _name("thread_name", groups[group], thread, name)
                for span in lane:
                    start_ns = self._ns(span.start)
                    yield {
                        "ph": "X",
                        "name": span.name,
                        "pid": groups[group],
                        "tid": thread,
                        "ts": start_ns / 1000,
                        "dur": (self._ns(span.end) - start_ns) / 1000,
                        "args": {"cycle": span.start, "cycles": span.end - span.start, **span.args},
                    }
        for (track, name), values in counters.items():
            group, _, row = track.partition("/")
            for cycle, value in values:
                yield {
                    "ph": "C",
                    "name": f"{row} {name}".strip(),
                    "pid": groups[group],
                    "ts": self._ns(cycle) / 1000,
                    "args": {name: value},
                }


def _name(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _busy_share(spans: list[Span], tracks: int, least: int) -> list[tuple[int, float]]:
    """Percent of so many tracks that spans cover, in steps of equal length up to the last end.

    The cycles that spans cover up to t are the sum of min(t, end) - min(t, start), which sorted
    ends and starts give at once.
    """
    last = max(span.end for span in spans)
    step = max(least, -(-last // SHARE_STEPS))
    edges = np.arange(0, last + step, step, dtype=np.float64)
    covered = np.zeros(len(edges))
    for sign, moments in ((1, [s.end for s in spans]), (-1, [s.start for s in spans])):
        times = np.sort(np.array(moments, dtype=np.float64))
        before = np.searchsorted(times, edges, side="right")
        sums = np.concatenate([[0.0], np.cumsum(times)])
        covered += sign * (sums[before] + edges * (len(times) - before))
    percent = 100 * np.diff(covered) / (step * tracks)
    steps = [(int(edge), round(float(p), 2)) for edge, p in zip(edges[:-1], percent, strict=True)]
    return [*steps, (int(edges[-1]), 0.0)]


def _rate(start: Any, end: Any, amount: Any, least: int) -> list[tuple[int, float]]:
    """Amount a cycle, each spread evenly from its start to its end, in steps of equal length."""
    last = int(np.ceil(end.max()))
    step = max(1, least, -(-last // SHARE_STEPS))
    edges = np.arange(0, last + step, step, dtype=np.float64)
    pace = np.divide(amount, end - start, out=np.zeros(len(end)), where=end > start)
    total = np.zeros(len(edges))
    for sign, times in ((1, end), (-1, start)):  # sum of min(t, end) - min(t, start), times pace
        order = np.argsort(times)
        sums = np.concatenate([[0.0], np.cumsum((times * pace)[order])])
        paces = np.concatenate([[0.0], np.cumsum(pace[order])])
        before = np.searchsorted(times[order], edges, side="right")
        total += sign * (sums[before] + edges * (paces[-1] - paces[before]))
    found = zip(edges[:-1], np.diff(total) / step, strict=True)
    return [*((int(edge), round(float(rate), 2)) for edge, rate in found), (int(edges[-1]), 0.0)]


def _merge(lane: list[Span], grain: int) -> list[Span]:
    """Runs of spans that together last at most ``grain`` cycles, each as one span."""
    merged: list[Span] = []
    run: list[Span] = []
    for span in lane:
        if run and span.end - run[0].start > grain:
            merged.append(_one(run))
            run = []
        run.append(span)
    if run:
        merged.append(_one(run))
    return merged


def _one(run: list[Span]) -> Span:
    """A run as one span: the name that lasts longest, and how many spans it stands for."""
    if len(run) == 1:
        return run[0]
    lasts: dict[str, int] = {}
    for span in run:
        lasts[span.name] = lasts.get(span.name, 0) + span.end - span.start
    spans = sum(span.args.get("merged_spans", 1) for span in run)
    name = max(lasts, key=lambda key: lasts[key])
    return Span(run[0].start, run[-1].end, name, {"merged_spans": spans})


def _thin(values: list[tuple[int, float]], grain: int) -> list[tuple[int, float]]:
    """The last value in each ``grain`` cycles."""
    return list({cycle // grain: (cycle, value) for cycle, value in values}.values())
