"""The tables of a run with the GPU beside the machine: times, speed-ups and their bands.

Every column is defined in ``docs/reference/results.md``.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd

from gscn_sim.compare.gpu_times import layer_times
from gscn_sim.config import Config
from gscn_sim.results import tables
from gscn_sim.results.dense_array import dense_layer
from gscn_sim.results.record import PhaseRecord
from gscn_sim.results.tables import DENSITIES, PRE_PHASES, SLOTS, Recorded

LAYER_COLUMNS = (
    *("network", "layer", "phase", "dataflow", "mapping", "batch_size", "cycles", "seconds"),
    *("dense_macs", "useful_products", *SLOTS, "utilization"),
    *("dram_read_bytes", "dram_write_bytes", "energy_j", "gpu_seconds", "speedup"),
    *("iteration", "samples_recorded", "steps", "limited_by", "energy_dram_j"),
    *("gpu_seconds_low", "gpu_seconds_high", "speedup_low", "speedup_high"),
    *("compute_bound_cycles", "dram_bound_cycles"),
    *("pe_busy_mean_cycles", "pe_busy_max_cycles", "mapping_reason", *DENSITIES),
    *("gpu_note", "dense_seconds", "speedup_over_dense"),
)
SUMMARY_COLUMNS = (
    *("network", "phase", "layers", "iterations", "batch_size", "cycles", "seconds"),
    *("dense_macs", "useful_products", "work_reduction", *SLOTS, "utilization"),
    *("dram_read_bytes", "dram_write_bytes", "energy_j", "energy_dram_j"),
    *("gpu_seconds", "gpu_seconds_low", "gpu_seconds_high"),
    *("speedup", "speedup_low", "speedup_high", "limited_by"),
    *("dense_seconds", "speedup_over_dense"),
)
_BANDS = {"": "_ms", "_low": "_low_ms", "_high": "_high_ms"}  # ours -> the GPU model's
_OTHERS = (*(f"gpu_seconds{end}" for end in _BANDS), "dense_seconds")
"""Times of the machines beside ours; a pre-phase has none there."""


class Compared(Protocol):
    """What the tables need of a comparison."""

    @property
    def simulation(self) -> Recorded: ...
    @property
    def gpu(self) -> str | None: ...
    @property
    def gpu_model(self) -> str: ...


def layer_table(run: Compared) -> pd.DataFrame:
    """One row per recorded iteration, layer and phase, in the order they were simulated."""
    table = tables.layer_table(run.simulation)
    records = run.simulation.records
    layers = [(record.shape, record.batch_size) for record in records]
    times = layer_times(tuple(dict.fromkeys(layers)), run.gpu, run.gpu_model)
    for end, theirs in _BANDS.items():
        table[f"gpu_seconds{end}"] = [
            times[layer].get(f"{record.phase}{theirs}", np.nan) / 1e3
            for layer, record in zip(layers, records, strict=True)
        ]
    table["gpu_note"] = [
        "" if record.phase in PRE_PHASES else times[layer].get("gpu_note", "")
        for layer, record in zip(layers, records, strict=True)
    ]
    table["dense_seconds"] = [_dense_seconds(record, run.simulation.config) for record in records]
    return _with_speedups(table)[list(LAYER_COLUMNS)]


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Sum a layer table over its layers, each taken as the mean of its recorded iterations."""
    means = tables.layer_means(table, extra=_OTHERS)
    summary = tables.summary_of(means)
    for column in _OTHERS:
        sums = []
        for rows in tables.rows_of_summary(means).values():
            times = rows.loc[~rows["phase"].isin(PRE_PHASES), column]
            sums.append(times.sum(skipna=False) if len(times) else np.nan)
        summary[column] = sums
    return _with_speedups(summary)[list(SUMMARY_COLUMNS)]


def layer_means(table: pd.DataFrame) -> pd.DataFrame:
    """One row per layer and phase: counts and times are means over the recorded iterations."""
    means = _with_speedups(tables.layer_means(table, extra=_OTHERS))
    columns = [name for name in LAYER_COLUMNS if name in means.columns]
    return means[[*columns, "iterations"]]


def _with_speedups(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the quotients of the other machines' times and the machine's."""
    seconds = frame["seconds"].where(frame["seconds"] > 0)
    for end in _BANDS:
        frame[f"speedup{end}"] = frame[f"gpu_seconds{end}"] / seconds
    frame["speedup_over_dense"] = frame["dense_seconds"] / seconds
    return frame


def _dense_seconds(record: PhaseRecord, config: Config) -> float:
    """The dense array's best time; ordinary training, which it runs, has no pre-phases."""
    if record.phase in PRE_PHASES:
        return np.nan
    bound = dense_layer(record.shape, record.phase, record.batch_size, config)
    return config.seconds(bound.cycles)
