"""A step as the method trains that a trace was recorded with.

The steps that come with the package are those of ReSprop. Other methods have no extra phases, or
have them after thresholding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from workloads import Layer, Phase, Trace
from workloads.step import Operation, Step


def as_trained(step: Step, trace: Trace) -> Step:
    """The step with the extra phases that the layers of the trace have, where they have them.

    An extra phase that a layer lacks is left out. A post-phase convolves what is made with the
    delta, and waits for it. Layers that were not recorded are as in the step.
    """
    has, waits = _methods(trace.layers)
    left_out = {
        n
        for n, operation in enumerate(step.operations)
        if _is_extra(operation) and (operation.module, operation.layer_phase) in has[False]
    }
    found = step.without_operations(left_out) if left_out else step
    late = {o.module for o in found.operations if o.module in waits}
    if not late:
        return found
    return replace(found, operations=_after_delta(found.operations, late))


def _methods(
    layers: Iterable[Layer],
) -> tuple[dict[bool, set[tuple[str, Phase | None]]], set[str]]:
    """Which layers have which extra phases (True) or lack them, and those with post-phases."""
    has: dict[bool, set[tuple[str, Phase | None]]] = {True: set(), False: set()}
    waits = set()
    for layer in layers:
        if layer.is_matmul or (not layer.input_gradient and not layer.weight_gradient):
            continue
        for phase in Phase:
            if phase.one_sample:
                has[phase in layer.extra_phases].add((layer.name, phase))
        if layer.post_phases:
            waits.add(layer.name)
    has[False] -= has[True]  # an ordinary step among others says nothing of the method
    return has, waits


def _after_delta(operations: Iterable[Operation], modules: set[str]) -> list[Operation]:
    """The operations, the extra phases of some modules after their deltas.

    What they convolve instead of the reused sample is written by what writes the delta.
    """
    found = list(operations)
    for n, operation in enumerate(found):
        if operation.module not in modules or not _is_extra(operation) or not operation.inputs:
            continue
        before = found[:n]
        delta = _delta_of(before, operation.module)
        shared = operation.inputs[0].storage
        if delta is None or any(t.storage == shared for o in before for t in o.outputs):
            continue  # it is made in the step already
        made = found[delta].outputs[0].storage
        first = replace(operation.inputs[0], storage=made)
        found[n] = replace(
            operation,
            inputs=(first, *operation.inputs[1:]),
            depends_on=tuple(sorted({*operation.depends_on, delta})),
        )
    return found


def _delta_of(operations: list[Operation], module: str) -> int | None:
    """The operation that a layer's own backward convolutions take the delta from."""
    for operation in operations:
        if operation.module != module or operation.layer_phase not in (Phase.DGRAD, Phase.WGRAD):
            continue
        for earlier in reversed(operation.depends_on):
            writer = operations[earlier]
            if writer.kind == "resprop" and writer.module == module and writer.outputs:
                return earlier
    return None


def _is_extra(operation: Operation) -> bool:
    return operation.layer_phase is not None and operation.layer_phase.one_sample
