"""A store's points as a DataFrame."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gscn_sim.sweep.errors import SpaceError, StoreError
from gscn_sim.sweep.schema import METRICS, TEXT_METRICS
from gscn_sim.sweep.store import connect, errors_explained, store_path

_POINT = ("network", "batch_size", "phases", "gpu", "gpu_model", "status", "error")
_ORIGIN = ("trace", "trace_digest", "config_digest", "code")
COLUMNS = (*_POINT[:5], *METRICS, *TEXT_METRICS, "status", "error", *_ORIGIN)
_TEXTS = tuple(name for name in COLUMNS if name not in (*METRICS, "config_digest"))


def sweep_table(path: str | Path, sweep: int | None = None) -> pd.DataFrame:
    """The finished points of a store (or of one of its sweeps), in the order of the space.

    Columns: ``sweep``, ``point`` (its position), one per axis, then the metrics, the status and
    where they came from. They say nothing about when, where or in which order points ran.

    Raises:
        StoreError: no such store or sweep, or a damaged one.
    """
    file = store_path(path)
    metrics = ", ".join(f"points.{name}" for name in METRICS)
    told_names = ", ".join(f"points.{name}" for name in _TEXTS)
    source = (
        "FROM members JOIN points ON points.id = members.point WHERE status != 'running' "
        + ("AND sweep = ? " if sweep is not None else "")
        + "ORDER BY sweep, position"
    )
    chosen = () if sweep is None else (sweep,)
    connection = connect(file)
    try:
        with errors_explained(file):
            connection.execute("BEGIN")  # both queries see the same points
            known = [number for (number,) in connection.execute("SELECT id FROM sweeps")]
            if sweep is not None and sweep not in known:
                raise StoreError(f"{file}: no sweep {sweep}; there are {known}")
            numbers = connection.execute(f"SELECT {metrics} {source}", chosen)
            values = np.fromiter(itertools.chain.from_iterable(numbers), float)
            rows = connection.execute(
                f"SELECT sweep, position, config_digest, params, json_array({told_names}) {source}",
                chosen,
            ).fetchall()
    finally:
        connection.close()
    # One array of numbers, one parse of all params, and each combination of texts once: several
    # times faster than a table of objects whose types pandas has to find out.
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) or [()] * 5
    sweeps, points, digests, params, texts = columns
    frame = pd.DataFrame({"sweep": sweeps, "point": points, "config_digest": digests})
    axes = pd.DataFrame(json.loads(f"[{','.join(params)}]"), index=frame.index)
    combinations = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    told = pd.DataFrame([json.loads(text) for text in combinations], columns=list(_TEXTS))
    codes = [combinations[text] for text in texts]
    frame[list(_TEXTS)] = told.take(codes).set_axis(frame.index)
    frame[list(METRICS)] = values.reshape(-1, len(METRICS))
    return pd.concat([frame[["sweep", "point"]], axes, frame[list(COLUMNS)]], axis=1)


def axis_names(frame: pd.DataFrame) -> list[str]:
    """The columns of a sweep's table that are axes and take more than one value."""
    fixed = {"sweep", "point", *COLUMNS}
    axes = [str(name) for name in frame.columns if name not in fixed]
    workload = [name for name in ("network", "batch_size") if frame[name].nunique() > 1]
    return [*workload, *(name for name in axes if frame[name].nunique() > 1)]


def point_config(path: str | Path, point: int, sweep: int | None = None) -> dict[str, Any]:
    """The full configuration of one point, flat, with the preset's name.

    Raises:
        StoreError: no such point.
    """
    file = store_path(path)
    connection = connect(file)
    try:
        with errors_explained(file):
            rows = connection.execute(
                "SELECT sweep, json FROM members JOIN points ON points.id = members.point "
                "JOIN configs ON configs.digest = config_digest WHERE position = ?",
                (point,),
            ).fetchall()
    finally:
        connection.close()
    found = [text for number, text in rows if sweep in (None, number)]
    if not found:
        raise StoreError(f"{file}: no point {point} with a configuration")
    if len(set(found)) > 1:
        raise StoreError(f"{file}: point {point} is in several sweeps; name one")
    config: dict[str, Any] = json.loads(found[0])
    return config


def finished(frame: pd.DataFrame, where: str | None = None) -> pd.DataFrame:
    """The points that are done and meet a condition, as ``area_mm2 < 400 and batch_size == 16``.

    Raises:
        SpaceError: the condition cannot be evaluated; nothing is done or meets it.
    """
    done = frame[frame["status"] == "done"]
    if where is not None:
        try:
            done = done.query(where, engine="python")
        except Exception as error:  # pandas raises whatever the parser or the columns did
            reason = " ".join(str(error).split())
            raise SpaceError(f"--where {where!r}: cannot be evaluated: {reason}") from None
    if done.empty:
        raise SpaceError("no finished point" + (f" meets {where!r}" if where else ""))
    return done


def check_metric(frame: pd.DataFrame, metric: str) -> None:
    """Raise SpaceError unless a metric is a number that some point has."""
    if metric not in METRICS:
        raise SpaceError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if not any(math.isfinite(value) for value in frame[metric]):
        raise SpaceError(f"no point has a value of {metric}")
