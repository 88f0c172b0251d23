"""Why PEs wait for their operands: the same schedules with one cause after another removed.

Every schedule stays as it is; what holds its operands up goes, in a fixed order, until only the PEs
of a gang hold each other up. What a cause is charged with is the waiting that goes with it, so the
charges add up to all of it. Where two causes hide each other the first in the order is charged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.run.knowledge import layers_to_run
from gscn_sim.run.simulate import backward_phases, parse_phases
from gscn_sim.schedule.model import Gang, Schedule
from gscn_sim.stages import Caller, call
from workloads import Phase, Trace

if TYPE_CHECKING:
    import pandas as pd

WAITS_OF_DRAM = (
    *("row_activate_ns", "write_activate_ns", "row_precharge_ns", "row_active_ns", "column_ns"),
    *("write_column_ns", "read_to_precharge_ns", "write_recovery_ns", "write_to_read_ns"),
    *("read_to_write_ns", "activate_interval_ns", "controller_ns"),
)
"""Keys of the memory that are times between a request and its data."""
COLUMNS = ("cause", "wait_share", "means")


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What holds operands up, and how it is removed from a machine or from a schedule."""

    means: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    schedule: Callable[[Schedule], Schedule] | None = None


def own_fills(schedule: Schedule) -> Schedule:
    """The schedule with a copy of every shared fill for each gang that uses it.

    The copies come from the global buffer: only the first one is read from memory.
    """
    gangs: list[Gang] = []
    origin: list[int] = []
    owner: list[int] = []
    for number, gang in enumerate(schedule.gangs):
        used, places = np.unique(gang.fill, return_inverse=True)
        gangs.append(replace(gang, fill=places.reshape(-1) + len(origin)))
        origin += used.tolist()
        owner += [number] * len(used)
    copied = np.array([index in origin[:place] for place, index in enumerate(origin)])
    return replace(
        schedule,
        gangs=gangs,
        fill_bytes=schedule.fill_bytes[origin],
        fill_dram_bytes=np.where(copied, 0, schedule.fill_dram_bytes[origin]),
        fill_owner=np.array(owner, np.int64),
    )


def _room(schedule: Schedule) -> Schedule:
    rounds = max(gang.rounds for gang in schedule.gangs)
    held = max(len(schedule.fill_bytes), schedule.fills_held)
    return replace(schedule, fills_held=held, rounds_ahead=max(rounds, schedule.rounds_ahead))


CAUSES: dict[str, Cause] = {
    "DRAM latency": Cause(
        means="until the first of the data comes",
        changes={f"dram.{name}": 0.0 for name in WAITS_OF_DRAM},
    ),
    "DRAM bandwidth": Cause(
        means="until all of them have come", changes={"dram.preset": "ideal"}
    ),
    "network": Cause(
        means="until they have travelled to the PEs",
        changes={"network.operand_bytes_per_cycle": 0},
    ),
    "other gangs": Cause(
        means="until PEs that share the weights are done with the old ones", schedule=own_fills
    ),
    "buffer room": Cause(
        means="until the PEs' and the global buffer have room to read ahead", schedule=_room
    ),
}  # fmt: skip
"""What can hold operands up, in the order in which it is removed."""
REST = "own gang"
"""What is left: a stream is sent once all PEs that share it have begun the round before."""


def operand_waits(
    trace: Trace,
    config: Config,
    phases: Iterable[str] | None = None,
    *,
    batch_size: int | None = None,
    caller: Caller = call,
) -> pd.DataFrame:
    """Split the time that PEs wait for operands by cause, over all layers and phases.

    Skipping in a PE (rounds of an anticipator that finds nothing) is no waiting here.

    Returns:
        A row each: cause, wait_share (of all PEs' time in the run as it is; below 0 where removing
        the cause made others wait longer), means. The last row, ``all``, is their sum.

    Raises:
        ConfigError: an unknown phase, none that can run, or a mapping that does not fit.
    """
    import pandas as pd

    from gscn_sim.fabric.top import run_fabric  # compiled code and SimPy load here
    from gscn_sim.run.pipeline import prepare_phase

    wanted = backward_phases(trace) if phases is None else parse_phases(list(phases))
    waiting = np.zeros(len(CAUSES) + 1)
    whole = 0
    for layer, before in layers_to_run(trace):
        for phase in wanted:
            if phase not in layer.phases():
                continue
            batch = batch_size or trace.batch_of(layer)
            schedule = prepare_phase(layer, phase, config, batch, caller, before).schedule
            whole += config.num_pes * run_fabric(schedule, config).cycles
            waiting += _after_each(schedule, config, run_fabric)
    if not whole:
        names = ", ".join(Phase(phase).value for phase in wanted)
        raise ConfigError(f"no layer of trace {trace.network!r} can run {names}")
    shares = -np.diff(waiting) / whole
    rows = [
        (name, share, cause.means)
        for (name, cause), share in zip(CAUSES.items(), shares.tolist(), strict=True)
    ]
    rows.append(
        (REST, float(waiting[-1] / whole), "until its slowest PE has begun the round before")
    )
    rows.append(("all", float(waiting[0] / whole), "as in the table of a run, without skipping"))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _after_each(schedule: Schedule, config: Config, run: Callable[..., Any]) -> list[int]:
    """PE cycles that wait for operands: as it is, and after each cause is removed."""
    found = [sum(run(schedule, config).operand_wait)]
    for cause in CAUSES.values():
        config = config.replace(cause.changes)
        if cause.schedule is not None:
            schedule = cause.schedule(schedule)
        found.append(sum(run(schedule, config).operand_wait))
    return found
