"""Reading back what a run or a sweep left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gscn_sim.compare.tables import LAYER_COLUMNS, SUMMARY_COLUMNS, layer_means
from gscn_sim.files import is_whole
from gscn_sim.results.tables import DENSITIES
from workloads import GscnError
from workloads.errors import reason
from workloads.files import read_regular

RUN_LIMIT_BYTES = 1 << 30
_LATER = ("gpu_note", "dense_seconds", "speedup_over_dense")  # not in 0.1 (nor all in 0.2)
RUN_KEYS = ("summary", "layers", "config", "provenance")


@dataclass(frozen=True, kw_only=True)
class RunSource:
    """A saved run: its layers as means over the recorded iterations, its summary, its origin."""

    headline: str
    layers: pd.DataFrame
    summary: pd.DataFrame
    pe_busy: dict[str, list[float]]
    config: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SweepSource:
    """The finished points of a store, and the full configuration of each by its digest."""

    name: str
    table: pd.DataFrame
    configs: dict[str, dict[str, Any]]


def read_source(path: str | Path) -> RunSource | SweepSource:
    """Read a run's JSON file, or a sweep's folder or store.

    Raises:
        GscnError: it is neither.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return read_run(path)
    return read_sweep(path)


def read_run(path: Path) -> RunSource:
    """Read the document that ``gscn-sim run -o run.json`` writes.

    Raises:
        GscnError: no such file, or another one.
    """
    try:
        document = json.loads(read_regular(path, RUN_LIMIT_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise GscnError(f"{path}: cannot be read as the JSON of a run: {reason(error)}") from None
    if not isinstance(document, dict) or any(key not in document for key in RUN_KEYS):
        raise GscnError(f"{path}: not a run; one has the keys {', '.join(RUN_KEYS)}")
    try:
        if not is_whole(document):
            raise GscnError(f"{path}: damaged or changed: it is not what its digest says")
        return source_of_run(document)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise GscnError(f"{path}: not a whole run: {type(error).__name__}: {error}") from None


def source_of_run(document: dict[str, Any]) -> RunSource:
    """What the document of a run (:func:`gscn_sim.compare.document.run_document`) says."""
    phases = document["summary"]["phases"]
    layers = [dict.fromkeys((*DENSITIES, *_LATER)) | row for row in document["layers"]]
    summary = [dict.fromkeys(_LATER) | row for row in phases.values()]
    return RunSource(
        headline=str(document["summary"]["headline"]),
        layers=layer_means(_numbers(layers, LAYER_COLUMNS)),
        summary=_numbers(summary, SUMMARY_COLUMNS),
        pe_busy={name: row.get("pe_busy_share") or [] for name, row in phases.items()},
        config=dict(document["config"]),
        provenance=dict(document["provenance"]),
    )


def read_sweep(path: Path) -> SweepSource:
    """Read a store with the configurations of its points."""
    from gscn_sim.sweep.table import point_configs, sweep_table

    table = sweep_table(path)
    if table.empty:
        raise GscnError(f"{path}: no finished points")
    return SweepSource(name=str(path), table=table, configs=point_configs(path))


def _numbers(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """The rows with every column; what JSON has as null is NaN among numbers."""
    frame = pd.DataFrame(rows)[list(columns)]
    for name in frame.columns:
        if frame[name].isna().all():
            frame[name] = frame[name].astype(float)
    return frame
