"""What a machine knows of a layer-phase when its mapping is chosen and its work is dealt."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gscn_sim.problem.geometry import Problem
from gscn_sim.problem.operands import Operands, make_operands
from gscn_sim.stages import Caller, call
from workloads import Layer


def known_operands(
    knowledge: str,
    problem: Problem,
    operands: Operands,
    before: Layer | None,
    caller: Caller = call,
) -> Operands:
    """The operands by which a layer-phase is planned and dealt.

    Args:
        knowledge: ``oracle``: those that will run; ``previous``: those of the layer's record
            ``before``, or as ``shape`` if there is none of this shape; ``shape``: random ones of
            the same densities. Weights are known in any case, as they are there before the step.
    """
    if knowledge == "oracle" or problem.phase.one_sample:
        return operands
    is_alike = before is not None and (
        before.shape == problem.shape and problem.phase in before.phases()
    )
    if knowledge == "previous" and before is not None and is_alike:
        return caller(make_operands, before, problem)
    return caller(random_operands, problem, operands)


def random_operands(problem: Problem, operands: Operands) -> Operands:
    """Operands of the same densities, non-zeros anywhere; equal for equal densities."""
    stationary = round(float(operands.stationary.mean()), 3)
    streamed = round(float(operands.streamed.mean()), 3) if problem.is_reduction else None
    facts = (problem.shape, problem.phase, operands.stationary.shape, stationary, streamed)
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()
    generator = np.random.default_rng(int(digest[:16], 16))

    def mask(like: NDArray[np.uint8], density: float) -> NDArray[np.uint8]:
        return (generator.random(like.shape, np.float32) < density).astype(np.uint8)

    return replace(
        operands,
        stationary=mask(operands.stationary, stationary),
        streamed=operands.streamed if streamed is None else mask(operands.streamed, streamed),
        digest=digest if streamed is not None else f"{digest} {operands.digest}",
    )


class EarlierRecords:
    """The records of a trace that were seen, by layer: what a layer knows of itself."""

    def __init__(self) -> None:
        self._last: dict[str, Layer] = {}
        self._before: dict[str, Layer | None] = {}

    def before(self, layer: Layer) -> Layer | None:
        """The layer's last record of an earlier iteration; the layer itself is seen now."""
        last = self._last.get(layer.name)
        if last is None or last.iteration != layer.iteration:
            self._before[layer.name] = last
        self._last[layer.name] = layer
        return self._before[layer.name]
