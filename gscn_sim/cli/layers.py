"""A run's tables as people read them: per layer, per phase, and where the slots went."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli.show import WIDTH, Column, number, share, show_table, text
from gscn_sim.results.words import time_unit

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.compare.comparison import Comparison

_SLOT_HEADINGS = (
    ("slots_useful", "useful"),
    ("slots_redundant", "redun- dant"),
    ("slots_placeholder", "place- holder"),
    ("slots_fragmentation", "frag- menta- tion"),
    ("slots_bank_conflict", "bank con- flict"),
    ("slots_operand_wait", "operand wait"),
    ("slots_output_wait", "output wait"),
    ("slots_imbalance", "imba- lance"),
)


MAPPING_LEGEND = {
    "n": "samples at once",
    "RxC": "tiles of the plane",
    "o": "parts of the output channels",
    "i": "parts of the input channels",
    "p": "passes over a PE's tile",
    "mixed": "not the same in all iterations",
}


def show_run(run: Comparison) -> None:
    """Print the layers, the summary and the slot breakdown on stdout."""
    from gscn_sim.compare.tables import layer_means
    from gscn_sim.results.tables import SLOTS

    layers = layer_means(run.table)
    iterations = int(layers["iterations"].max())
    mean = f", mean of {iterations} recorded iterations" if iterations > 1 else ""
    head = run.records[0]
    about = (
        f"{head.network} on {run.config.name}, batch {run.batch_size:g}{mean}; GPU: {run.gpu_name}"
    )
    flows = layers.groupby("phase", sort=False)["dataflow"].unique()
    differ = any(len(names) > 1 for names in flows)
    show_table(
        about,
        [
            text("layer"),
            *(text(name) for name in ("phase", *(("dataflow",) if differ else ()))),
            text("mapping", "fold"),
            *_times(layers),
            number("utilization", "useful %", 100),
            ("limited by", lambda row: str(row["limited_by"]).replace("_", " "), "fold"),
        ],
        layers.to_dict(orient="records"),  # type: ignore[arg-type]
    )
    if not differ:
        flow = ", ".join(f"{phase} {names[0]}" for phase, names in flows.items())
        click.echo(textwrap.fill(f"dataflow: {flow}", WIDTH))
    click.echo(_legend(layers["mapping"]) + "\n")
    summary = run.summary.to_dict(orient="records")
    most_bytes = max(run.summary["dram_read_bytes"].max(), run.summary["dram_write_bytes"].max())
    unit, scale = ("MB", 1e-6) if most_bytes >= 1e6 else ("kB", 1e-3)
    show_table(
        "All layers",
        [
            text("phase"),
            *_times(run.summary),
            number("speedup_low", "from"),
            number("speedup_high", "to"),
            number("work_reduction", "fewer MACs", 1, "x"),
            number("dram_read_bytes", f"read {unit}", scale),
            number("dram_write_bytes", f"written {unit}", scale),
            number("energy_j", "energy mJ", 1e3),
        ],
        summary,  # type: ignore[arg-type]
    )
    show_table(
        "Where the multiplier slots went, %",
        [text("phase"), *(share(name, heading, SLOTS) for name, heading in _SLOT_HEADINGS)],
        summary,  # type: ignore[arg-type]
    )
    _show_denominators(summary, run)


def _times(table: pd.DataFrame) -> list[Column]:
    """Machine, GPU and speed-up, in the unit that suits the table's longest time."""
    unit, scale = time_unit(float(table["seconds"].max()))
    return [
        number("seconds", f"time {unit}", scale),
        number("gpu_seconds", f"GPU {unit}", scale),
        number("speedup", "speed- up", 1, "x"),
    ]


def _legend(mappings: pd.Series[str]) -> str:
    """What the letters of these mappings stand for."""
    letters = {word[0] for label in mappings for word in label.split() if word[0] in "noip"}
    words = [
        f"{letter} {meaning}"
        for letter, meaning in MAPPING_LEGEND.items()
        if letter in letters or (letter == "RxC" and letters) or letter in set(mappings)
    ]
    return textwrap.fill(f"mapping: {', '.join(words)}", WIDTH)


def _show_denominators(summary: list[dict[Hashable, Any]], run: Comparison) -> None:
    """The speed-up against each thing that a GPU's backward pass can mean."""
    rows = [row for row in summary if math.isfinite(row["gpu_whole_seconds"])]
    if not rows:
        return
    show_table(
        f"Speed-up against a {run.gpu}'s backward pass, by what that takes in",
        [
            text("phase"),
            number("gpu_seconds", "convolutions predicted ms", 1e3),
            number("speedup", "speed- up", 1, "x"),
            number("gpu_whole_seconds", "all layers predicted ms", 1e3),
            number("speedup_whole", "speed-up", 1, "x"),
            number("gpu_measured_seconds", "all layers measured ms", 1e3),
            number("speedup_measured", "speed-up", 1, "x"),
        ],
        rows,  # type: ignore[arg-type]
    )
