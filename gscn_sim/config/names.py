"""Parts that a configuration names: where each kind of part is registered, to check its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gscn_sim.registry import Registry

AUTO = "auto"

DATAFLOWS: Registry[Any] = Registry(
    "dataflow",
    "gscn_sim.dataflows",
    {
        "positional": "gscn_sim.dataflows.positional:POSITIONAL",
        "cartesian": "gscn_sim.dataflows.cartesian:CARTESIAN",
        "anticipated": "gscn_sim.dataflows.cartesian:ANTICIPATED",
        "dense": "gscn_sim.dataflows.dense:DENSE",
    },
    kind="gscn_sim.dataflows.base:Dataflow",
)
MAPPING_KINDS: Registry[Any] = Registry(
    "mapping kind",
    "gscn_sim.mapping_kinds",
    {name: f"gscn_sim.mapping.kinds:{name}" for name in ("planar", "sample", "channel", "mixed")},
    kind="collections.abc:Callable",
)


def dataflows_for(phase: str) -> Callable[[], tuple[str, ...]]:
    """What gives the names of the dataflows that can run a phase, and ``auto``."""

    def names() -> tuple[str, ...]:
        return (*(n for n in DATAFLOWS.names() if phase in DATAFLOWS[n].phases), AUTO)

    return names


def mapping_kinds() -> tuple[str, ...]:
    """``auto`` and the names of the mapping kinds."""
    return (AUTO, *MAPPING_KINDS.names())
