"""Which mappings are legal for a layer-phase on a machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

from gscn_sim.mapping.kinds import MappingSpace, Split, splits
from gscn_sim.mapping.plan import Plan
from gscn_sim.mapping.tiles import held_outputs
from gscn_sim.problem.geometry import Problem
from gscn_sim.units import ceil_div

UNITS_PER_SPLIT = 16  # of summed outputs, so that they can be dealt evenly


class MappedDataflow(Protocol):
    """What planning needs to know of a dataflow (:class:`gscn_sim.dataflows.base.Dataflow`)."""

    @property
    def name(self) -> str: ...
    @property
    def mapping_kind(self) -> str | None: ...
    def block_sizes(self, most: int) -> list[int]: ...


def legal_plans(problem: Problem, space: MappingSpace, dataflow: MappedDataflow) -> Iterator[Plan]:
    """Every plan worth considering for a dataflow under ``mapping.kind``."""
    plans = _summed_plans if problem.is_reduction else _map_plans
    for split in splits(problem, space, dataflow.mapping_kind):
        yield from plans(problem, space, dataflow, split)


@lru_cache(maxsize=64)
def all_plans(
    problem: Problem, space: MappingSpace, dataflows: Sequence[MappedDataflow]
) -> tuple[Plan, ...]:
    """Legal plans of all dataflows, which layers of one shape share."""
    return tuple(plan for dataflow in dataflows for plan in legal_plans(problem, space, dataflow))


def least_entries(problem: Problem, space: MappingSpace) -> int:
    """Accumulator entries without which a layer-phase cannot run."""
    if problem.is_reduction:
        return held_outputs(problem, space.tile_rule, 1, 1)
    return min(
        held_outputs(problem, space.tile_rule, split.rows * passes[0], split.cols * passes[1])
        for split in splits(problem, space)
        for passes in _pass_grids(problem, split)
    )


def _map_plans(
    problem: Problem, space: MappingSpace, dataflow: MappedDataflow, split: Split
) -> Iterator[Plan]:
    """Plans of a phase whose outputs are maps of each sample."""
    outputs = min(split.rest, problem.output_channels)
    most_outputs = min(space.group_outputs or problem.output_channels, problem.output_channels)
    own = ceil_div(problem.output_channels, outputs)
    wanted = min(own, 8)
    may_choose = split.passes and not space.group_outputs
    last = 0
    for passes in _pass_grids(problem, split):
        rows, cols = split.rows * passes[0], split.cols * passes[1]
        held = held_outputs(problem, space.tile_rule, rows, cols)
        block = min(space.accumulator_entries // held, most_outputs) if held else 0
        if block < 1 or block <= last:
            continue
        for block_outputs in _block_sizes(own, block) if may_choose else [block]:
            yield Plan(
                problem=problem,
                dataflow=dataflow.name,
                kind=split.kind,
                samples=split.samples,
                rows=split.rows,
                cols=split.cols,
                outputs=outputs,
                inputs=1,
                passes=passes,
                block_outputs=block_outputs,
                block_inputs=problem.stationary_channels // problem.groups,
                tile_rule=space.tile_rule,
            )
        last = block
        if block >= wanted or not split.passes:
            return


def _block_sizes(own: int, most: int) -> list[int]:
    """Output channels of an accumulator group, of ``own`` a PE has and ``most`` that it can hold.

    As many as it can hold, in equal groups; and fewer, as the last group of all drains alone.
    """
    rounds = ceil_div(own, most)
    return list(dict.fromkeys(ceil_div(own, each * rounds) for each in (1, 2, 4)))


def _pass_grids(problem: Problem, split: Split) -> Iterator[tuple[int, int]]:
    """Ways to cut a PE's tile in time, coarse first."""
    height, width = problem.stationary_plane
    return _cuts(max(1, ceil_div(height, split.rows)), max(1, ceil_div(width, split.cols)))


def _cuts(tall: int, wide: int) -> Iterator[tuple[int, int]]:
    """Grids that cut the longer side of their cells in half, down to single positions."""
    y = x = 1
    while True:
        yield y, x
        if y >= tall and x >= wide:
            return
        if (tall / y >= wide / x and y < tall) or x >= wide:
            y = min(2 * y, tall)
        else:
            x = min(2 * x, wide)


def _summed_plans(
    problem: Problem, space: MappingSpace, dataflow: MappedDataflow, split: Split
) -> Iterator[Plan]:
    """Plans of a phase whose outputs are summed over samples and positions."""
    entries = space.accumulator_entries // held_outputs(problem, "exact", 1, 1)  # (k, c) pairs
    per_output = problem.output_channels // problem.groups
    per_input = problem.stationary_channels // problem.groups
    if entries < 1:
        return
    passes = (1, 1)
    if split.units and space.load_balance == "sorted":
        passes = _unit_passes(problem, split)
    for outputs, inputs in _channel_splits(problem, split):
        own = max(1, outputs // problem.groups) if problem.groups > 1 else outputs
        tall, wide = ceil_div(per_output, own), ceil_div(per_input, inputs)
        for block_outputs in dataflow.block_sizes(min(tall, entries)):
            yield Plan(
                problem=problem,
                dataflow=dataflow.name,
                kind=split.kind,
                samples=split.samples,
                rows=split.rows,
                cols=split.cols,
                outputs=outputs,
                inputs=inputs,
                passes=passes,
                block_outputs=block_outputs,
                block_inputs=min(wide, max(1, entries // block_outputs)),
                tile_rule="exact",
            )


def _unit_passes(problem: Problem, split: Split) -> tuple[int, int]:
    """Passes that cut the tiles into enough units for each PE to be dealt several."""
    plane = problem.streamed_plane
    tile = max(1, ceil_div(plane[0], split.rows)), max(1, ceil_div(plane[1], split.cols))
    for passes in _cuts(*tile):
        if problem.batch_size * passes[0] * passes[1] >= UNITS_PER_SPLIT * split.samples:
            break
    return passes


def _channel_splits(problem: Problem, split: Split) -> Iterator[tuple[int, int]]:
    """PEs by output and by input channels."""
    if not split.channels:
        yield 1, 1
        return
    per_input = problem.stationary_channels // problem.groups
    top = min(split.rest, problem.output_channels)
    pairs = [
        (outputs, min(split.rest // outputs, per_input))
        for outputs in (*(1 << i for i in range(top.bit_length())), top)
    ]
    yield from dict.fromkeys(pairs)
