"""Measure what each policy and mapping is worth: ``make policies``.

Runs both networks at 10 % density under one change at a time and writes the tables of
``docs/explanation/policies.md`` between their marks. About 20 minutes of processor time with
an empty cache. Arguments choose networks and kinds of table (``python docs/measure_policies.py
VGG-16 rules``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gscn_sim
import workloads
from gscn_sim.files import write_text
from gscn_sim.results.tables import SLOTS
from gscn_sim.run.memo import Cache, open_cache

PAGE = Path(__file__).parent / "explanation" / "policies.md"
DATA = Path(__file__).parent.parent / "workloads" / "data"
TRACES = {"ResNet-34": "resnet34_q10.npz", "VGG-16": "vgg16_q10.npz"}
PHASES = ("dgrad", "wgrad")
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"policy.barrier": "group"},
    {"policy.barrier": "input_channel"},
    {"policy.drift": "fifo"},
    {"policy.drift": "fifo", "pe.streamed_fifo_entries": 64},
    {"policy.drift": "fifo", "pe.streamed_fifo_entries": 1024},
    {"policy.load_balance": "static"},
    {"policy.halo": "serial"},
    {"drain.overlap": False},
    {"buffer.size_bytes": 1 << 20},
    {"buffer.size_bytes": 1},
    {"pe.stationary_buffer_bytes": 4096},
    {"pe.bank_queue_depth": 0},
    {"pe.bank_queue_depth": 4},
    {"pe.bank_hash": "modulo"},
    {"pe.bank_hash": "dnnsim"},
    {"pe.accumulator_banks": 64},
)
BUILDABLE: tuple[dict[str, Any], ...] = (
    {},
    {"pe.bank_queue_ports": 2},
    {"pe.bank_queue_ports": 3},
    {"pe.gather_fragments": 1},
    {"pe.visits_per_cycle": 1},
    {"pe.visits_per_cycle": 4},
    {"pe.group_bubble": 1},
    {"pe.adder_stages": 3},
    {"pe.adder_stages": 4},
    {"pe.round_latency": 6},
    {"network.dispatch_latency": 8},
    {"pe.list_resend": True},
    {
        "pe.bank_queue_ports": 2,
        "pe.gather_fragments": 1,
        "pe.visits_per_cycle": 1,
        "pe.group_bubble": 1,
    },
    {"policy.knowledge": "previous"},
)
DATAFLOWS = ("cartesian", "anticipated", "positional")
KINDS = ("auto", "planar", "sample", "channel", "mixed")
CLEARLY = 1.03  # a forced mapping beats ``auto`` by more than the noise of an estimate


def main() -> None:
    """Measure the networks named in the command, or all, and write each table when it is done."""
    cache = open_cache()
    tables = {"mappings": mappings, "policies": policies, "slots": slots, "rules": rules}
    for name in [name for name in sys.argv[1:] if name in TRACES] or TRACES:
        trace = workloads.load(DATA / TRACES[name])
        for kind in [kind for kind in sys.argv[1:] if kind in tables] or tables:
            mark, table = f"{kind} of {name}", tables[kind](trace, cache)
            if f"<!-- {mark}:" in PAGE.read_text(encoding="utf-8"):
                lines = "\n".join(table)
                write_text(PAGE, between(PAGE.read_text(encoding="utf-8"), mark, lines))


def between(text: str, mark: str, table: str) -> str:
    """The text with the table between the two comments that name it."""
    start, end = f"<!-- {mark}: make policies -->\n", f"\n<!-- end of {mark} -->"
    before, rest = text.split(start)
    return before + start + table + end + rest.split(end)[1]


def run(
    network: workloads.Trace,
    changes: Mapping[str, Any],
    phases: tuple[str, ...],
    cache: Cache,
    preset: str = "gscn",
) -> gscn_sim.Run:
    """One run, named on stderr."""
    sys.stderr.write(f"{network.network} {label(changes, preset)}\n")
    config = gscn_sim.load_config(preset, changes)
    last = network.iterations[-1:]
    return gscn_sim.simulate(network, config, phases=phases, cache=cache, iterations=last)


def milliseconds(found: gscn_sim.Run) -> dict[str, float]:
    """Phase -> time."""
    table = found.table.groupby("phase")["seconds"].sum() * 1e3
    return {str(phase): float(value) for phase, value in table.items()}


def label(changes: Mapping[str, Any], preset: str = "gscn") -> str:
    """Changes as they are written after ``--set``."""
    words = [f"{key}={str(value).lower()}" for key, value in changes.items()]
    if words:
        return f"`{' '.join(words)}`"
    return "default (`gscn`)" if preset == "gscn" else f"`{preset}`"


def policies(trace: workloads.Trace, cache: Cache) -> Iterator[str]:
    """One row a change of the default."""
    return compared(trace, [("gscn", changes) for changes in CHANGES], cache)


def rules(trace: workloads.Trace, cache: Cache) -> Iterator[str]:
    """One row a rule that hardware can follow, and the machine that follows all of them."""
    designs = [("gscn-ideal", changes) for changes in BUILDABLE]
    return compared(trace, [*designs, ("gscn", {})], cache)


def compared(
    trace: workloads.Trace, designs: list[tuple[str, dict[str, Any]]], cache: Cache
) -> Iterator[str]:
    """One row a design: time of each phase, and how much more it is than in the first."""
    yield "| change | dgrad ms | | wgrad ms | | both |"
    yield "|---|---|---|---|---|---|"
    base: dict[str, float] = {}
    for preset, changes in designs:
        found = milliseconds(run(trace, changes, PHASES, cache, preset))
        found["both"] = sum(found.values())
        base = base or found
        more = {what: f"{100 * (found[what] / base[what] - 1):+.1f} %" for what in found}
        cells = [label(changes, preset), *(c for p in PHASES for c in (f"{found[p]:.3f}", more[p]))]
        yield "| " + " | ".join([*cells, more["both"]]) + " |"


def mappings(trace: workloads.Trace, cache: Cache) -> Iterator[str]:
    """One row a phase: time under each kind of mapping, and the layers where it beats ``auto``."""
    yield "| phase | " + " | ".join(f"`{kind}` ms" for kind in KINDS) + " | beat `auto` |"
    yield "|---|" + "---|" * (len(KINDS) + 1)
    found = {kind: run(trace, {"mapping.kind": kind}, PHASES, cache) for kind in KINDS}
    for phase in PHASES:
        cells = [f"{milliseconds(found[kind])[phase]:.3f}" for kind in KINDS]
        cells.append(", ".join(beaten(found, phase)) or "none")
        yield f"| {phase} | " + " | ".join(cells) + " |"


def beaten(found: Mapping[str, gscn_sim.Run], phase: str) -> Iterator[str]:
    """Layers in which a forced mapping is clearly faster than ``auto``."""
    rows = {
        kind: run.table[run.table["phase"] == phase].set_index("layer")
        for kind, run in found.items()
    }
    auto = rows["auto"]
    for layer in auto.index:
        for kind in KINDS[1:]:
            ratio = auto.loc[layer, "cycles"] / rows[kind].loc[layer, "cycles"]
            if ratio > CLEARLY:
                mapping = rows[kind].loc[layer, "mapping"]
                yield f"{layer} `{kind}` {100 * (ratio - 1):.0f} % ({mapping})"


def slots(trace: workloads.Trace, cache: Cache) -> Iterator[str]:
    """Where the slots of wgrad went, in % for each dataflow."""
    names = [slot.removeprefix("slots_").replace("_", " ") for slot in SLOTS]
    yield "| dataflow | ms | " + " | ".join(names) + " |"
    yield "|---|---|" + "---|" * len(names)
    for dataflow in DATAFLOWS:
        summary = run(trace, {"dataflow.wgrad": dataflow}, ("wgrad",), cache).summary.iloc[0]
        total = sum(summary[slot] for slot in SLOTS)
        cells = [f"`{dataflow}`", f"{summary['seconds'] * 1e3:.3f}"]
        cells += [f"{100 * summary[slot] / total:.1f}" for slot in SLOTS]
        yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
