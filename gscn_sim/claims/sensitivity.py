"""How the headline moves with what the paper does not say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gscn_sim.api import Run
from gscn_sim.claims.gscn import CASES, gpu_convolutions
from gscn_sim.claims.record import Row, Study, summary_row, with_layers
from workloads import Mask, Trace

FAMILY = "sensitivity"
PHASE = "backward_with_pre"
# Changes of one key each; a memory as fast or as slow is the same part with other pins.
MACHINES = (
    ("multipliers: 1,792 (half)", {"array.pe_rows": 7}),
    ("multipliers: 7,168 (double)", {"array.pe_rows": 28}),
    ("clock: 1 GHz", {"array.clock_ghz": 1.0}),
    ("clock: 2 GHz", {"array.clock_ghz": 2.0}),
    ("bandwidth: 242 GB/s (half)", {"dram.transfers_gtps": 5.5}),
    ("bandwidth: 968 GB/s (double)", {"dram.transfers_gtps": 22.0}),
)


def rows(study: Study) -> list[Row]:
    """One change at a time, for both networks."""
    return [row for case in CASES for row in _of(study, *case)]


def _of(study: Study, name: str, network: str, published: float) -> Iterator[Row]:
    trace = study.trace(name)
    default = study.run(trace)
    other = study.trace(network)
    cases = [("default", default, PHASE)]
    if name == CASES[0][0]:  # the machine's own parameters on one network: they act alike on both
        cases += [(label, study.run(trace, "gscn", change), PHASE) for label, change in MACHINES]
    cases += [
        ("batch: 128", study.run(trace, batch_size=128), PHASE),
        ("zeros of activations not used", study.run(dense_activations(trace)), PHASE),
        ("pre-phases not counted", default, "backward"),
        ("threshold that holds the mean", study.run(other), PHASE),
    ]
    for label, run, phase in cases:
        yield _row(network, published, label, run, phase)


def dense_activations(trace: Trace) -> Trace:
    """The trace with dense activations."""
    layers = [
        layer
        if layer.activation is None
        else replace(layer, activation=Mask.from_array(np.ones(layer.activation.shape, np.bool_)))
        for layer in trace.layers
    ]
    return with_layers(trace, layers)


def _row(network: str, published: float, label: str, run: Run, phase: str) -> Row:
    found = summary_row(run, phase)
    seconds = float(found["seconds"])
    gpu, low, high = gpu_convolutions(network, run.records[0].batch_size)
    return Row(
        family=FAMILY,
        claim=f"{network}, {label}",
        unit="x",
        published=published,
        ours=gpu / seconds,
        low=low / seconds,
        high=high / seconds,
        how=f"convolutions on both sides: GSCN {1e3 * seconds:.2f} ms, GPU {1e3 * gpu:.2f} ms "
        "predicted",
        differs=f"work {found['work_reduction']:.1f} times less, useful slots "
        f"{100 * found['utilization']:.0f} %",
    )
