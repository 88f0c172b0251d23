"""What a machine knows of a layer-phase when its mapping is chosen and its work is dealt."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gscn_sim.errors import ConfigError
from gscn_sim.problem.geometry import Problem
from gscn_sim.problem.operands import Operands, make_operands
from gscn_sim.stages import Caller, call
from workloads import Layer, Trace

LIKE = 2.0
"""Plans for fewer non-zeros may have PEs form far too many pairs: one for 0.001 % non-zero
gradients took a thousand times as long as needed at 9 %."""


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
            ``before``, or as ``shape`` if there is none of this shape or if an operand has more
            than :data:`LIKE` times the non-zeros that it had there; ``shape``: random ones of the
            same densities. Weights are known in any case, as they are there before the step,
            and so is how many non-zeros an operand has: they were counted when it was written.
    """
    if knowledge == "oracle" or problem.phase.one_sample:
        return operands
    is_alike = before is not None and (
        before.shape.for_batch(problem.samples)[0] == problem.shape
        and problem.phase in before.phases()
    )
    if knowledge == "previous" and before is not None and is_alike:
        known = caller(make_operands, before, problem)
        if not _has_more(operands.stationary, known.stationary) and (
            not problem.is_reduction or not _has_more(operands.streamed, known.streamed)
        ):
            return known
    return caller(random_operands, problem, operands)


def _density(mask: NDArray[np.uint8]) -> float:
    """To three digits; a few non-zeros in a million are not none."""
    return float(f"{mask.mean():.3g}")


def _has_more(now: NDArray[np.uint8], before: NDArray[np.uint8]) -> bool:
    """Whether an operand has so many more non-zeros that plans for fewer are not fit for it."""
    return float(now.mean()) > LIKE * float(before.mean())


def random_operands(problem: Problem, operands: Operands) -> Operands:
    """Operands of the same densities, non-zeros anywhere; equal for equal densities."""
    stationary = _density(operands.stationary)
    streamed = _density(operands.streamed) if problem.is_reduction else None
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


def layers_to_run(
    trace: Trace, iterations: Collection[int] | None = None
) -> Iterator[tuple[Layer, Layer | None]]:
    """The layers of some iterations (None: all), each with its record of the iteration before.

    What was recorded before the first wanted iteration is known though it does not run.

    Raises:
        ConfigError: an iteration that was not recorded.
    """
    if iterations is not None:
        for iteration in iterations:
            if iteration not in trace.iterations:
                known = ", ".join(map(str, trace.iterations))
                raise ConfigError(f"iteration {iteration} was not recorded; recorded are {known}")
    last: dict[str, Layer] = {}
    for layer in trace.layers:
        if iterations is None or layer.iteration in iterations:
            yield layer, last.get(layer.name)
        last[layer.name] = layer
