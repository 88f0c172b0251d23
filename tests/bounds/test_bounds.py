"""No simulation is below a bound."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.cases import layers, machine_overrides

from gscn_sim import load_config
from gscn_sim.bounds.activity import least_activity
from gscn_sim.bounds.cycles import bounds_of
from gscn_sim.bounds.machine import BoundedMachine
from gscn_sim.bounds.network import least_of
from gscn_sim.bounds.planned import PlannedBounds
from gscn_sim.bounds.planned_machine import PlannedMachine
from gscn_sim.bounds.work import Work, work_of
from gscn_sim.config import Config
from gscn_sim.config.view import view
from gscn_sim.dataflows.registry import WantedDataflows, dataflows_of
from gscn_sim.errors import ConfigError
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.kinds import MappingSpace
from gscn_sim.problem.geometry import make_problem
from gscn_sim.problem.operands import make_operands
from gscn_sim.run.knowledge import known_operands
from gscn_sim.run.pipeline import simulate_phase
from workloads import Layer, Phase

PHASES = tuple(Phase)


def works(layer: Layer, phase: Phase, config: Config, batch: int) -> tuple[Work, ...]:
    problem = make_problem(layer.shape, phase, batch)
    flows = dataflows_of(phase, view(WantedDataflows, config))
    vectors = [(config.pe.streamed_vector, config.pe.stationary_vector)]
    return tuple(work_of(problem, make_operands(layer, problem), f, vectors) for f in flows)


@pytest.mark.parametrize("phase", PHASES)
@settings(max_examples=150)
@given(
    layer=layers(),
    overrides=machine_overrides(),
    batch=st.integers(1, 20),
    dense=st.booleans(),
)
def test_no_layer_phase_is_faster(
    phase: Phase, layer: Layer, overrides: dict[str, Any], batch: int, dense: bool
) -> None:
    if dense:
        overrides = overrides | {
            f"dataflow.{name}": "dense" for name in ("forward", "dgrad", "wgrad")
        }
    config = load_config("gscn", overrides)
    try:
        record = simulate_phase("toy", layer, phase, config, batch)
    except ConfigError:
        return
    machine = view(BoundedMachine, config)
    of_flow = {w.dataflow.name: w for w in works(layer, phase, config, batch)}
    for name, bound in bounds_of(of_flow[record.dataflow], machine).items():
        assert bound <= record.cycles, name
    assert least_of(tuple(of_flow.values()), machine).cycles <= record.cycles
    problem = make_problem(layer.shape, phase, batch)
    operands = make_operands(layer, problem)
    known = cache(partial(known_operands, problem=problem, operands=operands, before=None))
    planned = PlannedBounds(problem, Counts(problem, operands), known)
    views = (view(kind, config) for kind in (MappingSpace, PlannedMachine))
    flows = dataflows_of(phase, view(WantedDataflows, config))
    of_plans = planned.cycles(*views, flows)
    if of_plans and all(work.reads_first for work in of_flow.values()):
        of_plans += machine.latency_cycles
    assert of_plans <= record.cycles
    least, found = least_activity(of_flow[record.dataflow], machine), asdict(record.activity)
    found["dram_bytes"] = record.dram_read_bytes + record.dram_write_bytes
    for name, value in asdict(least).items():
        assert value <= found[name] * (1 + 1e-9), name
