"""Draw the figures of the documentation from the program itself: ``make figures``.

The picture of the machine shows the default design's own numbers; the others come from simulated
runs of recorded traces that ship with the project.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

import gscn_sim
import workloads
from gscn_sim.report.figures import SLOT_COLOURS
from gscn_sim.results.tables import SLOTS

FOLDER = Path(__file__).parent / "figures"
DATA = Path(__file__).parent.parent / "workloads" / "data"
INK, PAPER = "#222222", "#ffffff"
MOVING, WORKING, KEEPING = "#d9ecf7", "#d5efe4", "#fbeed0"


def main() -> None:
    """Write every figure to ``docs/figures``."""
    FOLDER.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "gscn-sim", "svg.fonttype": "none", "font.size": 9}):
        save(machine(gscn_sim.load_config("gscn")), "machine.svg")
        save(slots_by_dataflow("resnet34_q10.npz"), "slots-by-dataflow.svg")
        save(channel_densities("resnet34.npz"), "channel-densities.svg")


def save(figure: Figure, name: str) -> None:
    """Write a figure so that equal ones are equal files."""
    figure.savefig(FOLDER / name, metadata={"Date": None}, facecolor=PAPER)


def machine(config: gscn_sim.Config) -> Figure:
    """The machine and the inside of one PE as boxes, with the design's sizes."""
    pe = config.pe
    figure = Figure(figsize=(8.6, 5.2))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 86), ylim=(0, 52))
    axes.axis("off")
    box(axes, (2, 34, 14, 12), MOVING, "DRAM",
        f"{config.dram.channels} channels\n{config.dram.peak_gbps:.0f} GB/s")  # fmt: skip
    box(axes, (22, 34, 14, 12), KEEPING, "global buffer", f"{config.buffer.size_bytes >> 20} MiB")
    network_bytes = config.network.operand_bytes_per_cycle
    box(axes, (42, 34, 14, 12), MOVING, "broadcast\nnetwork", f"{network_bytes:,} B a cycle")
    for row in range(3):
        for column in range(4):
            place = (62 + 5.4 * column, 42 - 3.9 * row)
            axes.add_patch(Rectangle(place, 4.6, 3.2, facecolor=WORKING, edgecolor=INK, lw=0.7))
    total = config.num_pes * config.multipliers
    axes.text(72.4, 47.6, f"{config.num_pes} PEs, {total:,} multipliers", ha="center")
    arrow(axes, (16, 40), (22, 40))
    arrow(axes, (36, 40), (42, 40))
    arrow(axes, (56, 40), (61.6, 40))
    arrow(axes, (71, 34), (71, 30), "one of them", (72, 31.4))

    axes.add_patch(Rectangle((4, 1), 80, 28.5, facecolor="none", edgecolor=INK, lw=0.9, ls="--"))
    box(axes, (6, 19, 17, 9), KEEPING, "stationary buffer",
        f"{pe.stationary_buffer_bytes >> 10} KiB, compressed")  # fmt: skip
    box(axes, (6, 8.5, 17, 9), KEEPING, "streamed FIFO", f"{pe.streamed_fifo_entries} entries")
    size = f"F x I = {pe.streamed_vector} x {pe.stationary_vector}"
    box(axes, (31, 11, 14, 14), WORKING, "multipliers", f"{size}\nall pairs of\ntwo vectors")
    box(axes, (49, 11, 11, 14), MOVING, "crossbar", f"queues of\nD = {pe.bank_queue_depth}")
    box(axes, (64, 11, 18, 14), KEEPING, "accumulators",
        f"A = {pe.accumulator_banks} banks\n{pe.accumulator_entries:,} partial sums\n"
        "a second set drains")  # fmt: skip
    arrow(axes, (23, 23.5), (31, 20.5), f"{pe.stationary_vector} a cycle", (24.6, 24))
    arrow(axes, (23, 13), (31, 15.5), f"{pe.streamed_vector} a cycle", (24.6, 11.5))
    arrow(axes, (45, 18), (49, 18))
    arrow(axes, (60, 18), (64, 18))
    box(axes, (64, 2, 18, 6), MOVING, "drain", f"{config.drain.entries_per_cycle} sums a cycle")
    arrow(axes, (73, 11), (73, 8))
    axes.plot([64, 1, 1, 1], [5, 5, 5, 40], color=INK, lw=1)
    arrow(axes, (0.95, 40), (2, 40))
    axes.text(31, 5.6, "finished outputs, back to DRAM", fontsize=8)
    return figure


def box(
    axes: Axes, place: tuple[float, float, float, float], colour: str, name: str, text: str
) -> None:
    """One part of the machine: left, bottom, width, height."""
    left, bottom, width, height = place
    axes.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.8",
            facecolor=colour,
            edgecolor=INK,
            lw=0.9,
        )
    )
    middle = left + width / 2
    axes.text(middle, bottom + height - 1.2, name, ha="center", va="top", weight="bold")
    axes.text(middle, bottom + 1.2, text, ha="center", va="bottom", fontsize=8)


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    where: tuple[float, float] = (0, 0),
) -> None:
    """Where data go."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=INK))
    if text:
        axes.text(*where, text, fontsize=8)


def slots_by_dataflow(name: str) -> Figure:
    """Where the multiplier slots of wgrad went with each dataflow, on one recorded trace."""
    trace = workloads.load(DATA / name)
    figure = Figure(figsize=(8.6, 2.9), layout="constrained")
    axes = figure.add_subplot()
    for dataflow in ("cartesian", "anticipated", "positional"):
        config = gscn_sim.load_config("gscn", {"dataflow.wgrad": dataflow})
        run = gscn_sim.simulate(trace, config, phases=("wgrad",))
        row = run.summary.iloc[0]
        total, left = sum(row[slot] for slot in SLOTS), 0.0
        for slot in SLOTS:
            width = 100 * row[slot] / total
            label = slot.removeprefix("slots_").replace("_", " ")
            axes.barh(f"{dataflow}\n{row['seconds'] * 1e3:.2f} ms", width, left=left,
                      color=SLOT_COLOURS[slot],
                      label=label if dataflow == "cartesian" else None)  # fmt: skip
            left += width
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel=f"% of the multiplier slots of wgrad, {trace.network}, {name}")
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def channel_densities(name: str) -> Figure:
    """How unlike the channels of real gradients are: sorted densities of some layers."""
    trace = workloads.load(DATA / name)
    layers = [layer for layer in trace.layers if layer.gradient is not None]
    last = [layer for layer in layers if layer.iteration == layers[-1].iteration]
    figure = Figure(figsize=(8.6, 2.9), layout="constrained")
    axes = figure.add_subplot()
    for layer in last[:: max(1, len(last) // 5)]:
        assert layer.gradient is not None
        density = np.sort(layer.gradient.dense().mean(axis=(0, 2, 3)))[::-1]
        share = (np.arange(len(density)) + 0.5) / len(density)
        axes.plot(100 * share, density, label=f"{layer.name}, mean {density.mean():.2f}")
    axes.set(xlabel=f"% of the channels, {trace.network}, {name}", ylabel="density of the delta",
             xlim=(0, 100), ylim=(0, None))  # fmt: skip
    axes.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
