"""The tables of a run: one row per layer and phase, and the summary of the network.

Every column is defined in ``docs/reference/results.md``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import pandas as pd

from gscn_sim.config import Config
from gscn_sim.gpu import layers_frame, network_backward, predict
from gscn_sim.results.energy import energy_j
from gscn_sim.results.record import PhaseRecord, Slots
from workloads import LayerShape, Phase
from workloads.networks import conv_layers, network_layers, network_names

SLOTS = tuple(f"slots_{field.name}" for field in fields(Slots))
LOST_SLOTS = SLOTS[1:]
LAYER_COLUMNS = (
    *("network", "layer", "phase", "dataflow", "mapping", "batch_size", "cycles", "seconds"),
    *("dense_macs", "useful_products", *SLOTS, "utilization"),
    *("dram_read_bytes", "dram_write_bytes", "energy_j", "gpu_seconds", "speedup"),
    *("iteration", "samples_recorded", "steps", "limited_by", "energy_dram_j"),
    *("gpu_seconds_low", "gpu_seconds_high", "speedup_low", "speedup_high"),
    *("compute_bound_cycles", "dram_bound_cycles"),
    *("pe_busy_mean_cycles", "pe_busy_max_cycles", "mapping_reason"),
)
_WHOLE_COLUMNS = (
    *("gpu_whole_seconds", "speedup_whole", "gpu_measured_seconds", "speedup_measured"),
)
SUMMARY_COLUMNS = (
    *("network", "phase", "layers", "iterations", "batch_size", "cycles", "seconds"),
    *("dense_macs", "useful_products", "work_reduction", *SLOTS, "utilization"),
    *("dram_read_bytes", "dram_write_bytes", "energy_j", "energy_dram_j"),
    *("gpu_seconds", "gpu_seconds_low", "gpu_seconds_high"),
    *("speedup", "speedup_low", "speedup_high", "limited_by"),
    *_WHOLE_COLUMNS,
)
BACKWARD = ("dgrad", "wgrad")
BACKWARD_WITH_PRE = (*BACKWARD, "pre_dgrad", "pre_wgrad")
MULTIPLIER_LIMIT = 0.9
DRAM_LIMIT = 0.8
_GPU_SECONDS = ("gpu_seconds", "gpu_seconds_low", "gpu_seconds_high")
_SUMS = (
    *("cycles", "seconds", "dense_macs", "useful_products", *SLOTS),
    *("dram_read_bytes", "dram_write_bytes", "energy_j", "energy_dram_j", "dram_bound_cycles"),
)
_MEAN_COLUMNS = {
    *("network", "layer", "phase", "dataflow", "mapping", "batch_size", "utilization"),
    *("speedup", "speedup_low", "speedup_high", "limited_by", *_SUMS, *_GPU_SECONDS),
}


class RunLike(Protocol):
    """What the tables need of a run."""

    @property
    def records(self) -> tuple[PhaseRecord, ...]: ...
    @property
    def config(self) -> Config: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def gpu(self) -> str: ...
    @property
    def gpu_model(self) -> str: ...


def layer_table(run: RunLike) -> pd.DataFrame:
    """One row per recorded iteration, layer and phase, in the order they were simulated."""
    gpu = _gpu_times(run)
    rows = [{**_row(r, run.config, gpu), "batch_size": run.batch_size} for r in run.records]
    return _finish(rows, LAYER_COLUMNS)


def summary_table(run: RunLike) -> pd.DataFrame:
    """The network: one row per phase, then ``backward`` and ``backward_with_pre``.

    For a network whose layers are known the backward rows also stand against the GPU's whole
    backward pass, other layers included: predicted, and measured where someone did.
    """
    summary = summarize(layer_table(run))
    whole = _whole_backward(run)
    if whole is not None:
        rows = summary["phase"].isin(["backward", "backward_with_pre"])
        for kind, seconds in whole.items():
            summary.loc[rows, f"gpu_{kind}_seconds"] = seconds
            summary.loc[rows, f"speedup_{kind}"] = seconds / summary.loc[rows, "seconds"]
    return summary


def _whole_backward(run: RunLike) -> dict[str, float] | None:
    """The GPU's whole backward pass in seconds, if the run is of a known network as it is."""
    network = run.records[0].network
    if network not in network_names() or run.gpu_model != "analytical":
        return None
    iteration = run.records[0].iteration
    shapes = {
        r.layer: r.shape for r in run.records if r.iteration == iteration and r.phase is Phase.WGRAD
    }
    known = {
        layer.name: layer.shape for layer in network_layers(network) if layer.shape is not None
    }
    convolutions = dict(conv_layers(network))
    if not set(convolutions.items()) <= set(shapes.items()) <= set(known.items()):
        return None
    return _predicted_backward(network, run.batch_size, run.gpu)


@functools.lru_cache(maxsize=16)
def _predicted_backward(network: str, batch_size: int, gpu: str) -> dict[str, float]:
    row = network_backward(network, batch_size, gpu).iloc[0]
    return {
        "whole": float(row["backward_ms"]) / 1e3,
        "measured": float(row["measured_backward_ms"]) / 1e3,
    }


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Sum a layer table over its layers, each taken as the mean of its recorded iterations.

    The rows of the whole backward pass are there when the table has both its phases, and with the
    pre-phases when it has those too.
    """
    means = layer_means(table)
    present = [str(phase) for phase in Phase if (means["phase"] == phase).any()]
    groups: dict[str, tuple[str, ...]] = {phase: (phase,) for phase in present}
    if set(BACKWARD) <= set(present):
        groups["backward"] = BACKWARD
        if set(present) & {"pre_dgrad", "pre_wgrad"}:
            groups["backward_with_pre"] = BACKWARD_WITH_PRE
    rows = [_summary_row(means[means["phase"].isin(p)], name) for name, p in groups.items()]
    return _finish(rows, SUMMARY_COLUMNS)


def layer_means(table: pd.DataFrame) -> pd.DataFrame:
    """One row per layer and phase: counts and times are means over the recorded iterations.

    ``iterations`` says over how many; where there is one, nothing is changed.
    """
    keys = ["network", "layer", "phase"]
    numbers = [*_SUMS, *_GPU_SECONDS]
    grouped = table.groupby(keys, sort=False)
    texts = ["dataflow", "mapping"]
    if (grouped.size() == 1).all():  # whole numbers stay whole
        means = grouped[numbers + texts].first()
    else:
        means = grouped[numbers].mean().join(grouped[texts].agg(_one_or_mixed))
    means = means.join(grouped["batch_size"].first())
    means["iterations"] = grouped.size()
    rows = means.reset_index().to_dict(orient="records")
    return _finish(rows, [name for name in LAYER_COLUMNS if name in _MEAN_COLUMNS] + ["iterations"])


def pe_busy_shares(run: RunLike) -> dict[str, list[float]]:
    """Phase -> share of the phase's time in which each PE computed, in the order of the PEs."""
    shares = {}
    for phase in dict.fromkeys(record.phase for record in run.records):
        records = [record for record in run.records if record.phase is phase]
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


def _row(
    record: PhaseRecord, config: Config, gpu: Mapping[LayerShape, Mapping[str, float]]
) -> dict[str, Any]:
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
    for name, suffix in zip(_GPU_SECONDS, ("_ms", "_low_ms", "_high_ms"), strict=True):
        row[name] = gpu[record.shape].get(f"{record.phase}{suffix}", np.nan) / 1e3
    return row


def _gpu_times(run: RunLike) -> dict[LayerShape, dict[str, float]]:
    """The GPU's times of each distinct shape, by the columns of ``gpu.predict``.

    The pre-phases have none: the GPU runs ordinary back-propagation.
    """
    shapes = tuple(dict.fromkeys(record.shape for record in run.records))
    return _predicted(shapes, run.batch_size, run.gpu, run.gpu_model)


@functools.lru_cache(maxsize=16)  # the points of a sweep ask for the same again
def _predicted(
    shapes: tuple[LayerShape, ...], batch_size: int, gpu: str, model: str
) -> dict[LayerShape, dict[str, float]]:
    rows = predict(layers_frame(list(shapes), batch_size), device=gpu, model=model).to_dict(
        orient="records"
    )
    return {
        shape: {str(name): float(row[name]) for name in row if str(name).endswith("_ms")}
        for shape, row in zip(shapes, rows, strict=True)
    }


def _finish(rows: Sequence[Mapping[Any, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows as a table, with the columns that follow from others."""
    frame = pd.DataFrame(rows)
    slots = frame[list(SLOTS)].sum(axis=1)
    frame["utilization"] = (frame["slots_useful"] / slots.where(slots > 0)).fillna(0.0)
    seconds = frame["seconds"].where(frame["seconds"] > 0)
    for suffix in ("", "_low", "_high"):
        frame[f"speedup{suffix}"] = frame[f"gpu_seconds{suffix}"] / seconds
    frame["limited_by"] = [limited_by(row) for row in rows]
    return frame[list(columns)]


def _summary_row(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    has_gpu = ~rows["phase"].isin(["pre_dgrad", "pre_wgrad"])
    sums: dict[str, Any] = {column: rows[column].sum() for column in _SUMS}
    for column in _GPU_SECONDS:
        times = rows.loc[has_gpu, column]
        sums[column] = times.sum(skipna=False) if len(times) else np.nan
    dense, useful = rows.loc[has_gpu, "dense_macs"].sum(), sums["useful_products"]
    return {
        "network": rows["network"].iloc[0],
        "phase": name,
        "layers": rows["layer"].nunique(),
        "iterations": int(rows["iterations"].max()),
        "batch_size": rows["batch_size"].iloc[0],
        **dict.fromkeys(_WHOLE_COLUMNS, np.nan),
        "work_reduction": dense / useful if useful and has_gpu.any() else np.nan,
        **sums,
    }


def _one_or_mixed(values: pd.Series[Any]) -> str:
    return str(values.iloc[0]) if values.nunique() == 1 else "mixed"
