"""The reproduction as a figure: our figure over the published one, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gscn_sim.claims.record import Row
from gscn_sim.files import whole_file
from workloads import GscnError

# Fixed, so that the same rows give the same file.
_METADATA: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".svg": {"Date": None}}


def write_figure(rows: Sequence[Row], path: Path) -> None:
    """Draw every row with a published value as ours / published on a log axis.

    Raises:
        GscnError: matplotlib is missing, or the file cannot be written.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise GscnError("a figure needs matplotlib (pip install 'gscn-sim[report]')") from None
    shown = [row for row in rows if row.ratio is not None and row.ratio > 0]
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(r.family for r in shown))}
    with mpl.rc_context({"svg.hashsalt": "gscn-sim", "font.size": 7}):
        figure = Figure(figsize=(8.0, 1.0 + 0.16 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        for y, row in enumerate(shown):
            ratio, published = row.ratio, row.published
            assert ratio is not None
            assert published
            low = ratio if row.low is None else row.low / published
            high = ratio if row.high is None else row.high / published
            axes.plot([max(low, 1e-3), max(high, 1e-3)], [y, y], color=colours[row.family], lw=1)
            axes.plot([ratio], [y], "o", ms=3, color=colours[row.family])
        axes.axvline(1.0, color="black", lw=0.6)
        axes.set_xscale("log")
        axes.set_yticks(range(len(shown)), [row.claim for row in shown])
        axes.invert_yaxis()
        axes.set_xlabel(
            "our figure / published figure\n(1: as published; for limits, below 1 is met)"
        )
        with whole_file(path) as file:
            figure.savefig(file, format=path.suffix[1:], dpi=150, metadata=_METADATA[path.suffix])
