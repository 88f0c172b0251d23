"""SCNN against its dense twin (Parashar et al., ISCA 2017), on random masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gscn_sim.api import Run
from gscn_sim.claims.record import UNLIMITED, Row, Study, total_cycles
from workloads import LayerShape
from workloads.networks import conv_layers
from workloads.synthetic import Density, synthesize

FAMILY = "scnn"
Layers = Sequence[tuple[str, LayerShape]]

# Zeros in %, input activations and weights, as used for SCNN (from two re-simulations).
VGG16_ZEROS = (
    *((0, 43), (50, 79), (11, 67), (21, 65), (19, 47), (37, 78), (31, 59)),
    *((29, 68), (50, 74), (55, 66), (61, 65), (67, 71), (68, 64)),
)
# Non-zeros in %, Han et al. 2015, table 4: outputs of the layer before, weights kept.
ALEXNET_DENSITIES = ((100, 84), (88, 38), (52, 35), (37, 37), (40, 37))
# The Caffe form that SCNN and Han et al. used: two groups in layers 2, 4 and 5.
ALEXNET: Layers = (
    ("conv1", LayerShape(C=3, H=227, W=227, K=96, R=11, S=11, stride=(4, 4))),
    ("conv2", LayerShape(C=96, H=27, W=27, K=256, R=5, S=5, padding=(2, 2), groups=2)),
    ("conv3", LayerShape(C=256, H=13, W=13, K=384, R=3, S=3, padding=(1, 1))),
    ("conv4", LayerShape(C=384, H=13, W=13, K=384, R=3, S=3, padding=(1, 1), groups=2)),
    ("conv5", LayerShape(C=384, H=13, W=13, K=256, R=3, S=3, padding=(1, 1), groups=2)),
)
# 4 PEs of 16x16 multipliers with as much memory as 64 of 4x4.
FOUR_PES = {
    "array.pe_rows": 2,
    "array.pe_cols": 2,
    "pe.streamed_vector": 16,
    "pe.stationary_vector": 16,
    "pe.accumulator_banks": 512,
    "pe.accumulator_entries": 16384,
    "pe.stationary_buffer_bytes": 163840,
    "pe.streamed_fifo_entries": 800,
    "drain.entries_per_cycle": 512,
}
SWEEP = ((1.0, 0.79), (0.85, 1.0), (0.5, None), (0.3, None), (0.1, 24.0))
RANDOM = "random masks, one sample; memory never limits (the paper: no effect above 4 GB/s)"


def rows(study: Study, googlenet: Layers | None = None, vgg16: Layers | None = None) -> list[Row]:
    """The density sweep, two networks and the grain of the PEs."""
    layers = list(googlenet or conv_layers("googlenet"))
    return [
        *_sweep(study, layers),
        *_networks(study, list(vgg16 or conv_layers("vgg16"))),
        *_grain(study, layers),
    ]


def _sweep(study: Study, layers: Layers) -> Iterator[Row]:
    dense = total_cycles(_forward(study, "googlenet", layers, 1.0, 1.0, "dense"))
    why = {
        1.0: "bank hash and queues are assumed; with plain modulo it is 0.46",
        0.85: "published: the density at which both are equally fast",
        0.1: "a drain of 4 instead of 32 entries a cycle would give 20.8",
    }
    for density, published in SWEEP:
        sparse = _forward(study, "googlenet", layers, density, density)
        yield Row(
            family=FAMILY,
            claim=f"SCNN over dense, GoogLeNet, densities {density:g}/{density:g}",
            unit="x",
            published=published,
            ours=dense / total_cycles(sparse),
            how=RANDOM,
            differs=why.get(density, ""),
        )
    memory = _forward(study, "googlenet", layers, 0.1, 0.1, overrides={})
    yield Row(
        family=FAMILY,
        claim="the same at 0.1/0.1 with every map read from DRAM at 50 GB/s",
        unit="x",
        published=None,
        ours=dense / total_cycles(memory),
        how="preset scnn as it is, dense machine without limit",
        differs="SCNN keeps maps on the chip between layers; each of our layers starts cold",
    )


def _networks(study: Study, vgg16: Layers) -> Iterator[Row]:
    names = [name for name, _ in vgg16]
    zeros = dict(zip(names, VGG16_ZEROS, strict=False))
    densities = dict(zip([name for name, _ in ALEXNET], ALEXNET_DENSITIES, strict=True))
    for network, layers, a, w, published, why in (
        (
            "vgg16",
            vgg16,
            {name: 1 - zeros[name][0] / 100 for name in names},
            {name: 1 - zeros[name][1] / 100 for name in names},
            3.52,
            "3.84 with groups of 8; recorded maps instead of random ones do not explain the rest",
        ),
        (
            "alexnet",
            ALEXNET,
            {name: d[0] / 100 for name, d in densities.items()},
            {name: d[1] / 100 for name, d in densities.items()},
            2.37,
            "densities of Han et al. 2015, before pooling",
        ),
    ):
        dense = _forward(study, network, layers, a, w, "dense")
        sparse = _forward(study, network, layers, a, w)
        yield Row(
            family=FAMILY,
            claim=f"SCNN over dense, {network}, published densities",
            unit="x",
            published=published,
            ours=total_cycles(dense) / total_cycles(sparse),
            how=RANDOM,
            differs=why,
        )


def _grain(study: Study, layers: Layers) -> Iterator[Row]:
    for group, note in (
        (8, "the paper names 8 output channels a group for late layers"),
        (0, "groups as large as the accumulators hold: the larger PEs win instead"),
    ):
        limit = {"mapping.group_outputs": group}
        many = _forward(study, "googlenet", layers, 0.4, 0.5, overrides=UNLIMITED | limit)
        few = _forward(study, "googlenet", layers, 0.4, 0.5, overrides=UNLIMITED | FOUR_PES | limit)
        label = f"groups of {group}" if group else "groups that fit"
        yield Row(
            family=FAMILY,
            claim=f"64 PEs of 16 over 4 PEs of 256 multipliers, {label}",
            unit="x",
            published=1.11,
            ours=total_cycles(few) / total_cycles(many),
            how="GoogLeNet, densities 0.4/0.5 (its own are not published as numbers)",
            differs=note,
        )
        for what, run, published in (("64 PEs", many, 0.59), ("4 PEs", few, 0.35)):
            yield Row(
                family=FAMILY,
                claim=f"multipliers used in a step, {what}, {label}",
                unit="share",
                published=published,
                ours=_used_in_steps(run),
                how="useful products of the slots of issued steps",
                differs="densities; the published figures do not say whether waiting is in them",
            )


def _used_in_steps(run: Run) -> float:
    steps = sum(record.steps * record.multipliers for record in run.records)
    return sum(record.slots.useful for record in run.records) / steps if steps else 0.0


def _forward(
    study: Study,
    network: str,
    layers: Layers,
    activation_density: Density,
    weight_density: Density,
    preset: str = "scnn",
    overrides: dict[str, object] | None = None,
) -> Run:
    trace = synthesize(
        network,
        layers,
        batch_size=1,
        samples=1,
        activation_density=activation_density,
        gradient_density=None,
        weight_density=weight_density,
        seed=1,
    )
    changes = UNLIMITED if overrides is None else overrides
    return study.run(trace, preset, changes, phases=("forward",))
