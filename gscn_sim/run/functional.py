"""Functional mode: push values through the machine's tiling, pairing, coordinates and reduction."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gscn_sim.config import Config
from gscn_sim.dataflows.costs import channels_last, machine_array, positional_arguments
from gscn_sim.errors import ConfigError
from gscn_sim.kernels.cartesian import cartesian_tiles
from gscn_sim.kernels.pairing import N_COUNTERS
from gscn_sim.kernels.positional import positional_tiles
from gscn_sim.mapping import Block, Plan, balanced, choose_plan
from gscn_sim.mapping.plan import tile_array
from gscn_sim.problem.geometry import Operands, Problem, make_operands, make_problem, weight_lists
from workloads import Layer, Phase

Floats = NDArray[np.float64]
Operand = Literal["activation", "gradient", "weight"]


def execute(layer: Layer, phase: str, config: Config) -> Floats:
    """The result that the machine would compute for a layer-phase from the recorded values.

    Every product is formed where the timing model forms it: by the plan's tiles, accumulator groups
    and pairing groups, in vectors of I and F, with the dataflow's skipping; partial sums are
    reduced over tiles and samples. On integer-valued operands the result equals a direct
    convolution exactly.

    Returns:
        forward: [n, K, P, Q]; dgrad: [n, C, H, W]; wgrad: [K, C / groups, R, S].

    Raises:
        ConfigError: values the phase needs are not in the trace, or no mapping fits.
    """
    which = Phase(phase)
    if which.is_pre_phase:
        raise ConfigError(f"layer {layer.name}: {which} has no recorded values to execute")
    problem = make_problem(layer.shape, which, layer.n_samples)
    operands = make_operands(layer, problem)
    stationary, streamed = _values(layer, problem, operands)
    plan = choose_plan(problem, operands, config, layer.name)
    operands, order = balanced(plan, operands, config)
    if problem.is_wgrad:
        stationary = stationary[:, order.stationary]
        streamed = streamed[..., order.outputs] if problem.groups == 1 else streamed
    blocks = {b for split in plan.blocks_of_split for row in split for b in row if b is not None}
    ordered = sorted(blocks, key=lambda b: (b.c0, b.c1, b.o0, b.o1))
    if plan.dataflow == "positional":
        result = _positional(plan, operands, stationary, streamed, config, ordered)
    else:
        result = _cartesian(plan, operands, stationary, streamed, config, ordered)
    if not problem.is_wgrad or problem.groups > 1:
        return result
    in_order = np.empty_like(result)
    in_order[np.ix_(order.outputs, order.stationary)] = result
    return in_order


def _values(layer: Layer, problem: Problem, operands: Operands) -> tuple[Floats, Floats]:
    """Values in the layouts of ``operands.stationary`` and ``operands.streamed``."""
    shape = problem.shape
    found: dict[str, Floats] = {}
    first: Operand = "gradient" if problem.phase is Phase.DGRAD else "activation"
    second: Operand = "gradient" if problem.is_wgrad else "weight"
    for operand in (first, second):
        values = layer.values(operand)
        if values is None:
            raise ConfigError(
                f"layer {layer.name}: {problem.phase} in functional mode needs the values of "
                f"{operand}; record the trace with values"
            )
        found[operand] = np.asarray(values, np.float64)
    stationary = found[first]
    if problem.is_wgrad:
        n, k, p, q = found["gradient"].shape
        split = found["gradient"].reshape(n, shape.groups, k // shape.groups, p, q)
        return stationary, split.transpose(0, 1, 3, 4, 2)
    return stationary, weight_lists(found["weight"], problem)[None]


def _cartesian(
    plan: Plan,
    operands: Operands,
    stationary: Floats,
    streamed: Floats,
    config: Config,
    blocks: list[Block],
) -> Floats:
    problem = plan.problem
    shape = problem.shape
    tiles = tile_array([tile for tile in plan.tiles if not tile.is_empty])
    counters = np.zeros((len(tiles), N_COUNTERS), np.int64)
    entries = np.zeros((len(tiles), 2), np.int64)
    no_channels = np.zeros((0, 0), np.int64)
    no_lengths = np.zeros(0, np.int64)
    masks = operands.streamed
    group_of_list, list_of_channel = operands.group_of_list, operands.list_of_channel
    if not problem.is_wgrad and operands.dense_weights:
        # Dense weights share one list in the masks; their values differ by channel.
        masks = np.ones(streamed.shape, np.uint8)
        list_of_channel = np.arange(problem.stationary_channels)
        group_of_list = list_of_channel // (problem.stationary_channels // shape.groups)
    output_y, output_x = problem.output_plane
    per_input = shape.C // shape.groups
    results = []
    weight_gradient = np.zeros((problem.output_channels, per_input, output_y, output_x))
    for sample in range(operands.samples):
        sums = np.zeros(problem.output_channels * output_y * output_x, np.float64)
        for block in blocks:
            # A wgrad output has an input channel too, so its channels are summed one by one.
            spans = [(block.c0, block.c1)]
            if problem.is_wgrad:
                spans = [(c, c + 1) for c in range(block.c0, block.c1)]
            for c0, c1 in spans:
                target = np.zeros_like(sums) if problem.is_wgrad else sums
                cartesian_tiles(
                    operands.stationary[sample],
                    np.ascontiguousarray(masks[sample % len(masks)]),
                    np.ascontiguousarray(stationary[sample]).reshape(-1),
                    np.ascontiguousarray(streamed[sample % len(streamed)]).reshape(-1),
                    group_of_list,
                    list_of_channel,
                    c0,
                    c1,
                    block.o0,
                    block.o1,
                    tiles,
                    problem.axes,
                    machine_array(config, plan.dataflow),
                    counters,
                    entries,
                    no_channels,
                    no_lengths,
                    target,
                )
                if problem.is_wgrad:
                    weight_gradient[:, c0 % per_input] += target.reshape(-1, output_y, output_x)
        results.append(sums.reshape(problem.output_channels, output_y, output_x))
    return weight_gradient if problem.is_wgrad else np.stack(results)


def _positional(
    plan: Plan,
    operands: Operands,
    stationary: Floats,
    streamed: Floats,
    config: Config,
    blocks: list[Block],
) -> Floats:
    shape = plan.problem.shape
    where = positional_arguments(plan, blocks)
    counters = np.zeros((len(plan.tiles), len(blocks), N_COUNTERS), np.int64)
    entries = np.zeros((len(plan.tiles), len(blocks), 2), np.int64)
    sums = np.zeros((shape.K, shape.R, shape.S, shape.C), np.float64)
    for sample in range(operands.samples):
        activation, gradient = channels_last(operands.stationary[sample], operands.streamed[sample])
        values = channels_last(stationary[sample], streamed[sample])
        positional_tiles(
            activation,
            gradient,
            *values,
            *where,
            machine_array(config, plan.dataflow),
            counters,
            entries,
            sums,
        )
    # [K, R, S, C] -> [K, C / groups, R, S]: each filter's own group of channels.
    per_output, per_input = shape.K // shape.groups, shape.C // shape.groups
    out = np.empty((shape.K, per_input, shape.R, shape.S))
    for group in range(shape.groups):
        k = slice(group * per_output, (group + 1) * per_output)
        c = slice(group * per_input, (group + 1) * per_input)
        out[k] = sums[k, :, :, c].transpose(0, 3, 1, 2)
    return out
