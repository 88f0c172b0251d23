"""The interactive figures of a run, as Plotly documents (plain dicts)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from gscn_sim.report.sources import RunSource
from gscn_sim.results.tables import SLOTS
from gscn_sim.results.words import time_unit
from workloads import Phase

Figure = dict[str, Any]
# Okabe and Ito's colours, which colour-blind readers can tell apart; useful work is the green.
SLOT_COLOURS = dict(
    zip(
        SLOTS,
        (
            *("#009e73", "#d55e00", "#cc79a7", "#e69f00"),
            *("#999999", "#56b4e9", "#0072b2", "#f0e442"),
        ),
        strict=True,
    )
)
PHASE_COLOURS = {
    "forward": "#999999",
    "dgrad": "#0072b2",
    "wgrad": "#d55e00",
    "pre_dgrad": "#56b4e9",
    "pre_wgrad": "#e69f00",
}
_LAYOUT: dict[str, Any] = {
    "height": 430,
    "template": "none",
    "font": {"family": "system-ui, sans-serif", "size": 12},
    "margin": {"l": 60, "r": 20, "t": 70, "b": 50},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
}
# What tells phases apart where colours do not.
PHASE_SYMBOLS = {
    "forward": "cross",
    "dgrad": "circle",
    "wgrad": "diamond",
    "pre_dgrad": "square-open",
    "pre_wgrad": "triangle-up-open",
}
WIDE = 10**1.5
"""Largest over smallest value from which on an axis is logarithmic: one and a half decades."""
TALL_BAR = 8
"""Above so many times the median the tallest bar would leave nothing of the others to see."""
_BAR_PIXELS = 16
"""Room for the name under a bar; a figure of more bars than the page is wide can be scrolled."""


def speedup_bars(run: RunSource) -> Figure:
    """Speed-up of each layer against the GPU, one bar a phase, with the GPU model's band."""
    traces = []
    for phase, rows in _by_phase(run.layers):
        known = rows[rows["speedup"].notna()]
        if known.empty:
            continue
        bar: Figure = {
            "type": "bar",
            "name": phase,
            "x": known["layer"].tolist(),
            "y": known["speedup"].tolist(),
            "marker": {"color": PHASE_COLOURS[phase]},
            "hovertemplate": "%{x} " + phase + ": %{y:.2f}x<extra></extra>",
        }
        if known["speedup_low"].notna().all():
            bar["error_y"] = {
                "array": (known["speedup_high"] - known["speedup"]).tolist(),
                "arrayminus": (known["speedup"] - known["speedup_low"]).tolist(),
                "thickness": 1,
                "color": "#888888",
            }
        traces.append(bar)
    names = run.layers["layer"].unique().tolist()
    heights = run.layers["speedup"].dropna()
    axis: Figure = {"title": {"text": "speed-up (times the GPU)"}, "rangemode": "tozero"}
    if is_tall(heights):
        axis = _log_axis("speed-up (times the GPU, logarithmic)", heights.tolist())
    return _figure(traces, xaxis=_names_axis(names), yaxis=axis)


def time_bars(run: RunSource) -> Figure:
    """Where the backward convolutions' time goes on each machine, one stacked bar a machine."""
    rows = {row["phase"]: row for row in run.summary.to_dict(orient="records")}
    whole = rows.get("backward_with_pre", rows.get("backward"))
    if whole is None:
        return _figure([])
    machines = {
        str(run.config["name"]): "seconds",
        "dense array": "dense_seconds",
        "GPU, dense": "gpu_seconds",
    }
    shown = {name: key for name, key in machines.items() if math.isfinite(whole[key])}
    unit, scale = time_unit(max(float(whole[key]) for key in shown.values()))
    parts = {
        phase: (list(shown), [rows[phase][key] for key in shown.values()])
        for phase in PHASE_COLOURS
        if phase in rows and phase != "forward"
    }
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": bars,
            "x": [seconds * scale if math.isfinite(seconds) else 0.0 for seconds in times],
            "marker": {"color": PHASE_COLOURS.get(name, "#999999")},
            "hovertemplate": "%{y} " + name + ": %{x:.4g} " + unit + "<extra></extra>",
        }
        for name, (bars, times) in parts.items()
    ]
    axis = {"title": {"text": f"time of the backward convolutions ({unit})"}}
    names = {"autorange": "reversed", "automargin": True}
    return _figure(traces, barmode="stack", height=300, xaxis=axis, yaxis=names)


def speedup_by_density(run: RunSource) -> Figure:
    """Speed-up of each layer against how many of its dense products are useful."""
    layers = run.layers[run.layers["speedup"].notna()]
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": phase,
            "x": (100 * rows["useful_products"] / rows["dense_macs"]).tolist(),
            "y": rows["speedup"].tolist(),
            "text": rows["layer"].tolist(),
            "marker": _marker(phase),
            "hovertemplate": "%{text}: %{x:.3g} % of the products, %{y:.3g}x",
        }
        for phase, rows in _by_phase(layers)
    ]
    across = [x for trace in traces for x in trace["x"]]
    up = [y for trace in traces for y in trace["y"]]
    axes = {
        "xaxis": _log_axis("products of two non-zeros (% of the dense ones)", across),
        "yaxis": _log_axis("speed-up (times the GPU)", up),
    }
    return _figure(traces, **axes)


def slot_bars(run: RunSource) -> Figure:
    """Where the multiplier slots of each layer-phase went, in percent."""
    labels = (run.layers["layer"] + " " + run.layers["phase"]).tolist()
    totals = run.layers[list(SLOTS)].sum(axis=1)
    traces = [
        {
            "type": "bar",
            "name": name.removeprefix("slots_").replace("_", " "),
            "x": labels,
            "y": (100 * run.layers[name] / totals).tolist(),
            "marker": {"color": SLOT_COLOURS[name]},
            "hovertemplate": "%{x}: %{y:.1f} % %{fullData.name}<extra></extra>",
        }
        for name in SLOTS
    ]
    return _figure(
        traces,
        barmode="stack",
        width=max(1100, _BAR_PIXELS * len(labels)),
        xaxis=_names_axis(labels),
        yaxis={"title": {"text": "multiplier slots (%)"}},
    )


def roofline(run: RunSource) -> Figure:
    """Useful products a second over useful products a DRAM byte, under the machine's two roofs."""
    layers = run.layers
    moved = layers["dram_read_bytes"] + layers["dram_write_bytes"]
    peak, bandwidth = machine_peaks(run.config)
    traces: list[Figure] = []
    for phase, rows in _by_phase(layers.assign(_moved=moved)):
        useful = rows["useful_products"]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": phase,
                "x": (useful / rows["_moved"]).tolist(),
                "y": (useful / rows["seconds"]).tolist(),
                "text": rows["layer"].tolist(),
                "marker": _marker(phase),
                "hovertemplate": "%{text}: %{x:.3g} products a byte, %{y:.3g} a second",
            }
        )
    reach = [x for trace in traces for x in trace["x"] if x > 0] or [1.0]
    ridge = peak / bandwidth
    ends = sorted({min(*reach, ridge) / 2, ridge, max(*reach, ridge) * 2})
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "roof",
            "x": ends,
            "y": [min(peak, bandwidth * x) for x in ends],
            "line": {"color": "text", "width": 1},  # the page's own colour
            "hoverinfo": "skip",
        }
    )
    heights = [y for trace in traces for y in trace["y"]]
    axes = {
        "xaxis": _log_axis("useful products for each DRAM byte", [*reach, *ends]),
        "yaxis": _log_axis("useful products per second", heights),
    }
    return _figure(traces, **axes)


def pe_heat_map(run: RunSource, phase: str) -> Figure:
    """Share of a phase's time in which each PE computed, laid out as the PEs are."""
    rows, cols = int(run.config["array.pe_rows"]), int(run.config["array.pe_cols"])
    shares = [100 * share for share in run.pe_busy[phase]]
    grid = [shares[row * cols : (row + 1) * cols] for row in range(rows)]
    trace = {
        "type": "heatmap",
        "z": grid,
        "zmin": 0,
        "zmax": 100,
        "colorscale": "Viridis",
        "colorbar": {"title": {"text": "% busy"}},
        "hovertemplate": "PE row %{y}, column %{x}: %{z:.1f} % busy<extra></extra>",
    }
    axes = {
        "xaxis": {"title": {"text": "PE column"}},
        "yaxis": {"autorange": "reversed", "title": {"text": "PE row"}},
    }
    return _figure([trace], **axes)


def is_tall(heights: pd.Series[float]) -> bool:
    """Whether the tallest bar would leave nothing of the others to see on a linear axis."""
    return len(heights) > 0 and bool(heights.max() > TALL_BAR * heights.median())


def is_wide(values: Iterable[float]) -> bool:
    """Whether values span so much that an axis of them should be logarithmic."""
    known = [value for value in values if math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) / min(known) > WIDE


def phases_in(frame: pd.DataFrame) -> list[str]:
    """The phases that a table has, in the order of the enum."""
    present = set(frame["phase"])
    return [str(phase) for phase in Phase if phase in present]


def machine_peaks(config: dict[str, Any]) -> tuple[float, float]:
    """Products a second and DRAM bytes a second at best."""
    multipliers = (
        config["array.pe_rows"]
        * config["array.pe_cols"]
        * config["pe.streamed_vector"]
        * config["pe.stationary_vector"]
    )
    peak = multipliers * config["array.clock_ghz"] * 1e9
    pins = config["dram.channels"] * config["dram.channel_bits"]
    return peak, pins / 8 * config["dram.transfers_gtps"] * 1e9


def _marker(phase: str) -> Figure:
    return {"color": PHASE_COLOURS[phase], "symbol": PHASE_SYMBOLS[phase], "size": 8}


def _by_phase(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(phase, frame[frame["phase"] == phase]) for phase in phases_in(frame)]


def _log_axis(title: str, values: list[float]) -> Figure:
    """A logarithmic axis with 1, 2 and 5 of each decade written out: 20, 50k, 2G."""
    shown = [value for value in values if value > 0] or [1.0]
    first, last = (math.floor(math.log10(end)) for end in (min(shown), max(shown)))
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    return {
        "title": {"text": title},
        "type": "log",
        "tickvals": ticks,
        "ticktext": [short_number(tick) for tick in ticks],
        "automargin": True,
    }


def short_number(value: float) -> str:
    """A round number in few letters: 0.2, 50k, 2G."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _names_axis(names: list[str]) -> Figure:
    """An axis of names in this order, each written out."""
    return {
        "categoryorder": "array",
        "categoryarray": names,
        "tickmode": "linear",
        "tickangle": 90,
        "tickfont": {"size": 10},
        "automargin": True,
    }


def _figure(traces: list[Any], **layout: Any) -> Figure:
    return {"data": traces, "layout": {**_LAYOUT, **layout}}
