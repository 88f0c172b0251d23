"""Figures of docs/explanation/whole-step.md, from simulated steps: ``make step-figures``.

Arguments choose networks.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import gscn_sim
import workloads
from gscn_sim.config.sections import FusionConfig

DATA = Path(__file__).parents[1] / "workloads" / "data"
NETWORKS = tuple(sys.argv[1:]) or ("resnet34", "vgg16")
BATCHES = (16, 128)
POLICIES = {
    "one by one": {"overlap": False},
    "overlap": {"prefetch": False, "share_delta": False},
    "overlap and prefetch": {"share_delta": False},
    "overlap, prefetch and shared delta": {},
}
FUSIONS = tuple(field.name for field in dataclasses.fields(FusionConfig))


def main() -> None:
    """Print the tables, Markdown, as soon as each row is known."""
    cache = gscn_sim.open_cache()
    plain = gscn_sim.load_config()

    def run(network: str, batch: int, **more: object) -> gscn_sim.StepRun:
        trace = workloads.load(DATA / f"{network}_q10.npz")
        fixed = {"batch_size": batch, "cache": cache, "iterations": trace.iterations[-1:]}
        return gscn_sim.simulate_step(trace, **{"config": plain, **fixed, **more})  # type: ignore[arg-type]

    print("| network | batch | gscn ms | dense array ms | GTX 1080 Ti ms | over dense | over GPU |")
    print("|---|---|---|---|---|---|---|")
    for network in NETWORKS:
        for batch in BATCHES:
            found = run(network, batch)
            times = " | ".join(f"{1e3 * found.seconds(m):.1f}" for m in ("gscn", "dense", "gpu"))
            ratios = " | ".join(f"{found.speedup[f'over_{m}']:.2f}x" for m in ("dense", "gpu"))
            print(f"| {network} | {batch} | {times} | {ratios} |", flush=True)
    print("\n| network, batch 16 | part | gscn ms | dense array ms | GTX 1080 Ti ms |")
    print("|---|---|---|---|---|")
    for network in NETWORKS:
        table = run(network, 16).table
        for (phase, kind), group in table.groupby(["phase", "kind"], sort=False):
            ms = [1e3 * group[group["machine"] == m]["seconds"].sum() for m in _MACHINES]
            if max(ms) >= 0.05:
                cells = " | ".join(f"{value:.2f}" for value in ms)
                print(f"| {network} | {phase} {kind} | {cells} |", flush=True)
    print(
        "\n| network, batch 16 | co-processor ms | GPU alone ms | ratio | link there ms | back ms |"
    )
    print("|---|---|---|---|---|---|")
    for network in NETWORKS:
        for gpu in ("gtx-1080ti", "h100:fp32", "h100:bf16"):
            found = run(network, 16, gpu=gpu, deploy="coprocessor")
            ms = (1e3 * found.seconds("gscn"), 1e3 * found.seconds("gpu"))
            link = 1e3 * found.resources.set_index("resource")["busy_seconds"]
            print(
                f"| {network} beside {gpu} | {ms[0]:.1f} | {ms[1]:.1f} | {ms[1] / ms[0]:.2f}x | "
                f"{link['link there']:.1f} | {link['link back']:.1f} |",
                flush=True,
            )
    print("\n| policy, batch 16 | " + " ms | ".join(NETWORKS) + " ms |\n|---|---|---|")
    for name, policy in POLICIES.items():
        config = plain.replace(policy=policy)
        ms = [1e3 * run(n, 16, config=config, gpu=None).seconds("gscn") for n in NETWORKS]
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in ms) + " |", flush=True)
    print(
        "\n| network, batch 16 | resource | busy ms | stalled ms | idle ms |\n|---|---|---|---|---|"
    )
    for network in NETWORKS:
        found = run(network, 16, gpu=None)
        for row in found.resources.itertuples(index=False):
            ms = [1e3 * seconds for seconds in row[1:]]
            cells = " | ".join(f"{value:.2f}" for value in ms)
            print(f"| {network} | {row.resource} | {cells} |", flush=True)
        bounds = ", ".join(f"{key} {1e3 * s:.2f}" for key, s in found.bounds_seconds.items())
        print(f"bounds of {network}, ms: {bounds}", flush=True)
    print("\n| without | " + " ms | ".join(NETWORKS) + " ms |\n|---|---|---|")
    for name in ("nothing", *FUSIONS, "any of them"):
        off = FUSIONS if name == "any of them" else (name,) if name in FUSIONS else ()
        config = plain.replace({f"fusion.{key}": False for key in off})
        ms = [1e3 * run(n, 16, config=config, gpu=None).seconds("gscn") for n in NETWORKS]
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in ms) + " |", flush=True)


_MACHINES = ("gscn", "dense", "gpu")

if __name__ == "__main__":
    main()
