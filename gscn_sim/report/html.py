"""One HTML page that needs nothing but a browser."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from gscn_sim.files import digits, plain, records, whole_numbers, write_text
from gscn_sim.report import figures
from gscn_sim.report.sources import RunSource, SweepSource, read_source
from gscn_sim.results.words import metric_factor, metric_title
from workloads import GscnError

MAX_POINTS = 20_000


def write_report(source: str | Path, path: str | Path) -> None:
    """Write the report of a run's JSON file or a sweep's folder.

    Raises:
        GscnError: the source cannot be read, plotly or jinja2 is missing, or the page cannot be
            written.
    """
    data = read_source(source)
    page = run_page(data) if isinstance(data, RunSource) else sweep_page(data)
    write_text(path, page)


def run_page(run: RunSource) -> str:
    """The page of one run: headline, speed-ups, slots, roofline, PE load, tables."""
    shown = {
        "time": ("Where the time goes", figures.time_bars(run)),
        "speedup": ("Speed-up of each layer", figures.speedup_bars(run)),
        "density": ("Speed-up against density", figures.speedup_by_density(run)),
        "slots": ("Where the multiplier slots went", figures.slot_bars(run)),
        "roofline": ("Roofline", figures.roofline(run)),
    }
    shown = {name: entry for name, entry in shown.items() if entry[1]["data"]}
    for phase in run.pe_busy:
        if run.pe_busy[phase]:
            title = f"How busy each PE was: {phase}"
            shown[f"pe-load-{phase}"] = (title, figures.pe_heat_map(run, phase))
    return _render(
        title=f"{run.summary['network'].iloc[0]} on {run.config['name']}",
        headline=run.headline,
        figures={name: title for name, (title, _) in shown.items()},
        tables={"Summary": _cells(run.summary), "Layers": _cells(run.layers)},
        config=run.config,
        provenance=_flat(run.provenance),
        timeline=str(run.provenance.get("timeline") or ""),
        data={"figures": {name: figure for name, (_, figure) in shown.items()}},
    )


def sweep_page(sweep: SweepSource) -> str:
    """The page of a sweep: trade-off scatter, linked table, main effects, two designs compared.

    Raises:
        GscnError: more points than a page can hold.
    """
    from gscn_sim.sweep import Objective, best, effects_note, sensitivity
    from gscn_sim.sweep.errors import SpaceError
    from gscn_sim.sweep.schema import METRICS
    from gscn_sim.sweep.table import axis_names, finished

    done = finished(sweep.table).reset_index(drop=True)
    if len(done) > MAX_POINTS:
        raise GscnError(
            f"{sweep.name}: {len(done):,} points; a page holds {MAX_POINTS:,}: export some instead"
        )
    speed = Objective(metric="speedup", maximize=True)
    metrics = [name for name in METRICS if done[name].notna().any() and done[name].nunique() > 1]
    metrics = metrics or ["seconds"]
    axes = axis_names(done)
    effects = {}
    for metric in metrics:
        with contextlib.suppress(SpaceError):  # there may be nothing that differs
            rows = records(sensitivity(done, metric))
            effects[metric] = {"rows": rows, "note": effects_note(done, metric)}
    headline = f"{len(done):,} points simulated"
    if done["speedup"].notna().any():
        top = best(done, speed, count=1).iloc[0]
        headline += f"; the fastest, point {top['point']}, reaches {top['speedup']:.2f}x"
    columns = ["sweep", "point", *axes, *metrics, "limited_by", "network", "batch_size"]
    points = done[list(dict.fromkeys(columns))]
    front = _front(done)
    common, changes = _shared_and_own(sweep.configs, done["config_digest"].tolist())
    return _render(
        title=f"Sweep {Path(sweep.name).name}",
        headline=headline,
        figures={},
        tables={},
        config=common,
        provenance={},
        timeline="",
        data={
            "points": records(points),
            "front": front,
            "metrics": metrics,
            "axes": axes,
            "effects": effects,
            "titles": {name: metric_title(name) for name in [*points.columns, *metrics]},
            "factors": {name: metric_factor(name) for name in metrics},
            "wide": [name for name in [*metrics, *axes] if _wide(points[name])],
            "configs": changes,
            "start": {
                "x": next((m for m in ("area_mm2", "energy_j") if m in metrics), metrics[0]),
                "y": "speedup" if "speedup" in metrics else metrics[-1],
            },
        },
    )


def _front(done: pd.DataFrame) -> list[bool]:
    """Which points no other beats in speed-up, energy and area together."""
    from gscn_sim.sweep.answers import non_dominated
    from gscn_sim.sweep.table import WORKLOAD

    costs = done[["speedup", "energy_j", "area_mm2"]].fillna(float("inf"))
    costs["speedup"] = -done["speedup"].fillna(float("-inf"))
    kept = pd.Series(False, index=done.index)
    for _, group in done.groupby(WORKLOAD, sort=False):
        kept[group.index] = non_dominated(costs.loc[group.index].to_numpy(dtype=float))
    return kept.tolist()


def _wide(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and figures.is_wide(column.dropna().tolist())


def _shared_and_own(
    configs: dict[str, dict[str, Any]], digests: list[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What all designs have in common, and what each has of its own."""
    used = [configs[digest] for digest in digests]
    first = used[0]
    common = {key: first[key] for key in first if all(c.get(key) == first[key] for c in used)}
    own = [{key: value for key, value in c.items() if key not in common} for c in used]
    return common, own


def _cells(frame: pd.DataFrame) -> dict[str, Any]:
    """Headings and texts of a table, and which columns are of numbers."""
    rows = [
        [digits(v) if isinstance(v, int | float) else str(v) for v in row.values()]
        for row in whole_numbers(frame).to_dict(orient="records")
    ]
    numbers = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    return {"columns": list(frame.columns), "numbers": numbers, "rows": rows, "note": ""}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``trace.versions.torch`` -> its value, from nested mappings."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _render(*, data: dict[str, Any], **values: Any) -> str:
    try:
        import jinja2
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
    except ImportError as error:
        raise GscnError(f"a report needs {error.name} (pip install 'gscn-sim[report]')") from None
    folder = resources.files("gscn_sim.report") / "page"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    # "</script>" inside a name must not end the block that holds the data.
    text = json.dumps(plain(data), allow_nan=False).replace("<", "\\u003c")
    return template.render(
        **values,
        data=text,
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )
