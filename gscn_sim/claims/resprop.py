"""The claims of ReSprop that need no machine: reuse, accuracy, work, training time."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from gscn_sim.claims.record import Row, Study
from gscn_sim.gpu.device import load_device
from gscn_sim.gpu.measured import measured_networks

FAMILY = "resprop"
TRACES = ("resnet34", "vgg16", "resnet18")
NETWORKS = ("resnet34", "vgg16")
PAPER_BACKWARD_SHARE = 0.70
PAPER_REUSE = 0.9
FEWEST_SEEDS = 3
"""The interval of two runs is wider than anything it could be compared with."""


def rows(study: Study) -> list[Row]:
    """Reused gradients, accuracy, back-propagation work and training time."""
    densities = {name: density(study, name) for name in TRACES}
    return [
        *_from_training(study),
        *_from_traces(study, densities),
        *_training_time(study, densities),
    ]


def density(study: Study, name: str) -> float:
    """Mean density of the gradient deltas that the backward convolutions of a trace used."""
    nonzeros = size = 0
    for layer in study.trace(name).layers:
        if layer.gradient is not None:
            nonzeros += layer.gradient.nonzeros
            size += layer.gradient.size
    return nonzeros / size


def _from_training(study: Study) -> Iterator[Row]:
    if not study.accuracy.is_file():
        study.note(f"{study.accuracy}: not there, so no row on accuracy")
        return
    with study.accuracy.open(encoding="utf-8", newline="") as file:
        lines = [line for line in file if not line.startswith("#")]
    for run in csv.DictReader(lines):
        if float(run["reuse_sparsity"]) != PAPER_REUSE or float(run["warmup_epochs"]) == 0:
            continue
        if int(run["seeds"]) < FEWEST_SEEDS:
            continue
        clipped = f", clipped at {run['clip_norm']}" if run["clip_norm"] else ""
        what = f"{run['model']} on {run['dataset']}, {run['rule']}{clipped}, {run['seeds']} seeds"
        how = (
            f"accuracy study, {run['epochs']} epochs of which {run['warmup_epochs']} warm-up, "
            f"batch {run['batch_size']}, nominal reuse sparsity {PAPER_REUSE}"
        )
        small = "small network and pictures; the paper: CIFAR and ImageNet, 90 to 200 epochs"
        reached = 1 - float(run["mean_density"])
        yield Row(
            family=FAMILY,
            claim=f"gradients reused, {what}",
            unit="share",
            published=PAPER_REUSE,
            ours=reached,
            how=how,
            differs=small,
        )
        yield Row(
            family=FAMILY,
            claim=f"accuracy lost, {what}",
            unit="points",
            published=1.1,
            ours=float(run["loss_points"]),
            low=float(run["loss_points_low"]),
            high=float(run["loss_points_high"]),
            how=f"{how}; published is an upper limit",
            differs=small,
        )
        yield Row(
            family=FAMILY,
            claim=f"backward work saved, {what}",
            unit="x",
            published=10.0,
            ours=float(run["backward_work_reduction"]),
            low=float(run["whole_run_work_reduction"]),
            how=f"{how}; after the warm-up, pre-phases counted, low: warm-up included",
            differs="the paper's 10x is 1 / (1 - 0.9)",
        )


def _from_traces(study: Study, densities: dict[str, float]) -> Iterator[Row]:
    for name, reached in densities.items():
        batch = study.trace(name).batch_size
        yield Row(
            family=FAMILY,
            claim=f"back-propagation work saved, {name} at 224x224",
            unit="x",
            published=10.0,
            ours=_work_saved(reached, batch),
            high=1 / reached,
            how=f"recorded deltas {100 * reached:.1f} % dense, batch {batch}; high: no pre-phases",
            differs="the pre-phases cost one dense sample of the batch; early training",
        )


def _training_time(study: Study, densities: dict[str, float]) -> Iterator[Row]:
    yield Row(
        family=FAMILY,
        claim="training sped up, the paper's arithmetic",
        unit="x",
        published=2.7,
        ours=_whole(PAPER_BACKWARD_SHARE, 10.0),
        how="backward 70 % of the time and ten times less of it",
    )
    measured = measured_networks(load_device("gtx-1080ti"))
    for network in NETWORKS:
        times = measured[(measured["network"] == network) & (measured["batch_size"] == 16)].iloc[0]
        share = float(times["backward_ms"] / (times["forward_ms"] + times["backward_ms"]))
        work = _work_saved(densities[network], 16)
        yield Row(
            family=FAMILY,
            claim=f"training sped up, {network}, measured shares",
            unit="x",
            published=2.7,
            ours=_whole(share, work),
            high=_whole(share, 10.0),
            how=f"backward {100 * share:.0f} % of a measured GTX 1080 Ti iteration, batch 16, "
            f"and {work:.1f} times less of it; high: 10 times",
            differs="pre-phases and reached density; layers other than convolutions count as sped "
            "up too, as in the paper",
        )


def _work_saved(density: float, batch_size: int) -> float:
    """Multiplications of a dense backward pass over those of a sparse one with its pre-phases."""
    return 1 / (density + 1 / batch_size)


def _whole(share: float, gain: float) -> float:
    return 1 / (1 - share + share / gain)
