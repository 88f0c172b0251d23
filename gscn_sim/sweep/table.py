"""A store's points as a DataFrame."""

from __future__ import annotations

import json
import operator
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gscn_sim.sweep.errors import SpaceError, StoreError
from gscn_sim.sweep.integrity import POINT_CELLS, Cells, Row
from gscn_sim.sweep.opening import read_store
from gscn_sim.sweep.points import digest
from gscn_sim.sweep.schema import METRICS, TEXT_METRICS
from gscn_sim.sweep.store import store_path
from workloads.errors import GscnWarning

_POINT = ("network", "batch_size", "phases", "gpu", "gpu_model", "status", "error")
_ORIGIN = ("trace", "trace_digest", "config_digest", "code")
COLUMNS = (*_POINT[:5], *METRICS, *TEXT_METRICS, "status", "error", *_ORIGIN)
_TEXTS = tuple(name for name in COLUMNS if name not in (*METRICS, "config_digest"))
_TEXT_PLACES = [POINT_CELLS.index(name) for name in _TEXTS]
WORKLOAD = ["network", "batch_size", "trace_digest"]
"""What a point runs: a trace at a batch size."""
_RESERVED = frozenset(("sweep", "point", *COLUMNS))


def sweep_table(path: str | Path, sweep: int | None = None) -> pd.DataFrame:
    """The finished points of a store (or of one of its sweeps), in the order of the space.

    Columns: ``sweep``, ``point`` (its position), one per axis, then the metrics, the status and
    where they came from. They say nothing about when, where or in which order points ran.

    Raises:
        StoreError: no such store or sweep, or a damaged one.
    """
    file = store_path(path)
    content = read_store(file, sweep)
    if sweep is not None and sweep not in content.sweeps:
        raise StoreError(f"{file}: no sweep {sweep}; there are {content.sweeps}")
    rows, params, odd = [], [], []
    for row in content.rows:
        if row.finished and row.cells is not None:
            found = _axes(row.params)
            if found is None:
                odd.append((row.sweep, row.position))
            else:
                rows.append(row)
                params.append(found)
    damage = replace(content.damage, rows=(*content.damage.rows, *odd))
    if damage:
        warnings.warn(
            f"{file}: {damage}, left out here; the command of the sweep runs them again",
            GscnWarning,
            stacklevel=2,
        )
    # One array of numbers, and each combination of texts once: several times faster than a table
    # of objects whose types pandas has to find out.
    frame = pd.DataFrame({"sweep": [r.sweep for r in rows], "point": [r.position for r in rows]})
    first = len(POINT_CELLS) - len(METRICS)
    cells = [row.cells for row in rows if row.cells is not None]
    values = np.array([found[first:] for found in cells], dtype=float)  # None is NaN
    axes = pd.DataFrame(params, index=frame.index)
    texts = list(map(operator.itemgetter(*_TEXT_PLACES), cells))
    combinations = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    told = pd.DataFrame(list(combinations), columns=list(_TEXTS))
    codes = [combinations[text] for text in texts]
    frame[list(_TEXTS)] = told.take(codes).set_axis(frame.index)
    frame["config_digest"] = [_config_digest(row) for row in rows]
    frame[list(METRICS)] = values.reshape(-1, len(METRICS))
    return pd.concat([frame[["sweep", "point"]], axes, frame[list(COLUMNS)]], axis=1)


def _cells(row: Row) -> Cells:
    assert row.cells is not None
    return row.cells


def _config_digest(row: Row) -> str | None:
    found: str | None = _cells(row)[POINT_CELLS.index("config_digest")]
    return found


def _axes(text: str) -> dict[str, Any] | None:
    """The values of a point's axes; None if they cannot be what was written."""
    try:
        params = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(params, dict) or not _RESERVED.isdisjoint(params):
        return None
    plain = all(isinstance(value, bool | int | float | str) for value in params.values())
    return (
        params
        if plain and all(abs(v) < 1 << 63 for v in params.values() if type(v) is int)
        else None
    )


def axis_names(frame: pd.DataFrame) -> list[str]:
    """The columns of a sweep's table that are axes and take more than one value."""
    fixed = {"sweep", "point", *COLUMNS}
    axes = [str(name) for name in frame.columns if name not in fixed]
    workload = [name for name in ("network", "batch_size") if frame[name].nunique() > 1]
    return [*workload, *(name for name in axes if frame[name].nunique() > 1)]


def parameter_names(frame: pd.DataFrame) -> list[str]:
    """The axes that are parameters of a design; traces and batches are its workloads."""
    return [name for name in axis_names(frame) if name not in WORKLOAD]


def workload_labels(frame: pd.DataFrame) -> pd.Series[str]:
    """Each point's workload as ``resnet34/16``, with its trace where two have the same name."""
    labels = frame["network"].astype(str) + "/" + frame["batch_size"].astype(str)
    traces = frame["trace_digest"].groupby(labels).transform("nunique")
    named = labels + " (" + frame["trace"].astype(str) + ")"
    return labels.where(traces == 1, named).rename("workload")


def point_config(path: str | Path, point: int, sweep: int | None = None) -> dict[str, Any]:
    """The full configuration of one point, flat, with the preset's name.

    Raises:
        StoreError: no such point.
    """
    file = store_path(path)
    content = read_store(file)
    digests = {
        _config_digest(row)
        for row in content.rows
        if row.cells is not None and row.position == point and sweep in (None, row.sweep)
    }
    found = [name for name in digests if name is not None and name in content.configs]
    if not found:
        raise StoreError(f"{file}: no point {point} with a configuration")
    if len(found) > 1:
        raise StoreError(f"{file}: point {point} is in several sweeps; name one")
    config = _configuration(found[0], content.configs[found[0]])
    if config is None:
        raise StoreError(f"{file}: the configuration of point {point} is damaged")
    return config


def point_configs(path: str | Path) -> dict[str, dict[str, Any]]:
    """The full configurations of a store by their digests; damaged ones are left out."""
    found = {d: _configuration(d, text) for d, text in read_store(store_path(path)).configs.items()}
    return {key: config for key, config in found.items() if config is not None}


def _configuration(written: str, text: str) -> dict[str, Any] | None:
    """A configuration of this digest; None if it is not what was written."""
    try:
        config = json.loads(text)
        return config if isinstance(config, dict) and digest(config) == written else None
    except (ValueError, TypeError, RecursionError):
        return None


def finished(frame: pd.DataFrame, where: str | None = None) -> pd.DataFrame:
    """The points that are done and meet a condition; where some were simulated, of these only.

    A condition is such as ``area_mm2 < 400 and batch_size == 16``.

    Raises:
        SpaceError: the condition cannot be evaluated; nothing is done or meets it.
    """
    done = frame[frame["status"] == "done"]
    if "fidelity" in done:  # tables of earlier programs have simulated points only
        exact = ~done["fidelity"].isin(("bound", "estimate"))
        if exact.any():  # figures of another kind are no match for simulated ones
            done = done[exact]
    if where is not None:
        try:
            done = done.query(where, engine="python")
        except Exception as error:  # pandas raises whatever the parser or the columns did
            reason = " ".join(str(error).split())
            raise SpaceError(f"--where {where!r}: cannot be evaluated: {reason}") from None
    if done.empty:
        raise SpaceError("no finished point" + (f" meets {where!r}" if where else ""))
    return done
