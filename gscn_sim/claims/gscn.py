"""GSCN with ReSprop against the GPU: the backward passes of the paper's abstract, and energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gscn_sim.claims.record import GPU, Row, Study, summary_row
from gscn_sim.gpu.device import load_device
from gscn_sim.gpu.measured import measured_networks
from gscn_sim.gpu.network import network_backward

FAMILY = "gscn"
CASES = (("resnet34_q10", "resnet34", 8.0), ("vgg16_q10", "vgg16", 7.2))
GPU_WATTS = 250.0
"""Board power of the GTX 1080 Ti (its published envelope)."""
_UNKNOWN = "GSCN's size is assumed; the paper's denominator is not known"


@dataclass(frozen=True, kw_only=True, slots=True)
class SameWork:
    """Two times and GSCN's energy for the same work; the GPU's with its band, in seconds."""

    name: str
    gscn_seconds: float
    gscn_joules: float
    gpu_seconds: float
    low: float | None = None
    high: float | None = None

    @property
    def speedup(self) -> float:
        """The GPU's time over GSCN's."""
        return self.gpu_seconds / self.gscn_seconds


def rows(study: Study) -> list[Row]:
    """The backward pass of both networks by what it takes in; then energy."""
    found: list[Row] = []
    for trace, network, published in CASES:
        pairs = same_work(study, trace, network)
        found += [_speed(study, trace, network, published, pair) for pair in pairs]
        found += [_energy(network, pair) for pair in pairs if "without" not in pair.name]
    return found


def same_work(study: Study, trace: str, network: str) -> list[SameWork]:
    """The convolutions with and without pre-phases, and the whole backward pass."""
    return [*_convolutions(study, trace, network), *_whole_pass(study, trace)]


def gpu_convolutions(network: str, batch_size: int) -> tuple[float, float, float]:
    """The GPU's predicted time of a network's backward convolutions and its band, in seconds."""
    gpu = network_backward(network, batch_size).iloc[0]
    found = (gpu[f"convolutions_{end}ms"] / 1e3 for end in ("", "low_", "high_"))
    seconds, low, high = map(float, found)
    return seconds, low, high


def _convolutions(study: Study, trace: str, network: str) -> Iterator[SameWork]:
    run = study.run(study.trace(trace))
    seconds, low, high = gpu_convolutions(network, run.records[0].batch_size)
    for phase, label in (("backward_with_pre", "with"), ("backward", "without")):
        row = summary_row(run, phase)
        yield SameWork(
            name=f"convolutions on both sides, {label} pre-phases",
            gscn_seconds=float(row["seconds"]),
            gscn_joules=float(row["energy_j"]),
            gpu_seconds=seconds,
            low=low,
            high=high,
        )


def _whole_pass(study: Study, trace: str) -> Iterator[SameWork]:
    """All layers and ReSprop's own work, GPU predicted, and measured where that network was."""
    run = study.step(study.trace(trace))
    ours = run.seconds("gscn", "backward")
    joules = run.summary.query("machine == 'gscn' and phase == 'backward'")["energy_j"]
    measured = measured_networks(load_device(GPU))
    same = (measured["network"] == run.network) & (measured["batch_size"] == run.batch_size)
    times = [("predicted", run.seconds("gpu", "backward"))]
    times += [("measured", float(ms) / 1e3) for ms in measured.loc[same, "backward_ms"]]
    for how, seconds in times:
        yield SameWork(
            name=f"all layers on both sides, GPU {how}",
            gscn_seconds=ours,
            gscn_joules=float(joules.iloc[0]),
            gpu_seconds=seconds,
        )


def _speed(study: Study, trace: str, network: str, published: float, pair: SameWork) -> Row:
    ours = pair.gscn_seconds
    return Row(
        family=FAMILY,
        claim=f"backward pass of {network}, {pair.name}",
        unit="x",
        published=published,
        ours=pair.speedup,
        low=None if pair.low is None else pair.low / ours,
        high=None if pair.high is None else pair.high / ours,
        how=f"trace {trace}: exactly 10 % non-zeros, batch {study.trace(trace).batch_size}; "
        f"GSCN {1e3 * ours:.2f} ms, GPU {1e3 * pair.gpu_seconds:.2f} ms",
        differs=_UNKNOWN,
    )


def _energy(network: str, pair: SameWork) -> Row:
    return Row(
        family=FAMILY,
        claim=f"energy of the backward pass of {network}, bound, {pair.name}",
        unit="x",
        published=None,
        ours=GPU_WATTS * pair.gpu_seconds / pair.gscn_joules,
        how=f"the GPU's {GPU_WATTS:g} W envelope over its time; GSCN "
        f"{1e3 * pair.gscn_joules:.0f} mJ of dynamic energy with DRAM",
        differs="a bound: the envelope is the most the GPU may draw, and GSCN's static power "
        "is not modelled",
    )
