"""Functional mode: push values through the machine's tiling, pairing, coordinates and reduction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.config import Config
from gscn_sim.config.view import view
from gscn_sim.dataflows.base import PeTiming
from gscn_sim.dataflows.registry import dataflow
from gscn_sim.errors import ConfigError
from gscn_sim.mapping.deal import deal_order
from gscn_sim.problem.geometry import Problem, make_problem
from gscn_sim.problem.operands import make_operands, weight_lists
from gscn_sim.run.pipeline import plan_phase
from workloads import Layer, Operand, Phase
from workloads.matmul import as_convolution

Floats = NDArray[Any]  # float64, or float32 in bf16


def execute(layer: Layer, phase: str, config: Config) -> Floats:
    """The result that the machine would compute for a layer-phase from the recorded values.

    Every product is formed where the timing model forms it: by the plan's tiles, accumulator groups
    and pairing groups, in vectors of I and F, with the dataflow's skipping; partial sums are
    reduced over tiles and samples. On integer-valued operands the result equals a direct
    convolution exactly. With ``pe.arithmetic = "bf16"`` operands are rounded to bfloat16 (nearest,
    ties to even), products are exact, sums are in fp32, in the order of the machine's tiles, and
    the result is rounded once, as the drain writes it.

    Returns:
        forward: [n, K, P, Q]; dgrad: [n, C, H, W]; wgrad: [K, C / groups, R, S], of a matmul
        [n * K, C / groups, R, S].

    Raises:
        ConfigError: values the phase needs are not in the trace, or no mapping fits.
    """
    which = Phase(phase)
    if which.one_sample:
        raise ConfigError(f"layer {layer.name}: {which} has no recorded values to execute")
    if layer.is_matmul:
        result = execute(as_convolution(layer, layer.n_samples), phase, config)
        split = (layer.n_samples, -1, *result.shape[2:])
        return result if which.sums_samples else result.reshape(split)
    problem = make_problem(layer.shape, which, layer.n_samples)
    operands = make_operands(layer, problem)
    stationary, streamed = (in_arithmetic(x, config) for x in _values(layer, problem))
    plan = plan_phase(layer, problem, operands, config)
    order = deal_order(plan, operands, config.policy.load_balance)
    if problem.is_reduction:
        stationary = stationary[:, order.stationary]
        streamed = streamed[..., order.outputs] if problem.groups == 1 else streamed
    result = dataflow(plan.dataflow).execute(
        plan,
        operands.in_order(order.stationary, order.outputs),
        stationary,
        streamed,
        view(PeTiming, config),
    )
    result = in_arithmetic(result, config)
    if not problem.is_reduction or problem.groups > 1:
        return result
    in_order = np.empty_like(result)
    in_order[np.ix_(order.outputs, order.stationary)] = result
    return in_order


def in_arithmetic(values: Floats, config: Config) -> Floats:
    """Values as the machine holds them: float64, or in bf16 float32 with a bfloat16's digits."""
    if config.pe.arithmetic == "exact":
        return values
    from ml_dtypes import bfloat16

    return values.astype(bfloat16).astype(np.float32)


def _values(layer: Layer, problem: Problem) -> tuple[Floats, Floats]:
    """Values in the layouts of ``Operands.stationary`` and ``Operands.streamed``."""
    phase, groups = problem.phase, problem.shape.groups
    stationary, streamed = (
        _needed(layer, phase, phase.stationary),
        _needed(layer, phase, phase.streamed),
    )
    if problem.is_reduction:
        n, k, p, q = streamed.shape
        split = streamed.reshape(n, groups, k // groups, p, q)
        return stationary, split.transpose(0, 1, 3, 4, 2)
    return stationary, weight_lists(streamed, problem)[None]


def _needed(layer: Layer, phase: Phase, operand: Operand) -> Floats:
    values = layer.values(operand)
    if values is None:
        raise ConfigError(
            f"layer {layer.name}: {phase} in functional mode needs the values of {operand}; "
            "record the trace with values"
        )
    return np.asarray(values, np.float64)
