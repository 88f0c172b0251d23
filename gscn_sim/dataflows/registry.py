"""The dataflows there are, and which of them a configuration lets a phase use."""

from __future__ import annotations

from dataclasses import dataclass

from gscn_sim.config.names import AUTO, DATAFLOWS
from gscn_sim.config.view import key
from gscn_sim.dataflows.base import Dataflow
from workloads import Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedDataflows:
    """The dataflow that a configuration names for each phase of the whole batch, or ``auto``."""

    forward: str = key("dataflow.forward")
    dgrad: str = key("dataflow.dgrad")
    wgrad: str = key("dataflow.wgrad")


def dataflow(name: str) -> Dataflow:
    """The dataflow of a name."""
    found: Dataflow = DATAFLOWS[name]
    return found


def dataflows_of(phase: Phase, wanted: WantedDataflows) -> tuple[Dataflow, ...]:
    """Dataflows to consider for a phase; a one-sample phase follows that of the whole batch."""
    name = getattr(wanted, phase.whole_batch.value)
    if name != AUTO:
        return (dataflow(name),)
    every = [dataflow(name) for name in DATAFLOWS.names()]
    return tuple(flow for flow in every if flow.is_automatic and phase in flow.phases)
