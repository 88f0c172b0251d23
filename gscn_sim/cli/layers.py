"""A run's tables as people read them: per layer, per phase, and where the slots went."""

from __future__ import annotations

import textwrap
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


_BOTH_SIDES = (
    "Same work on all sides: the same convolutions. GPU and dense array run them without sparsity "
    "and without pre-phases, the dense array (the same multipliers and memory) at its bound. Other "
    "layers and the optimizer are on no side: gscn-sim step has them."
)


def show_run(run: Comparison) -> None:
    """Print the layers, the summary and the slot breakdown on stdout."""
    from gscn_sim.compare.tables import layer_means
    from gscn_sim.results.tables import PRE_PHASES, SLOTS

    layers = layer_means(run.table)
    iterations = int(layers["iterations"].max())
    mean = f", mean of {iterations} recorded iterations" if iterations > 1 else ""
    head = run.records[0]
    about = (
        f"{head.network} on {run.config.name}, batch {run.batch_size:g}{mean}; GPU: {run.gpu_name}"
    )
    rows: list[dict[str, Any]] = layers.to_dict(orient="records")  # type: ignore[assignment]
    compared = [row for row in rows if row["phase"] not in PRE_PHASES]
    show_table(
        about,
        [
            text("layer", "fold"),
            text("phase"),
            number("activation_density", "acti- vation density"),
            number("gradient_density", "gra- dient density"),
            *_times(layers),
        ],
        compared or rows,
    )
    _show_machines(layers, rows)
    summary: list[dict[str, Any]] = run.summary.to_dict(orient="records")  # type: ignore[assignment]
    band = [number("speedup_low", "from"), number("speedup_high", "to")]
    show_table(
        "All layers",
        [text("phase"), *_times(run.summary), *(band if run.gpu is not None else [])],
        summary,
    )
    click.echo(textwrap.fill(f"{_BOTH_SIDES} {_size(run)}".rstrip(), WIDTH) + "\n")
    most_bytes = max(run.summary["dram_read_bytes"].max(), run.summary["dram_write_bytes"].max())
    unit, scale = ("MB", 1e-6) if most_bytes >= 1e6 else ("kB", 1e-3)
    show_table(
        "Work, traffic and energy",
        [
            text("phase"),
            number("work_reduction", "fewer MACs", 1, "x"),
            number("dram_read_bytes", f"read {unit}", scale),
            number("dram_write_bytes", f"written {unit}", scale),
            number("energy_j", "energy mJ", 1e3),
        ],
        summary,
    )
    show_table(
        "Where the multiplier slots went, %",
        [text("phase"), *(share(name, heading, SLOTS) for name, heading in _SLOT_HEADINGS)],
        summary,
    )


def _size(run: Comparison) -> str:
    from gscn_sim.compare.sizes import size_beside_gpu

    return "" if run.gpu is None else size_beside_gpu(run.config, run.gpu)


def _show_machines(layers: pd.DataFrame, rows: list[dict[str, Any]]) -> None:
    """How the machine runs each layer and phase, and what limits it there."""
    flows = layers.groupby("phase", sort=False)["dataflow"].unique()
    differ = any(len(names) > 1 for names in flows)
    unit, scale = time_unit(float(layers["seconds"].max()))
    show_table(
        "How it runs",
        [
            text("layer", "fold"),
            *(text(name) for name in ("phase", *(("dataflow",) if differ else ()))),
            text("mapping", "fold"),
            number("seconds", f"time {unit}", scale),
            number("utilization", "useful %", 100),
            ("limited by", lambda row: str(row["limited_by"]).replace("_", " "), "fold"),
        ],
        rows,
    )
    if not differ:
        flow = ", ".join(f"{phase} {names[0]}" for phase, names in flows.items())
        click.echo(textwrap.fill(f"dataflow: {flow}", WIDTH))
    click.echo(_legend(layers["mapping"]) + "\n")


def _times(table: pd.DataFrame) -> list[Column]:
    """Each machine's time in the unit that suits the longest of ours, and the speed-ups."""
    unit, scale = time_unit(float(table["seconds"].max()))
    columns = [
        number("seconds", f"time {unit}", scale),
        number("dense_seconds", f"dense array {unit}", scale),
        number("speedup_over_dense", "over dense", 1, "x"),
    ]
    if table["gpu_seconds"].notna().any():
        columns.append(number("gpu_seconds", f"GPU {unit}", scale))
        columns.append(number("speedup", "over GPU", 1, "x"))
    return columns


def _legend(mappings: pd.Series[str]) -> str:
    """What the letters of these mappings stand for."""
    letters = {word[0] for label in mappings for word in label.split() if word[0] in "noip"}
    words = [
        f"{letter} {meaning}"
        for letter, meaning in MAPPING_LEGEND.items()
        if letter in letters or (letter == "RxC" and letters) or letter in set(mappings)
    ]
    return textwrap.fill(f"mapping: {', '.join(words)}", WIDTH)
