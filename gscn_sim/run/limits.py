"""Why a run takes its time: the same run with one limit of the machine lifted at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.run.knowledge import layers_to_run
from gscn_sim.run.simulate import Progress, backward_phases, parse_phases
from gscn_sim.run.waits import WAITS_OF_DRAM
from gscn_sim.schedule.model import Gang, Schedule
from gscn_sim.stages import Caller, call
from workloads import Layer, Phase, Trace

if TYPE_CHECKING:
    import pandas as pd

HUGE = 1 << 30
COLUMNS = ("lifted", "seconds", "saved_seconds", "saved_share", "operand_wait_share", "means")


@dataclass(frozen=True, kw_only=True)
class Lift:
    """A limit and how it is lifted: by ``changes`` of the configuration, or of each schedule."""

    means: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    schedule: Callable[[Schedule, Config], Schedule] | None = None


def balanced(schedule: Schedule, config: Config) -> Schedule:
    """The schedule with its work dealt evenly: over the PEs of a gang, and over all gangs.

    Each gang keeps its rounds, and each round its share of the gang's work.
    """
    even = sum(int(gang.busy_cycles.sum()) for gang in schedule.gangs) / config.num_pes
    return replace(schedule, gangs=[_even(gang, even) for gang in schedule.gangs])


def _even(gang: Gang, cycles: float) -> Gang:
    of_round = gang.busy_cycles.mean(0)
    share = np.cumsum(of_round) * (cycles / of_round.sum() if of_round.sum() else 0.0)
    each = np.diff(np.round(share).astype(np.int64), prepend=0)
    return replace(
        gang,
        busy_cycles=np.tile(each, (len(gang.pes), 1)),
        lockstep_cycles=np.full_like(gang.lockstep_cycles, -1),
        lists=None,
    )


LIFTS: dict[str, Lift] = {
    "DRAM bandwidth": Lift(means="1,000 GT/s on every pin", changes={"dram.transfers_gtps": 1e3}),
    "DRAM latency": Lift(
        means="rows, columns and controller take no time",
        changes={f"dram.{name}": 0.0 for name in WAITS_OF_DRAM},
    ),
    "DRAM": Lift(means="both: ideal memory", changes={"dram.preset": "ideal"}),
    "network": Lift(
        means="operands and partial sums travel at once",
        changes={"network.operand_bytes_per_cycle": 0, "network.partial_sums_per_cycle": 1 << 16},
    ),
    "buffers": Lift(
        means="room for all operands, outputs and rounds ahead",
        changes={
            "buffer.size_bytes": HUGE,
            "pe.stationary_buffer_bytes": HUGE,
            "buffer.rounds_ahead": 1 << 10,
            "drain.staging_rounds": 1 << 20,
        },
    ),
    "drain": Lift(means="outputs leave at once", changes={"drain.entries_per_cycle": 0}),
    "bank conflicts": Lift(
        means="any number of products waits at a bank, which adds one in a cycle",
        changes={
            "pe.bank_queue_depth": 1 << 20,
            "pe.bank_queue_ports": 0,
            "pe.adder_stages": 1,
        },
    ),
    "lists": Lift(
        means="lists are looked up, gathered and sent in no time of their own",
        changes={
            "pe.gather_fragments": 0,
            "pe.visits_per_cycle": 0,
            "pe.group_bubble": 0,
            "pe.round_latency": 0,
            "pe.list_resend": False,
            "network.dispatch_latency": 0,
        },
    ),
    "knowledge": Lift(
        means="mapping and dealing know the masks", changes={"policy.knowledge": "oracle"}
    ),
    "imbalance": Lift(means="work dealt evenly to all PEs", schedule=balanced),
}
"""What can be lifted, by name. A lift is an entry here and nothing else."""
NONE, ALL = "nothing", "all of them"


def limits(
    trace: Trace,
    config: Config,
    phases: Iterable[str] | None = None,
    *,
    batch_size: int | None = None,
    caller: Caller = call,
    progress: Progress | None = None,
    lifts: Mapping[str, Lift] | None = None,
) -> pd.DataFrame:
    """Simulate the trace once as it is, once with each limit lifted, and once with all.

    A lifted machine has the plan that suits it, so a lift can also cost: the planner estimates.
    Times are means over the recorded iterations, as in a run.

    Returns:
        A row each: lifted, seconds, saved_seconds, saved_share (of the time with nothing lifted),
        operand_wait_share (of all PEs' time: what still waits for operands), means.

    Raises:
        ConfigError: an unknown phase, none that can run, or a mapping that does not fit.
    """
    import pandas as pd

    named = dict(LIFTS if lifts is None else lifts)
    wanted = backward_phases(trace) if phases is None else parse_phases(list(phases))
    cases = {NONE: Lift(means="the machine as it is"), **named, ALL: _all(named.values())}
    times: dict[str, float] = {}
    waits: dict[str, float] = {}
    for done, (name, lift) in enumerate(cases.items()):
        if progress:
            progress(done, len(cases), name)
        machine = config.replace(lift.changes)
        cycles, waiting = _cycles(trace, machine, wanted, batch_size, lift, caller)
        times[name] = cycles * machine.seconds(1)
        waits[name] = waiting / max(1, cycles * machine.num_pes)
    if progress:
        progress(len(cases), len(cases), "")
    whole = times[NONE]
    rows = [
        (name, s, whole - s, (whole - s) / whole if whole else 0.0, waits[name], cases[name].means)
        for name, s in times.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _all(lifts: Iterable[Lift]) -> Lift:
    """Everything lifted at once, in order."""
    changes: dict[str, Any] = {}
    functions = [lift.schedule for lift in lifts if lift.schedule is not None]
    for lift in lifts:
        changes |= lift.changes
    if "dram.preset" in changes:  # a whole memory leaves nothing of single keys
        changes = {k: v for k, v in changes.items() if not k.startswith("dram.")} | {
            "dram.preset": changes["dram.preset"]
        }

    def schedule(made: Schedule, config: Config) -> Schedule:
        for function in functions:
            made = function(made, config)
        return made

    return Lift(means="what is left: products, and zeros that the dataflow meets",
                changes=changes, schedule=schedule)  # fmt: skip


def _cycles(
    trace: Trace,
    config: Config,
    phases: list[Phase],
    batch_size: int | None,
    lift: Lift,
    caller: Caller,
) -> tuple[float, float]:
    """Cycles of all layers and phases, and PE cycles that wait for operands; means of iterations.

    Raises:
        ConfigError: none of the phases can run.
    """
    found: dict[tuple[str, Phase], list[tuple[int, int]]] = {}
    known: dict[object, tuple[int, int]] = {}
    for layer, before in layers_to_run(trace):
        for phase in phases:
            if phase not in layer.phases():
                continue
            batch = batch_size or trace.batch_of(layer)
            key = (phase, layer.shape, layer.weight) if phase.one_sample else object()
            if key not in known:
                known[key] = _of_layer(layer, phase, config, batch, lift, caller, before)
            found.setdefault((layer.name, phase), []).append(known[key])
    if not found:
        names = ", ".join(phase.value for phase in phases)
        raise ConfigError(f"no layer of trace {trace.network!r} can run {names}")
    means = [np.mean(pairs, axis=0) for pairs in found.values()]
    cycles, waiting = np.sum(means, axis=0).tolist()
    return cycles, waiting


def _of_layer(
    layer: Layer,
    phase: Phase,
    config: Config,
    batch_size: int,
    lift: Lift,
    caller: Caller,
    before: Layer | None,
) -> tuple[int, int]:
    from gscn_sim.fabric.top import run_fabric  # compiled code and SimPy load here
    from gscn_sim.run.pipeline import prepare_phase

    schedule = prepare_phase(layer, phase, config, batch_size, caller, before).schedule
    if lift.schedule is not None:
        schedule = lift.schedule(schedule, config)
    result = run_fabric(schedule, config)
    return result.cycles, sum(result.operand_wait)
