"""GSCN with ReSprop against the GPU: the backward passes of the paper's abstract, and energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gscn_sim.claims.record import Row, Study, summary_row
from gscn_sim.gpu.network import network_backward

FAMILY = "gscn"
CASES = (("resnet34_q10", "resnet34", 8.0), ("vgg16_q10", "vgg16", 7.2))
GPU_WATTS = 250.0
"""Board power of the GTX 1080 Ti (its published envelope)."""
_UNKNOWN = "GSCN's size is assumed; the paper's denominator is not known"


@dataclass(frozen=True, kw_only=True, slots=True)
class Denominator:
    """A time of the GPU that the backward pass can be set against, with its band in seconds."""

    name: str
    seconds: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def rows(study: Study) -> list[Row]:
    """Every denominator, with and without the pre-phases, for both networks; then energy."""
    return [row for case in CASES for row in (*_speed(study, *case), *_energy(study, *case))]


def denominators(network: str, batch_size: int) -> list[Denominator]:
    """Predicted convolutions, predicted whole pass, and measured whole pass if there is one."""
    gpu = network_backward(network, batch_size).iloc[0]
    whole = "GSCN's time is that of the convolutions"
    found = [
        Denominator(
            name="convolutions, predicted",
            seconds=gpu["convolutions_ms"] / 1e3,
            low=gpu["convolutions_low_ms"] / 1e3,
            high=gpu["convolutions_high_ms"] / 1e3,
        ),
        Denominator(
            name="all layers, predicted",
            seconds=gpu["backward_ms"] / 1e3,
            low=gpu["backward_low_ms"] / 1e3,
            high=gpu["backward_high_ms"] / 1e3,
            note=whole,
        ),
    ]
    measured = float(gpu["measured_backward_ms"]) / 1e3
    if measured > 0:
        found.append(Denominator(name="all layers, measured", seconds=measured, note=whole))
    return found


def _speed(study: Study, trace: str, network: str, published: float) -> Iterator[Row]:
    run = study.run(study.trace(trace))
    for phase, label in (("backward_with_pre", "with"), ("backward", "without")):
        seconds = float(summary_row(run, phase)["seconds"])
        for gpu in denominators(network, run.records[0].batch_size):
            yield Row(
                family=FAMILY,
                claim=f"backward pass of {network}, {label} pre-phases, GPU: {gpu.name}",
                unit="x",
                published=published,
                ours=gpu.seconds / seconds,
                low=None if gpu.low is None else gpu.low / seconds,
                high=None if gpu.high is None else gpu.high / seconds,
                how=f"trace {trace}: exactly 10 % non-zeros, batch {run.batch_size}; "
                f"GSCN {1e3 * seconds:.2f} ms",
                differs="; ".join(filter(None, (_UNKNOWN, gpu.note))),
            )


def _energy(study: Study, trace: str, network: str, published: float) -> Iterator[Row]:
    run = study.run(study.trace(trace))
    joules = float(summary_row(run, "backward_with_pre")["energy_j"])
    for gpu in denominators(network, run.records[0].batch_size):
        yield Row(
            family=FAMILY,
            claim=f"energy of the backward pass of {network}, bound, GPU: {gpu.name}",
            unit="x",
            published=None,
            ours=GPU_WATTS * gpu.seconds / joules,
            how=f"the GPU's {GPU_WATTS:g} W envelope over its time; GSCN {1e3 * joules:.0f} mJ of "
            "dynamic energy with DRAM and pre-phases",
            differs="a bound: the envelope is the most the GPU may draw, and GSCN's static power "
            "is not modelled",
        )
