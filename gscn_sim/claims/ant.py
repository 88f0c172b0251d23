"""ANT over an SCNN-like machine (Lew et al., ISCA 2022), on recorded and on random masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, geometric_mean
from typing import Any

from gscn_sim.api import Run
from gscn_sim.claims.record import UNLIMITED, Row, Study, first_iteration, total_cycles
from workloads import LayerShape, Trace
from workloads.networks import conv_layers
from workloads.synthetic import synthesize

FAMILY = "ant"
RECORDED = ("resnet18", "resnet34_q10")
# Networks on images of 32x32, most of them a seventh of their usual size.
RANDOM = ("wrn16_8_cifar", "vgg16", "resnet50", "densenet121")
VARIED = ("wrn16_8_cifar",)
PHASES = ("forward", "dgrad", "wgrad")
CHEAPEST = UNLIMITED | {"mapping.kind": "auto"}
WHOLE_MAPS = UNLIMITED | {"mapping.kind": "channel"}
CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("PEs share channels, whole maps", {"mapping.kind": "channel"}),
    ("PEs share samples, whole maps", {"mapping.kind": "sample"}),
    ("planar tiles on 8x8 PEs", {"mapping.kind": "planar"}),
    ("1 activation x 16 gradients", {"pe.stationary_vector": 1, "pe.streamed_vector": 16}),
    ("16 activations x 1 gradient", {"pe.stationary_vector": 16, "pe.streamed_vector": 1}),
    ("4 ranges compared a cycle, not 16", {"pe.anticipator_vectors": 4}),
    ("all ranges compared at once", {"pe.anticipator_vectors": 1 << 20}),
    ("units dealt by work", {"policy.load_balance": "sorted"}),
    ("exchange of partial sums without limit", {"network.partial_sums_per_cycle": 1 << 16}),
    ("memory of the preset", {"dram.preset": "ddr4-50"}),
)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What ``ant`` gains over ``scnn`` on one workload."""

    speed: float
    steps: float
    energy: float
    redundant: float
    skipped: float

    def row(self, claim: str, how: str) -> Row:
        """The gain in speed, and what it is made of."""
        return Row(
            family=FAMILY,
            claim=claim,
            unit="x",
            published=None,
            ours=self.speed,
            how=how,
            differs=f"{100 * self.redundant:.0f} % of all products redundant, "
            f"{100 * self.skipped:.0f} % of those skipped, {self.steps:.1f} times fewer steps, "
            f"energy {self.energy:.1f}x",
        )


def rows(
    study: Study,
    recorded: Sequence[str] = RECORDED,
    random: Sequence[str] = RANDOM,
    varied: Sequence[str] = VARIED,
) -> list[Row]:
    """Speed, energy and skipped products of ``ant`` over ``scnn``; what they depend on."""
    found = []
    cheapest: list[Gain] = []
    for name in recorded:
        gain = _gain(study, first_iteration(study.trace(name)), CHEAPEST, ("wgrad",))
        cheapest.append(gain)
        found.append(gain.row(f"ANT over SCNN, wgrad, {name}", "recorded ReSprop masks"))
    whole: list[Gain] = []
    for name in random:
        trace = _sparse_training(name)
        for gains, plans, mapping in (
            (cheapest, CHEAPEST, "cheapest mapping"),
            (whole, WHOLE_MAPS, "whole maps"),
        ):
            gains.append(_gain(study, trace, plans, PHASES))
            claim = f"ANT over SCNN, {'+'.join(PHASES)}, {name}, {mapping}"
            found.append(gains[-1].row(claim, "random masks, all operands at 0.1, 32x32 images"))
    for name in varied:
        trace = _sparse_training(name)
        for label, change in CHANGES:
            gain = _gain(study, trace, CHEAPEST | change, ("wgrad",))
            found.append(gain.row(f"ANT over SCNN, wgrad, {name}, {label}", "one change in both"))
    return [
        *_means(cheapest, "", "both machines with the mapping that is cheapest by estimate"),
        *(_means(whole, ", whole maps", "PEs share channels, not tiles") if whole else ()),
        *found,
    ]


def _means(gains: Sequence[Gain], which: str, mapping: str) -> list[Row]:
    """Geometric means of speed and energy, and the shares of products."""

    def row(
        claim: str, unit: str, published: float, ours: float, values: list[float], differs: str
    ) -> Row:
        return Row(
            family=FAMILY,
            claim=claim + which,
            unit=unit,
            published=published,
            ours=ours,
            low=min(values),
            high=max(values),
            how=f"over the rows below; {mapping}; memory never limits",
            differs=differs,
        )

    speed, energy = [g.speed for g in gains], [g.energy for g in gains]
    redundant, skipped = [g.redundant for g in gains], [g.skipped for g in gains]
    return [
        row(
            "ANT over SCNN, 90 % sparse training, geometric mean",
            "x",
            3.71,
            geometric_mean(speed),
            speed,
            "ANT's mapping, densities and batch are not published",
        ),
        row(
            "the same, energy, geometric mean",
            "x",
            4.40,
            geometric_mean(energy),
            energy,
            "dynamic energy without DRAM; static energy, which a shorter run saves, is left out",
        ),
        row(
            "products that are redundant without ANT, highest",
            "share",
            0.90,
            max(redundant),
            redundant,
            "published is 'up to 90 %'",
        ),
        row(
            "redundant products skipped, mean",
            "share",
            0.90,
            fmean(skipped),
            skipped,
            "published is 'over 90 %'",
        ),
    ]


def _gain(study: Study, trace: Trace, plans: Mapping[str, Any], phases: Sequence[str]) -> Gain:
    plain = study.run(trace, "scnn", plans, phases=phases)
    ant = study.run(trace, "ant", plans, phases=phases)
    wasted, useful = _redundant(plain), _useful(plain)
    return Gain(
        speed=total_cycles(plain) / total_cycles(ant),
        steps=_steps(plain) / _steps(ant),
        energy=_energy(plain) / _energy(ant),
        redundant=wasted / (wasted + useful),
        skipped=1 - _redundant(ant) / wasted if wasted else 0.0,
    )


def _sparse_training(network: str) -> Trace:
    return synthesize(
        network,
        _on_small_images(conv_layers(network)),
        batch_size=16,
        samples=1,
        activation_density=0.1,
        gradient_density=0.1,
        weight_density=0.1,
        seed=1,
    )


def _on_small_images(layers: Sequence[tuple[str, LayerShape]]) -> list[tuple[str, LayerShape]]:
    """Layers of a network for images of 224x224 as they are on 32x32, others as they are."""
    if layers[0][1].H < 224:
        return list(layers)
    return [(name, replace(s, H=s.H // 7, W=s.W // 7)) for name, s in layers]


def _steps(run: Run) -> int:
    return sum(record.steps for record in run.records)


def _energy(run: Run) -> float:
    return float((run.table["energy_j"] - run.table["energy_dram_j"]).sum())


def _redundant(run: Run) -> int:
    return sum(record.slots.redundant for record in run.records)


def _useful(run: Run) -> int:
    return sum(record.slots.useful for record in run.records)
