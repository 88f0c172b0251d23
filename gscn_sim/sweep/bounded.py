"""Bounds of a sweep's metrics, for many designs at once: no simulation can be better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.bounds.machine import IDEAL, BoundedMachine
from gscn_sim.bounds.network import NOTHING, Least, NetworkBounds, network_bounds
from gscn_sim.bounds.work import Vectors
from gscn_sim.compare.gpu_times import layer_times
from gscn_sim.config import Config
from gscn_sim.dataflows.registry import WantedDataflows
from gscn_sim.problem.geometry import Ints
from gscn_sim.results.energy import UnitEnergies, area_mm2, unit_energies
from gscn_sim.results.tables import BACKWARD, BACKWARD_WITH_PRE, PRE_PHASES
from gscn_sim.stages import Caller, call
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.intervals import Interval, exactly, metric_interval
from gscn_sim.sweep.lattice import Lattice, Table
from gscn_sim.sweep.points import Setting
from gscn_sim.sweep.search import Objective
from workloads import Phase, Trace

Columns = Mapping[str, NDArray[Any]]
"""What bounds read of designs: keys and properties, an element for each design."""
ROUNDING = 1e-12
_NAMES = (
    "dataflow.forward",
    "dataflow.dgrad",
    "dataflow.wgrad",
    "mapping.kind",
    "mapping.tile_rule",
)
_KEYS = tuple(
    field.metadata["key"] for kind in (BoundedMachine, WantedDataflows) for field in fields(kind)
)
_COSTS = ("area_mm2", "on_chip_bytes", "total_multipliers", "num_pes")
_UNITS = tuple(field.name for field in fields(UnitEnergies))
_OF_CHIP = ("array", "pe", "buffer", "dataflow")
"""Sections that the size of a chip, and what its parts take, depend on."""


def check_bounded(objective: Objective) -> None:
    """Check that an objective can have a bound, before anything is counted.

    Raises:
        SpaceError: it has none.
    """
    better_end(objective, metric_interval(objective.metric, _EXAMPLE), 1)


def has_parts(objective: Objective) -> bool:
    """Whether an objective's bound is that of its parts, each at its own better end.

    So it is of all that are usual; not of ``1 + speedup``, where less is to be better.
    """
    ends = {
        name: exactly(high if "speedup" in name else low) for name, (low, high) in _EXAMPLE.items()
    }
    found = (
        better_end(objective, metric_interval(objective.metric, known), 1)
        for known in (_EXAMPLE, ends)
    )
    return bool(np.equal(*found).all())


def better_end(objective: Objective, interval: Interval, count: int) -> NDArray[np.float64]:
    """[count] the end of an interval that no design can be better than.

    Raises:
        SpaceError: it is no positive number.
    """
    end = interval.high if objective.maximize else interval.low
    found = np.array(np.broadcast_to(end, (count,)), np.float64)
    if not np.isfinite(found).all() or (found <= 0).any():
        way = "large" if objective.maximize else "small"
        raise SpaceError(f"no bound exists of how {way} {objective.metric!r} can be")
    return found


_COST = Interval(1.0, np.inf)
_EXAMPLE = {
    **dict.fromkeys(("cycles", "energy_j", "seconds", "backward_seconds"), _COST),
    **dict.fromkeys(("speedup", "backward_speedup"), Interval(0.0, 1.0)),
    **dict.fromkeys(("gpu_seconds", *_COSTS, "dram_gbps"), exactly(1.0)),
}
"""The metrics that have a bound."""


def _read_keys(config: Config, keys: Sequence[str]) -> tuple[Any, ...]:
    parts = (key.partition(".") for key in keys)
    return tuple(getattr(getattr(config, section), name) for section, _, name in parts)


def _read_chip(config: Config) -> tuple[Any, ...]:
    """``_COSTS`` and ``_UNITS`` of a design."""
    unit, pes = unit_energies(config), config.num_pes
    costs = (area_mm2(config).total, config.on_chip_bytes, pes * config.multipliers, pes)
    return (*costs, *(getattr(unit, name) for name in _UNITS))


def columns_of(configs: Sequence[Config]) -> Columns:
    """The columns of some designs."""
    names = (*_KEYS, *_COSTS, *_UNITS)
    rows = [(*_read_keys(config, _KEYS), *_read_chip(config)) for config in configs]
    return {
        name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


class LatticeColumns:
    """The columns of designs of a lattice, from tables of a few sections each."""

    def __init__(self, lattice: Lattice) -> None:
        self.tables: list[tuple[tuple[str, ...], Table]] = []
        for section in dict.fromkeys(key.partition(".")[0] for key in _KEYS):
            keys = tuple(key for key in _KEYS if key.startswith(f"{section}."))
            table = lattice.table({section}, partial(_read_keys, keys=keys))
            self.tables.append((keys, table))
        chip = lattice.table(_OF_CHIP, _read_chip, reads_clock=False)
        self.tables.append(((*_COSTS, *_UNITS), chip))
        memory = lattice.table({"dram"}, lambda config: (unit_energies(config).dram_byte,))
        self.tables.append((("dram_byte",), memory))

    def at(self, positions: Ints) -> tuple[Columns, NDArray[np.bool_]]:
        """The columns of designs, and which of these any machine can be."""
        found: dict[str, NDArray[Any]] = {}
        valid = np.ones(len(positions), np.bool_)
        for names, table in self.tables:
            rows = table.rows(positions)
            valid &= table.valid[rows]
            found |= {name: column[rows] for name, column in zip(names, table.columns, strict=True)}
        return found, valid

    @cached_property
    def needs(self) -> tuple[list[Vectors], list[WantedDataflows]]:
        """The vectors and the dataflows that any design has."""
        known = {name: t.columns[i] for names, t in self.tables for i, name in enumerate(names)}
        return needs_of(known)


def needs_of(columns: Columns) -> tuple[list[Vectors], list[WantedDataflows]]:
    """The vectors and the dataflows that these designs have."""
    pairs = zip(
        columns["pe.streamed_vector"].tolist(),
        columns["pe.stationary_vector"].tolist(),
        strict=True,
    )
    names = zip(*(columns[key].tolist() for key in _NAMES[:3]), strict=True)
    wanted = [WantedDataflows(forward=f, dgrad=d, wgrad=w) for f, d, w in dict.fromkeys(names)]
    return list(dict.fromkeys(pairs)), wanted


@dataclass(frozen=True, kw_only=True)
class BoundedWorkload:
    """What a trace makes every machine do, and the GPU's seconds of each phase."""

    network: NetworkBounds
    gpu_seconds: Mapping[Phase, float]

    @classmethod
    def of(
        cls,
        trace: Trace,
        batch_size: int | None,
        setting: Setting,
        needs: tuple[Sequence[Vectors], Sequence[WantedDataflows]],
        caller: Caller = call,
    ) -> BoundedWorkload:
        """Count a trace's layer-phases for designs with these needs (:func:`needs_of`)."""
        phases = [Phase(name) for name in setting.phases]
        network = network_bounds(trace, phases, *needs, batch_size, caller)
        sized = tuple(dict.fromkeys((e.shape, e.batch_size) for e in network.layer_phases))
        times = layer_times(sized, setting.gpu, setting.gpu_model)
        seconds = dict.fromkeys(network.phases, 0.0)
        for each in network.layer_phases:
            of_layer = times[each.shape, each.batch_size].get(f"{each.phase}_ms", 0.0)
            seconds[each.phase] += each.weight * of_layer / 1e3
        return cls(network=network, gpu_seconds=seconds)

    @property
    def scope(self) -> str:
        """The row of the summary that is the headline; "" if that of the longest phase is."""
        present = {str(phase) for phase in self.network.phases}
        if not set(BACKWARD) <= present:
            return ""
        return "backward_with_pre" if present & set(PRE_PHASES) else "backward"

    def intervals(
        self,
        columns: Columns,
        planned: NDArray[np.float64] | None = None,
        simulated: Mapping[int, Least] = NOTHING,
    ) -> dict[str, Interval]:
        """Where each metric that has a bound lies, by design.

        ``planned``: [layer-phases, designs] more bounds of cycles. ``simulated``: what some
        layer-phases are known to take on all of these designs.
        """
        count = len(columns["array.pe_rows"])
        cycles = {phase: np.zeros(count) for phase in self.network.phases}
        energy = {phase: np.zeros(count) for phase in self.network.phases}
        for rows, machine, wanted in _alike(columns):
            units: dict[str, Any] = {name: columns[name][rows] for name in _UNITS}
            unit = UnitEnergies(**units)
            more = None if planned is None else planned[:, rows]
            for phase, least in self.network.least(machine, wanted, more, simulated).items():
                cycles[phase][rows] = least.cycles * (1 - ROUNDING)
                energy[phase][rows] = least.activity.energy_j(unit) * (1 - ROUNDING)
        found = self.times(cycles, columns)
        energies = [energy[phase] for phase in self._headline]
        least_energy = sum(energies) if self.scope else np.minimum.reduce(energies)
        return {**found, "energy_j": Interval(least_energy, np.inf)}

    def times(
        self, cycles: Mapping[Phase, NDArray[np.float64]], columns: Columns
    ) -> dict[str, Interval]:
        """Intervals of all metrics but of energy, if each phase takes ``cycles`` at least."""
        hertz = columns["array.clock_ghz"] * 1e9
        each = [cycles[phase] for phase in self._headline]
        least = sum(each) if self.scope else np.maximum.reduce(each)
        gpu = [self.gpu_seconds[phase] for phase in self._headline]
        of_gpu = exactly(sum(gpu)) if self.scope else Interval(min(gpu), max(gpu))
        found = {
            "cycles": Interval(least, np.inf),
            "seconds": Interval(least / hertz, np.inf),
            "gpu_seconds": of_gpu,
            "speedup": _speedup(of_gpu, least / hertz),
        }
        if self.scope:
            both = [Phase(name) for name in BACKWARD]
            seconds = sum(cycles[phase] for phase in both) / hertz
            of_gpu = exactly(sum(self.gpu_seconds[phase] for phase in both))
            found["backward_seconds"] = Interval(seconds, np.inf)
            found["backward_speedup"] = _speedup(of_gpu, seconds)
        found |= {name: exactly(columns[name]) for name in _COSTS}
        return found | {"dram_gbps": exactly(columns["dram.peak_gbps"])}

    @property
    def _headline(self) -> list[Phase]:
        """The phases that the headline may be of."""
        rows = {"backward": BACKWARD, "backward_with_pre": BACKWARD_WITH_PRE}
        names = rows.get(self.scope)
        return [p for p in self.network.phases if names is None or str(p) in names]


def _speedup(gpu: Interval, seconds: Any) -> Interval:
    with np.errstate(divide="ignore", invalid="ignore"):
        return Interval(0.0, gpu.high * (1 + ROUNDING) / seconds)


def _alike(columns: Columns) -> list[tuple[Ints, BoundedMachine, WantedDataflows]]:
    """Designs that agree in their names: which they are, as machines, and their dataflows."""
    count = len(columns["array.pe_rows"])
    code = np.zeros(count, np.int64)
    for values in (*(columns[key] for key in _NAMES), columns["dram.kind"] == IDEAL):
        different, index = np.unique(values, return_inverse=True)
        code = code * len(different) + index.reshape(-1)
    found = []
    for each in np.unique(code):
        rows = np.flatnonzero(code == each)
        machine, wanted = (
            _viewed(kind, columns, rows) for kind in (BoundedMachine, WantedDataflows)
        )
        found.append((rows, machine, wanted))
    return found


def _viewed(kind: type[Any], columns: Columns, rows: Ints) -> Any:
    values = {field.name: columns[field.metadata["key"]][rows] for field in fields(kind)}
    named = {name: v[0].item() if v.dtype.kind in "UO" else v for name, v in values.items()}
    return kind(**named)
