"""Static figures for papers, drawn by Matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gscn_sim.files import whole_file
from gscn_sim.report.figures import (
    PHASE_COLOURS,
    SLOT_COLOURS,
    is_tall,
    is_wide,
    phases_in,
    short_number,
)
from gscn_sim.report.sources import RunSource, SweepSource, read_source
from gscn_sim.results.tables import SLOTS
from gscn_sim.results.words import metric_factor, metric_title, metric_words
from workloads import GscnError

if TYPE_CHECKING:
    from types import ModuleType

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
SWEEP_KINDS = ("pareto", "effects", "hypervolume")
# Okabe and Ito's colours; shapes, lines and hatches say the same without colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("s", "^", "D", "v", "P", "o")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "xx", "..")
# Names of layers are texts, whatever they hold.
_STYLE = {"svg.hashsalt": "gscn-sim", "font.size": 8, "text.parse_math": False}
# Fixed, so that the same data give the same file.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


def write_plot(
    source: str | Path,
    path: str | Path,
    *,
    kind: str | None = None,
    x_metric: str = "area_mm2",
    y_metric: str = "speedup",
) -> None:
    """Draw one of ``SWEEP_KINDS`` of a sweep, ``speedup`` or ``slots`` of a run, to a file.

    Raises:
        GscnError: the source has no such figure, the suffix is unknown, matplotlib is missing, or
            the file cannot be written.
    """
    figure_suffix(path)
    save_figure(draw(read_source(source), kind, x_metric=x_metric, y_metric=y_metric), path)


def draw(
    data: RunSource | SweepSource,
    kind: str | None = None,
    *,
    x_metric: str = "area_mm2",
    y_metric: str = "speedup",
    objective: str | None = None,
) -> Figure:
    """The figure that :func:`write_plot` writes.

    ``objective`` is of ``hypervolume``: metrics as a search takes them, without it both axes'.

    Raises:
        GscnError: the source has no such figure, or matplotlib is missing.
    """
    mpl = _matplotlib()
    from matplotlib.figure import Figure

    drawing = _drawing(data, kind, x_metric, y_metric, objective)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.0, 3.2), layout="constrained")
        drawing(figure.add_subplot())
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure; the same figure gives the same file.

    Raises:
        GscnError: the suffix is unknown, or the file cannot be written.
    """
    suffix = figure_suffix(path)
    with _matplotlib().rc_context(_STYLE), whole_file(path) as file:
        figure.savefig(file, format=suffix[1:], dpi=200, metadata=_METADATA[suffix])


def figure_suffix(path: str | Path) -> str:
    """The suffix of a figure's file.

    Raises:
        GscnError: it is none of ``.png .svg .pdf``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise GscnError(f"{path}: a figure's name must end in {', '.join(SUFFIXES)}")
    return suffix


def _matplotlib() -> ModuleType:
    try:
        import matplotlib as mpl
    except ImportError:
        raise GscnError("a figure needs matplotlib (pip install 'gscn-sim[report]')") from None
    return mpl


def _drawing(
    data: RunSource | SweepSource,
    kind: str | None,
    x_metric: str,
    y_metric: str,
    objective: str | None,
) -> Callable[[Axes], None]:
    if isinstance(data, RunSource):
        if kind not in (None, "speedup", "slots"):
            raise GscnError(f"--kind of a run must be speedup or slots, got {kind}")
        return lambda axes: (draw_slots if kind == "slots" else draw_speedup)(axes, data)
    if kind not in (None, *SWEEP_KINDS):
        raise GscnError(f"--kind of a sweep must be one of {', '.join(SWEEP_KINDS)}, got {kind}")
    if kind == "effects":
        return lambda axes: draw_effects(axes, data, y_metric)
    if kind == "hypervolume":
        return lambda axes: draw_hypervolume(axes, data, objective or f"{x_metric},{y_metric}")
    return lambda axes: draw_pareto(axes, data, x_metric, y_metric)


def draw_speedup(axes: Axes, run: RunSource) -> None:
    """One group of bars a layer, one bar a phase, with the GPU model's band."""
    known = run.layers[run.layers["speedup"].notna()]
    names = list(dict.fromkeys(known["layer"]))
    phases = phases_in(known)
    width = 0.8 / max(len(phases), 1)
    for index, phase in enumerate(phases):
        rows = known[known["phase"] == phase]
        places = [
            names.index(name) + (index - (len(phases) - 1) / 2) * width for name in rows["layer"]
        ]
        low, high = rows["speedup"] - rows["speedup_low"], rows["speedup_high"] - rows["speedup"]
        band = None if low.isna().any() else [low.tolist(), high.tolist()]
        axes.bar(places, rows["speedup"], width, label=phase, color=PHASE_COLOURS[phase],
                 yerr=band, error_kw={"linewidth": 0.6})  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_ylabel("speed-up")
    if is_tall(known["speedup"]):
        _make_logarithmic(axes.yaxis)
    axes.axhline(1, color="black", linewidth=0.6)
    if phases:
        axes.legend(frameon=False)


def _make_logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, with 1, 2 and 5 of each decade written out: 20, 50k, 2G."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_formatter(NullFormatter())


def draw_slots(axes: Axes, run: RunSource) -> None:
    """Where the slots of each phase of the network went."""
    rows = run.summary
    total = rows[list(SLOTS)].sum(axis=1)
    left = 0.0 * total
    for name in SLOTS:
        share = 100 * rows[name] / total
        label = name.removeprefix("slots_").replace("_", " ")
        axes.barh(rows["phase"], share, left=left, color=SLOT_COLOURS[name], label=label)
        left = left + share
    axes.invert_yaxis()
    axes.set_xlabel("% of multiplier slots")
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def draw_pareto(axes: Axes, sweep: SweepSource, x_metric: str, y_metric: str) -> None:
    """All designs, and those that no other beats in the two metrics."""
    from gscn_sim.sweep import pareto, parse_objectives
    from gscn_sim.sweep.metrics import with_metrics
    from gscn_sim.sweep.table import finished, workload_labels

    objectives = parse_objectives(f"{x_metric},{y_metric}")
    done = with_metrics(finished(sweep.table), [objective.metric for objective in objectives])
    across, up = metric_factor(x_metric), metric_factor(y_metric)
    places = done[x_metric] * across, done[y_metric] * up
    axes.scatter(*places, s=9, marker="x", linewidths=0.6, color="#777777", label="other designs")
    front = pareto(sweep.table, objectives)
    for index, (workload, rows) in enumerate(front.groupby(workload_labels(front), sort=False)):
        line = rows.sort_values(x_metric)
        across_line, up_line = line[x_metric] * across, line[y_metric] * up
        look = {"where": "post", "markersize": 4, "linewidth": 1.0, **_look(index)}
        axes.step(across_line, up_line, label=f"best of {workload}", **look)
    axes.set_xlabel(metric_title(x_metric))
    axes.set_ylabel(metric_title(y_metric))
    for axis, values in zip((axes.xaxis, axes.yaxis), places, strict=True):
        if is_wide(values):
            _make_logarithmic(axis)
    axes.legend(frameon=False)


def draw_effects(axes: Axes, sweep: SweepSource, metric: str) -> None:
    """How much of a metric's variation each parameter explains by itself, for each workload."""
    from gscn_sim.sweep import sensitivity

    effects = sensitivity(sweep.table, metric)
    names = list(dict.fromkeys(effects["axis"]))
    groups = list(effects.groupby("workload", sort=False))
    height = 0.8 / len(groups)
    for index, (workload, rows) in enumerate(groups):
        shift = (index - (len(groups) - 1) / 2) * height
        places = [names.index(name) + shift for name in rows["axis"]]
        look: dict[str, Any] = {
            "color": COLOURS[index % len(COLOURS)],
            "hatch": HATCHES[index % len(HATCHES)],
        }
        look |= {"label": str(workload), "edgecolor": "white"}
        axes.barh(places, 100 * rows["share"], height, **look)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"% of the variance of {metric_words(metric)}")
    if len(groups) > 1:
        axes.legend(frameon=False)


def draw_hypervolume(axes: Axes, sweep: SweepSource, objective: str) -> None:
    """How the part of the objectives' box that a sweep's designs beat grew, point by point."""
    from gscn_sim.sweep import hypervolume_history, parse_objectives
    from gscn_sim.sweep.table import workload_labels

    objectives = parse_objectives(objective)
    grown = hypervolume_history(sweep.table, objectives).dropna()
    known = sweep.table.loc[grown.index].assign(grown=grown)
    groups = known.groupby([known["sweep"], workload_labels(known)], sort=False)
    several = known["sweep"].nunique() > 1
    for index, ((number, workload), rows) in enumerate(groups):
        line = rows.sort_values("point")["grown"]
        look = {"where": "post", "markersize": 4, "linewidth": 1.0, **_look(index)}
        label = f"{workload}, sweep {number}" if several else workload
        every = max(1, len(line) // 10)
        axes.step(range(1, len(line) + 1), line, markevery=every, label=label, **look)
    axes.set_xlabel("designs simulated")
    words = ", ".join(metric_words(each.metric) for each in objectives)
    axes.set_ylabel(f"hypervolume of\n{words}")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _look(index: int) -> dict[str, Any]:
    """Colour, marker and line that tell a series from the others, also in grey."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index % len(LINES)],
    }
