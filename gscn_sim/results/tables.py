"""The machine's tables: one row per layer and phase, and the summary of the network.

Every column is defined in ``docs/reference/results.md``. What stands beside the machine adds its
own columns (:mod:`gscn_sim.compare.tables`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import pandas as pd

from gscn_sim.config import Config
from gscn_sim.results.energy import energy_j
from gscn_sim.results.record import PhaseRecord, Slots, same_or_mean
from workloads import Phase

SLOTS = tuple(f"slots_{field.name}" for field in fields(Slots))
LOST_SLOTS = SLOTS[1:]
DENSITIES = ("activation_density", "gradient_density")
LAYER_COLUMNS = (
    *("network", "layer", "phase", "dataflow", "mapping", "batch_size", "cycles", "seconds"),
    *("dense_macs", "useful_products", *SLOTS, "utilization"),
    *("dram_read_bytes", "dram_write_bytes", "energy_j"),
    *("iteration", "samples_recorded", "steps", "limited_by", "energy_dram_j"),
    *("compute_bound_cycles", "dram_bound_cycles"),
    *("pe_busy_mean_cycles", "pe_busy_max_cycles", "mapping_reason", *DENSITIES),
)
SUMMARY_COLUMNS = (
    *("network", "phase", "layers", "iterations", "batch_size", "cycles", "seconds"),
    *("dense_macs", "useful_products", "work_reduction", *SLOTS, "utilization"),
    *("dram_read_bytes", "dram_write_bytes", "energy_j", "energy_dram_j", "limited_by"),
)
SUMS = (
    *("cycles", "seconds", "dense_macs", "useful_products", *SLOTS),
    *("dram_read_bytes", "dram_write_bytes", "energy_j", "energy_dram_j", "dram_bound_cycles"),
)
PRE_PHASES = ("pre_dgrad", "pre_wgrad")
BACKWARD = ("dgrad", "wgrad")
BACKWARD_WITH_PRE = (*BACKWARD, *PRE_PHASES)
MULTIPLIER_LIMIT = 0.9
DRAM_LIMIT = 0.8
_MEANS = {
    *("network", "layer", "phase", "dataflow", "mapping", "batch_size", "utilization"),
    *("limited_by", *SUMS, *DENSITIES),
}


class Recorded(Protocol):
    """What the tables need of a simulation."""

    @property
    def records(self) -> tuple[PhaseRecord, ...]: ...
    @property
    def config(self) -> Config: ...


def layer_table(simulation: Recorded) -> pd.DataFrame:
    """One row per recorded iteration, layer and phase, in the order they were simulated."""
    rows = [_row(record, simulation.config) for record in simulation.records]
    return _finish(rows, LAYER_COLUMNS)


def layer_means(table: pd.DataFrame, extra: Sequence[str] = ()) -> pd.DataFrame:
    """One row per layer and phase: counts and times are means over the recorded iterations.

    ``iterations`` says over how many; where there is one, nothing is changed. ``extra`` names
    columns of numbers beside the machine's own.
    """
    keys = ["network", "layer", "phase"]
    numbers = [*SUMS, *DENSITIES, *extra]
    grouped = table.groupby(keys, sort=False)
    texts = ["dataflow", "mapping"]
    if (grouped.size() == 1).all():  # whole numbers stay whole
        means = grouped[numbers + texts].first()
    else:
        means = grouped[numbers].mean().join(grouped[texts].agg(_one_or_mixed))
    batches = grouped["batch_size"]
    same = (batches.nunique() == 1).all()  # then they stay whole
    means = means.join(batches.first() if same else batches.mean())
    means["iterations"] = grouped.size()
    rows = means.reset_index().to_dict(orient="records")
    columns = [name for name in LAYER_COLUMNS if name in _MEANS]
    return _finish(rows, [*columns, *extra, "iterations"])


def summary_of(means: pd.DataFrame) -> pd.DataFrame:
    """Sum means of layers (:func:`layer_means`) over the rows of :func:`rows_of_summary`."""
    rows = [_summary_row(rows, name) for name, rows in rows_of_summary(means).items()]
    return _finish(rows, SUMMARY_COLUMNS)


def rows_of_summary(means: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What each row of a summary adds up: the phases, then the backward pass.

    The rows of the whole backward pass are there when the table has both its phases, and with the
    pre-phases when it has those too.
    """
    present = [str(phase) for phase in Phase if (means["phase"] == phase).any()]
    groups: dict[str, tuple[str, ...]] = {phase: (phase,) for phase in present}
    if set(BACKWARD) <= set(present):
        groups["backward"] = BACKWARD
        if set(present) & set(PRE_PHASES):
            groups["backward_with_pre"] = BACKWARD_WITH_PRE
    return {name: means[means["phase"].isin(phases)] for name, phases in groups.items()}


def pe_busy_shares(simulation: Recorded) -> dict[str, list[float]]:
    """Phase -> share of the phase's time in which each PE computed, in the order of the PEs."""
    shares = {}
    for phase in dict.fromkeys(record.phase for record in simulation.records):
        records = [record for record in simulation.records if record.phase is phase]
        busy = np.sum([record.pe_busy_cycles for record in records], axis=0)
        cycles = max(sum(record.cycles for record in records), 1)
        shares[str(phase)] = [round(float(share), 4) for share in busy / cycles]
    return shares


def headline_row(summary: pd.DataFrame) -> dict[str, Any]:
    """The row that stands for the run: the most complete backward pass, else the longest phase."""
    for phase in ("backward_with_pre", "backward"):
        found = summary[summary["phase"] == phase]
        if len(found):
            break
    else:
        found = summary.sort_values("seconds", ascending=False, kind="stable")
    return {str(name): value for name, value in found.iloc[0].items()}


def limited_by(row: Mapping[str, Any]) -> str:
    """What keeps a row from being faster.

    ``multipliers`` when at least 90 % of the slots are useful, else the largest cause of lost
    slots; waiting for operands or output counts as ``dram`` when moving the bytes alone would take
    at least 80 % of the cycles.
    """
    slots = {name: row[name] for name in SLOTS}
    total = sum(slots.values())
    if not total or slots["slots_useful"] >= MULTIPLIER_LIMIT * total:
        return "multipliers"
    cause = max(LOST_SLOTS, key=lambda name: slots[name]).removeprefix("slots_")
    if cause.endswith("_wait") and row["dram_bound_cycles"] >= DRAM_LIMIT * row["cycles"]:
        return "dram"
    return cause


def _row(record: PhaseRecord, config: Config) -> dict[str, Any]:
    names = {f.name for f in fields(record)} & set(LAYER_COLUMNS)
    energy = energy_j(record.activity, config)
    row: dict[str, Any] = {name: getattr(record, name) for name in names}
    row |= {f"slots_{f.name}": getattr(record.slots, f.name) for f in fields(record.slots)}
    row |= {
        "phase": str(record.phase),
        "seconds": config.seconds(record.cycles),
        "dram_read_bytes": record.dram_read_bytes,
        "dram_write_bytes": record.dram_write_bytes,
        "energy_j": energy.total,
        "energy_dram_j": energy.dram,
        "pe_busy_mean_cycles": float(np.mean(record.pe_busy_cycles)),
        "pe_busy_max_cycles": max(record.pe_busy_cycles),
    }
    for name in DENSITIES:
        row[name] = np.nan if row[name] is None else row[name]
    return row


def _finish(rows: Sequence[Mapping[Any, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows as a table, with the columns that follow from others."""
    frame = pd.DataFrame(rows)
    slots = frame[list(SLOTS)].sum(axis=1)
    frame["utilization"] = (frame["slots_useful"] / slots.where(slots > 0)).fillna(0.0)
    frame["limited_by"] = [limited_by(row) for row in rows]
    return frame[list(columns)]


def _summary_row(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    sums: dict[str, Any] = {column: rows[column].sum() for column in SUMS}
    ordinary = ~rows["phase"].isin(PRE_PHASES)
    dense, useful = rows.loc[ordinary, "dense_macs"].sum(), sums["useful_products"]
    return {
        "network": rows["network"].iloc[0],
        "phase": name,
        "layers": rows["layer"].nunique(),
        "iterations": int(rows["iterations"].max()),
        "batch_size": same_or_mean(rows["batch_size"].tolist()),
        "work_reduction": dense / useful if useful and ordinary.any() else np.nan,
        **sums,
    }


def _one_or_mixed(values: pd.Series[Any]) -> str:
    return str(values.iloc[0]) if values.nunique() == 1 else "mixed"
