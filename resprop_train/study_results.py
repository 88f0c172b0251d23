"""The table and the picture of an accuracy study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from resprop_train.errors import TrainError
from resprop_train.study import as_text
from resprop_train.study_comparison import Comparison
from workloads.files import atomic_file
from workloads.sealed_text import sealed_text, unsealed

LOSS_TICKS = (-2, -1, 0, 1, 2, 5, 10, 20, 50)


def write_results(rows: Sequence[Comparison], folder: Path, *, command: str) -> None:
    """Write ``accuracy.csv``, headed by the commands that led to it, and ``accuracy.png``."""
    path = folder / "accuracy.csv"
    old = unsealed(path.read_text(encoding="utf-8")).splitlines() if path.exists() else []
    commands = [line for line in old if line.startswith("# ") and line != f"# {command}"]
    names = [field.name for field in fields(Comparison)]
    lines = [*commands, f"# {command}", ",".join(names)]
    lines += [",".join(as_text(getattr(row, name)) for name in names) for row in rows]
    with atomic_file(path) as file:
        file.write(sealed_text("\n".join(lines) + "\n").encode())
    plot(rows, folder / "accuracy.png")


def plot(rows: Sequence[Comparison], path: Path) -> None:
    """Accuracy lost over reuse sparsity, a panel for each data set, with intervals."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise TrainError("the plot of a study needs the package matplotlib") from None
    datasets = sorted({row.dataset for row in rows})
    figure = Figure(figsize=(5.5 * max(len(datasets), 1), 4), layout="constrained")
    for index, dataset in enumerate(datasets):
        axes = figure.add_subplot(1, len(datasets), index + 1)
        lines: dict[tuple[str, float, bool], list[Comparison]] = defaultdict(list)
        for row in rows:
            if row.dataset == dataset:
                name = f"{row.method}, {row.rule}"
                lines[name, row.clip_norm or 0.0, row.warmup_epochs > 0].append(row)
        for place, ((rule, clip_norm, warm_up), points) in enumerate(sorted(lines.items())):
            points.sort(key=lambda row: row.reuse_sparsity)
            beside = 0.004 * (place - (len(lines) - 1) / 2)  # equal sparsities do not overlap
            axes.errorbar(
                [row.reuse_sparsity + beside for row in points],
                [row.loss_points for row in points],
                yerr=[row.loss_points_high - row.loss_points for row in points],
                label=rule
                + (f", clipped at {clip_norm:g}" if clip_norm else "")
                + (", with warm-up" if warm_up else ", no warm-up"),
                capsize=3,
                marker="o",
            )
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.axhline(1.1, color="0.6", linewidth=0.8, linestyle="--")
        # Linear up to two points; runs that diverged lose tens of them.
        axes.set_yscale("symlog", linthresh=2)
        axes.set_yticks(LOSS_TICKS, [f"{tick:g}" for tick in LOSS_TICKS])
        axes.set(title=dataset, xlabel="reuse sparsity wanted", ylabel="accuracy lost (points)")
        axes.set_xlim(min(row.reuse_sparsity for row in rows) - 0.05, 1.0)
        axes.set_ylim(LOSS_TICKS[0], LOSS_TICKS[-1])
        axes.legend(fontsize=8, loc="upper left")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=110)
