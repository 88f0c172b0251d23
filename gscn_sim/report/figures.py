"""The interactive figures of a run, as Plotly documents (plain dicts)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gscn_sim.report.sources import RunSource
from gscn_sim.results.tables import SLOTS
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
    "template": "none",
    "font": {"family": "system-ui, sans-serif", "size": 12},
    "margin": {"l": 60, "r": 20, "t": 70, "b": 50},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
}
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
            }
        traces.append(bar)
    names = run.layers["layer"].unique().tolist()
    axis = {"title": {"text": "speed-up"}, "rangemode": "tozero"}
    return _figure(traces, xaxis=_names_axis(names), yaxis=axis)


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
        height=430,
        xaxis=_names_axis(labels),
        yaxis={"title": {"text": "% of slots"}},
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
                "marker": {"color": PHASE_COLOURS[phase], "size": 8},
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
            "line": {"color": "#000000", "width": 1},
            "hoverinfo": "skip",
        }
    )
    log = {"type": "log", "dtick": "D2", "automargin": True}
    axes = {
        "xaxis": {**log, "title": {"text": "useful products a DRAM byte"}},
        "yaxis": {**log, "title": {"text": "useful products a second"}, "tickformat": "~s"},
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
    return _figure([trace], yaxis={"autorange": "reversed", "title": {"text": "PE row"}})


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


def _by_phase(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(phase, frame[frame["phase"] == phase]) for phase in phases_in(frame)]


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
