"""Measure how near bounds come to simulations: ``python docs/measure_bounds.py [DESIGNS]``.

Runs layers of ResNet-34 at 10 % density on random designs and writes the table of
``docs/explanation/bounds.md`` between its marks. About two seconds of processor time a design.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from statistics import median

from gscn_sim import load_config
from gscn_sim.bounds.cycles import BOUNDS, bounds_of
from gscn_sim.bounds.machine import BoundedMachine
from gscn_sim.bounds.network import least_of
from gscn_sim.bounds.planned import PlannedBounds
from gscn_sim.bounds.planned_machine import PlannedMachine
from gscn_sim.bounds.work import work_of
from gscn_sim.config import Config
from gscn_sim.config.view import view
from gscn_sim.dataflows.registry import WantedDataflows, dataflows_of
from gscn_sim.errors import ConfigError
from gscn_sim.files import write_text
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.run.knowledge import known_operands
from gscn_sim.run.memo import Cache
from gscn_sim.run.pipeline import finish_phase, prepare_phase
from workloads import Layer, Phase, load

PAGE = Path(__file__).parent / "explanation" / "bounds.md"
TRACE = Path(__file__).parent.parent / "workloads" / "data" / "resnet34_q10.npz"
LAYERS = ("layer1.1.conv1", "layer2.1.conv2", "layer4.1.conv2")
PHASES = (Phase.DGRAD, Phase.WGRAD)
MARKS = "<!-- tightness -->\n", "<!-- end of tightness -->\n"
AXES = {
    "array.pe_rows": (7, 14, 28),
    "array.pe_cols": (8, 16, 32),
    "array.clock_ghz": (0.8, 1.2, 1.6),
    "pe.streamed_vector": (2, 4, 8),
    "pe.stationary_vector": (2, 4, 8),
    "pe.accumulator_banks": (16, 32, 64),
    "pe.accumulator_entries": (1024, 2048, 4096, 8192),
    "pe.bank_queue_depth": (0, 4, 8, 16),
    "pe.stationary_buffer_bytes": (4096, 16384, 65536),
    "buffer.size_bytes": (1 << 19, 1 << 21, 1 << 23),
    "network.operand_bytes_per_cycle": (256, 1024, 2048),
    "drain.entries_per_cycle": (1, 4, 16),
    "dram.preset": ("gddr5x-484", "hbm2", "ddr4-2400"),
}


def designs(count: int) -> list[Config]:
    """As many random designs."""
    drawn = random.Random(15)
    return [
        load_config("gscn", {key: drawn.choice(values) for key, values in AXES.items()})
        for _ in range(count)
    ]


def shares(layer: Layer, phase: Phase, config: Config, cache: Cache) -> tuple[float, float, str]:
    """Bound and bound of plans over simulated cycles, and which bound binds."""
    prepared = prepare_phase(layer, phase, config, 16, cache)
    record, _ = finish_phase("", layer, prepared, config)
    problem = make_problem(layer.shape, phase, 16)
    operands = cache(make_operands, layer, problem)
    vectors = [(config.pe.streamed_vector, config.pe.stationary_vector)]
    flows = dataflows_of(phase, view(WantedDataflows, config))
    works = [work_of(problem, operands, flow, vectors) for flow in flows]
    machine = view(BoundedMachine, config)
    least = float(least_of(works, machine).cycles)
    known = partial(known_operands, problem=problem, operands=operands, before=None)
    of_plans = PlannedBounds(problem, Counts(problem, operands, cache), known).cycles(
        view(MappingSpace, config), view(PlannedMachine, config), flows
    )
    if of_plans and all(work.reads_first for work in works):
        of_plans += float(machine.latency_cycles)
    of_plans = max(of_plans, least)
    if of_plans > record.cycles:
        raise AssertionError(f"{layer.name} {phase}: {of_plans} > {record.cycles} on {config}")
    of_bound = {name: float(value) for name, value in bounds_of(works[-1], machine).items()}
    return (
        least / record.cycles,
        of_plans / record.cycles,
        max(of_bound, key=lambda name: of_bound[name]),
    )


def table(count: int) -> str:
    """The table of the page."""
    layers = [layer for layer in load(TRACE).layers if layer.name in LAYERS]
    layers = list({layer.name: layer for layer in layers}.values())
    cache = Cache()
    found: dict[Phase, list[float]] = {phase: [] for phase in PHASES}
    near: dict[Phase, list[float]] = {phase: [] for phase in PHASES}
    binding: dict[Phase, Counter[str]] = {phase: Counter() for phase in PHASES}
    for number, config in enumerate(designs(count)):
        for layer in layers:
            for phase in PHASES:
                try:
                    share, planned, name = shares(layer, phase, config, cache)
                except ConfigError:
                    continue
                found[phase].append(share)
                near[phase].append(planned)
                binding[phase][name] += 1
        both = {p.value: (round(median(found[p]), 3), round(median(near[p]), 3)) for p in PHASES}
        print(f"{number + 1} of {count}", both, file=sys.stderr)
    heads = ("phase", "layer-phases", "median", "worst", "best", "with plans: median", "worst")
    rows = [f"| {' | '.join((*heads, *BOUNDS))} |", "|---" * (len(heads) + len(BOUNDS)) + "|"]
    for phase in PHASES:
        each = found[phase]
        cells = [str(len(each)), *(f"{of(each):.2f}" for of in (median, min, max))]
        cells += [f"{of(near[phase]):.2f}" for of in (median, min)]
        cells += [f"{100 * binding[phase][name] / len(each):.0f} %" for name in BOUNDS]
        rows.append(f"| {phase} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    made = table(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
    write_text(PAGE, before + MARKS[0] + made + MARKS[1] + after)
