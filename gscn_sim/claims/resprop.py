"""The claims of ReSprop that need no machine: reuse, accuracy, work, training time."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from gscn_sim.claims.record import Row, Study
from workloads import GscnError
from workloads.errors import reason
from workloads.files import read_regular
from workloads.sealed_text import CHANGED, is_whole_text
from workloads.work import backward_work

FAMILY = "resprop"
TRACES = ("resnet34", "vgg16", "resnet18")
STEPS = ("resnet34_q10", "vgg16_q10")
PAPER_BACKWARD_SHARE = 0.70
PAPER_REUSE = 0.9
FEWEST_SEEDS = 3
"""The interval of two runs is wider than anything it could be compared with."""


def rows(study: Study) -> list[Row]:
    """Reused gradients, accuracy, back-propagation work and training time."""
    return [*_from_training(study), *_from_traces(study), *_training_time(study)]


def _from_training(study: Study) -> Iterator[Row]:
    if not study.accuracy.is_file():
        study.note(f"{study.accuracy}: not there, so no row on accuracy")
        return
    try:
        text = read_regular(study.accuracy).decode("utf-8")
    except (OSError, ValueError) as error:
        raise GscnError(f"{study.accuracy}: cannot be read: {reason(error)}") from None
    if not is_whole_text(text):
        raise GscnError(f"{study.accuracy}: {CHANGED}")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
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


def _from_traces(study: Study) -> Iterator[Row]:
    for name in TRACES:
        trace = study.trace(name)
        work = backward_work(trace)
        yield Row(
            family=FAMILY,
            claim=f"back-propagation work saved, {name} at 224x224",
            unit="x",
            published=10.0,
            ours=work.saved,
            high=work.saved_without_pre,
            how=f"recorded deltas leave {100 * work.density:.1f} % of the multiply-adds, "
            f"batch {trace.batch_size}; high: no pre-phases",
            differs="the pre-phases cost one dense sample of the batch; early training",
        )


def _training_time(study: Study) -> Iterator[Row]:
    yield Row(
        family=FAMILY,
        claim="training sped up, the paper's arithmetic",
        unit="x",
        published=2.7,
        ours=1 / (1 - PAPER_BACKWARD_SHARE + PAPER_BACKWARD_SHARE / 10),
        how="backward 70 % of the time and ten times less of it",
    )
    for name in STEPS:
        run = study.step(study.trace(name))
        milliseconds = 1e3 * run.seconds("gscn")
        for other, published, beside, why in (
            ("gpu", 2.7, "a GTX 1080 Ti", "GSCN's size is assumed"),
            ("dense", None, "the same array without sparsity", "the dense array is at its bound"),
        ):
            yield Row(
                family=FAMILY,
                claim=f"training sped up, whole step of {run.network}, over {beside}",
                unit="x",
                published=published,
                ours=run.speedup[f"over_{other}"],
                how=f"every operation of a step on both sides, trace {name}: exactly 10 % "
                f"non-zeros, batch {run.batch_size}; GSCN {milliseconds:.1f} ms, "
                f"{1e3 * run.seconds(other):.1f} ms there",
                differs=why,
            )
