"""Extra phases of a step are those of the method that the trace was recorded with."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

import gscn_sim
import workloads
from gscn_sim.step.as_trained import as_trained
from gscn_sim.step.result import StepRun
from workloads import Operation, Phase, Step, Trace

KNOWN = workloads.known_step("resnet8", 64)


@cache
def recorded() -> Trace:
    from importlib import resources

    path = resources.files("workloads.data") / "resnet8_digits.npz"
    trace = workloads.excerpt(workloads.load(str(path)), samples=2)
    layers = [layer for layer in trace.layers if layer.iteration == trace.iterations[0]]
    return replace(trace, layers=layers, step=None)


def trained(**changes: Any) -> Trace:
    """The same masks, as another method has them."""
    trace = recorded()
    return replace(trace, layers=[replace(layer, **changes) for layer in trace.layers])


def extras(step: Step) -> dict[int, Operation]:
    return {
        n: operation
        for n, operation in enumerate(step.operations)
        if operation.layer_phase is not None and operation.layer_phase.one_sample
    }


def all_before(step: Step, number: int) -> set[int]:
    """Everything that an operation waits for."""
    found: set[int] = set()
    waiting = [number]
    while waiting:
        for earlier in step.operations[waiting.pop()].depends_on:
            if earlier not in found:
                found.add(earlier)
                waiting.append(earlier)
    return found


def test_the_method_of_the_known_steps_changes_nothing() -> None:
    assert as_trained(KNOWN, recorded()) is KNOWN


def test_without_extra_phases_there_are_none_and_nothing_else_is_lost() -> None:
    step = as_trained(KNOWN, trained(extra_phases=()))
    assert not extras(step)
    assert len(step.operations) == len(KNOWN.operations) - len(extras(KNOWN))
    kinds = [o.name for o in KNOWN.operations if o not in extras(KNOWN).values()]
    assert [o.name for o in step.operations] == kinds


def test_one_extra_phase_alone() -> None:
    step = as_trained(KNOWN, trained(extra_phases=(Phase.PRE_WGRAD,)))
    assert {o.layer_phase for o in extras(step).values()} == {Phase.PRE_WGRAD}


def test_post_phases_wait_for_what_the_own_convolutions_wait_for() -> None:
    step = as_trained(KNOWN, trained(post_phases=True))
    found = extras(step)
    assert len(found) == len(extras(KNOWN)) > 10
    for number, operation in found.items():
        own = next(
            o
            for o in step.operations
            if o.module == operation.module and o.layer_phase in (Phase.DGRAD, Phase.WGRAD)
        )
        deltas = {n for n in own.depends_on if step.operations[n].kind == "resprop"}
        assert deltas & set(operation.depends_on)
        assert not deltas & all_before(KNOWN, number)
        written = {t.storage for n in deltas for t in step.operations[n].outputs}
        assert operation.inputs[0].storage in written
    assert as_trained(step, trained(post_phases=True)) == step


def run(trace: Trace) -> StepRun:
    return gscn_sim.simulate_step(trace, gscn_sim.load_config("gscn"), gpu=None)


def test_when_they_run() -> None:
    """Pre-phases fill the forward pass; post-phases cannot; without any the step is shortest."""
    runs = {
        "pre": run(recorded()),
        "post": run(trained(post_phases=True)),
        "none": run(trained(extra_phases=())),
    }
    in_forward = {}
    for name, each in runs.items():
        operations = each.on_machine.operations
        added = [o for o in operations if o.name.startswith("convolution_backward.pre_")]
        last = max(o.end_cycle for o in operations if o.phase == "forward")
        in_forward[name] = sum(o.end_cycle <= last for o in added)
        assert len(added) == (0 if name == "none" else len(extras(KNOWN)))
        assert {o.how for o in added} <= {"simulated"}
    assert in_forward["pre"] > 0
    assert in_forward["post"] == 0
    cycles = {name: each.on_machine.cycles for name, each in runs.items()}
    assert cycles["none"] < cycles["pre"]
    assert cycles["none"] < cycles["post"]


@pytest.mark.parametrize("method", ["batch-sum", "resprop-batch-sum"])
def test_a_recorded_step_of_such_a_method_is_as_it_was_recorded(method: str) -> None:
    from torch import nn

    import resprop_train

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten())
    resprop_train.convert(model, method=method)
    step = resprop_train.trace_step(model, (4, 3, 8, 8))
    layer = workloads.layer_from_arrays(
        "2",
        activation=_ones(4, 8, 6, 6),
        gradient=_ones(4, 8, 4, 4),
        weight=_ones(8, 8, 3, 3),
        post_phases=True,
    )
    trace = Trace(network="toy", batch_size=4, layers=[layer], step=step)
    assert as_trained(step, trace) is step or as_trained(step, trace) == step
    added = extras(step)
    assert added
    for number in added:  # autograd's own order has them after the gradient
        before = all_before(step, number)
        assert any(step.operations[n].name == "sub" for n in before)


def _ones(*shape: int) -> Any:
    import numpy as np

    return np.ones(shape)
