"""Which mappings are legal for a layer-phase on a machine, and which of them to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from gscn_sim.config import Config, ignoring
from gscn_sim.errors import ConfigError
from gscn_sim.mapping.estimate import Estimator
from gscn_sim.mapping.plan import Plan, held_outputs, reached_span
from gscn_sim.problem.geometry import Operands, Problem, make_problem
from gscn_sim.units import ceil_div
from workloads import LayerShape, Phase

SHORTLIST = 24  # plans of forward and dgrad that are estimated tile by tile
MOST_PES = 0.75  # of the PEs that any plan of wgrad uses
MOST_POSITIONS = 1 << 26  # that products of a tile land on: the kernels look each up in a table
UNITS_PER_SPLIT = 16  # of wgrad, so that they can be dealt evenly
SHORTLIST_EACH = 4  # of these with the same number of output-channel parts
# Configuration that no plan depends on, and that only the estimates depend on.
PLAN_FREE = (
    "pe.accumulator_banks",
    "pe.bank_queue_depth",
    "pe.bank_hash",
    "pe.anticipator_vectors",
    "buffer.rounds_ahead",
    "drain.overlap",
    "drain.staging_rounds",
    "policy.halo",
)
ESTIMATE_ONLY = ("array.clock_ghz", "dram", "network", "drain", "buffer")


def dataflows_of(problem: Problem, config: Config) -> list[str]:
    """Dataflows to consider for a phase, as the configuration says."""
    key = "wgrad" if problem.is_wgrad else problem.phase.value.removeprefix("pre_")
    wanted: str = getattr(config.dataflow, key)
    if wanted != "auto":
        return [wanted]
    return ["positional", "cartesian"] if problem.is_wgrad else ["cartesian"]


def choose_plan(
    problem: Problem,
    operands: Operands,
    config: Config,
    layer: str,
    kept: list[Estimator] | None = None,
) -> Plan:
    """The cheapest legal plan by estimate, with the reason.

    ``kept`` holds the last estimator of this layer-phase and batch, if any, whose counts are used
    again where they hold; it is put in for the next call.

    Raises:
        ConfigError: no legal plan; the message names the layer, the phase and what does not fit.
    """
    estimator = _estimator(problem, operands, config, [] if kept is None else kept)
    legal = ignoring(config, *PLAN_FREE, *ESTIMATE_ONLY)
    plans = _all_plans(problem.shape, problem.phase, problem.batch_size, legal)
    if not plans:
        needed = _least_entries(problem, config)
        raise ConfigError(
            f"layer {layer}, {problem.phase}: no tile fits: pe.accumulator_entries must be at "
            f"least {needed} to hold one output channel of the smallest tile, "
            f"got {config.pe.accumulator_entries}"
        )
    if len(plans) == 1:
        _check_span(plans[0], layer)
        return replace(plans[0], reason=f"{plans[0].kind}, the only legal mapping")
    looked_at = _promising(plans, estimator)
    best, cycles = looked_at[0], estimator.cycles(looked_at[0])
    for plan in looked_at[1:]:
        if not estimator.is_hopeless(plan, cycles):
            estimate = estimator.cycles(plan)
            if estimate < cycles:
                best, cycles = plan, estimate
    _check_span(best, layer)
    reason = f"{best.kind}, best of {len(plans)} by estimate ({cycles:.0f} cycles)"
    return replace(best, reason=reason)


def _check_span(plan: Plan, layer: str) -> None:
    if plan.dataflow not in ("cartesian", "anticipated"):
        return
    span = max((reached_span(plan.problem, t) for t in plan.tiles if not t.is_empty), default=0)
    if span > MOST_POSITIONS:
        raise ConfigError(
            f"layer {layer}, {plan.problem.phase}: products of one tile must land on at most "
            f"{MOST_POSITIONS} positions, inside the output or not, got {span}"
        )


def _estimator(
    problem: Problem, operands: Operands, config: Config, kept: list[Estimator]
) -> Estimator:
    found = kept[0].with_config(config) if kept else Estimator(problem, operands, config)
    kept[:] = [found]  # the last one has all counts so far
    return found


def _promising(plans: Sequence[Plan], estimator: Estimator) -> Sequence[Plan]:
    """The plans worth a closer look.

    wgrad: those that use most of the PEs that any plan uses. forward and dgrad: the best few for
    each number of output-channel parts, which trade even work for shorter vectors.
    """
    if plans[0].problem.is_wgrad:
        most = max(plan.num_pes_used for plan in plans)
        return [plan for plan in plans if plan.num_pes_used >= MOST_PES * most]
    if len(plans) <= SHORTLIST:
        return plans
    chosen: list[Plan] = []
    taken: Counter[int] = Counter()
    ranked = sorted((estimator.rough_cycles(plan), i) for i, plan in enumerate(plans))
    for _, i in ranked:
        if taken[plans[i].outputs] < SHORTLIST_EACH and len(chosen) < SHORTLIST:
            taken[plans[i].outputs] += 1
            chosen.append(plans[i])
    return chosen


@lru_cache(maxsize=64)
def _all_plans(
    shape: LayerShape, phase: Phase, batch_size: int, config: Config
) -> tuple[Plan, ...]:
    """Legal plans of all dataflows, which layers of one shape share."""
    problem = make_problem(shape, phase, batch_size)
    return tuple(
        plan
        for dataflow in dataflows_of(problem, config)
        for plan in legal_plans(problem, config, dataflow)
    )


def legal_plans(problem: Problem, config: Config, dataflow: str) -> Iterator[Plan]:
    """Every plan worth considering for a dataflow under ``mapping.kind``."""
    for kind, samples, rows, cols, rest in _splits(problem, config, dataflow):
        if problem.is_wgrad:
            yield from _wgrad_plans(problem, config, dataflow, kind, samples, rows, cols, rest)
        else:
            yield from _map_plans(problem, config, dataflow, kind, samples, rows, cols, rest)


def _splits(
    problem: Problem, config: Config, dataflow: str = ""
) -> Iterator[tuple[str, int, int, int, int]]:
    """(kind, samples, rows, cols, PEs left for channels); the dense reference is planar only."""
    kind = "planar" if dataflow == "dense" else config.mapping.kind
    pes, batch = config.num_pes, problem.batch_size
    if kind in ("auto", "planar"):
        yield "planar", 1, config.array.pe_rows, config.array.pe_cols, 1
    if kind in ("auto", "sample"):
        yield "sample", min(batch, pes), 1, 1, 1
    if kind in ("auto", "channel"):
        yield "channel", 1, 1, 1, pes
    if kind not in ("auto", "mixed"):
        return
    plane = problem.streamed_plane if problem.is_wgrad else problem.stationary_plane
    dealt = problem.is_wgrad and config.policy.load_balance == "sorted"
    seen = set()
    for samples in reversed(_sample_splits(batch, pes)):
        for rows, cols in _grids(pes // samples, plane):
            parts = samples * rows * cols
            if not dealt or parts not in seen:  # else units are dealt to as many PEs either way
                seen.add(parts)
                yield "mixed", samples, rows, cols, pes // parts


def _sample_splits(batch: int, pes: int) -> list[int]:
    top = min(batch, pes)
    splits = {top}
    split = 1
    while split < top:
        splits.add(split)
        split *= 2
    return sorted(splits)


def _grids(pes: int, plane: tuple[int, int]) -> list[tuple[int, int]]:
    """Tile grids of at most ``pes`` tiles, near square; sides are powers of two or divisors."""
    sides = {1 << i for i in range(pes.bit_length())}
    sides |= {side for side in range(1, pes + 1) if pes % side == 0}
    grids = set()
    for rows in sides:
        for cols in sides | {min(plane[1], pes // rows)}:
            fits = rows <= plane[0] and cols <= plane[1] and rows * cols <= pes
            if fits and (rows <= cols <= 16 * rows or cols == plane[1]):
                grids.add((rows, cols))
    return sorted(grids)


def _map_plans(
    problem: Problem,
    config: Config,
    dataflow: str,
    kind: str,
    samples: int,
    rows: int,
    cols: int,
    rest: int,
) -> Iterator[Plan]:
    outputs = min(rest, problem.output_channels)
    entries = config.pe.accumulator_entries
    rule = config.mapping.tile_rule
    most_outputs = min(
        config.mapping.group_outputs or problem.output_channels, problem.output_channels
    )
    wanted = min(ceil_div(problem.output_channels, outputs), 8)
    last = 0
    for passes in _pass_grids(problem, rows, cols):
        held = held_outputs(problem, rule, rows * passes[0], cols * passes[1])
        block = min(entries // held, most_outputs) if held else 0
        if block < 1 or block <= last:
            continue
        yield Plan(
            problem=problem,
            dataflow=dataflow,
            kind=kind,
            samples=samples,
            rows=rows,
            cols=cols,
            outputs=outputs,
            inputs=1,
            passes=passes,
            block_outputs=block,
            block_inputs=problem.stationary_channels // problem.groups,
            tile_rule=rule,
        )
        last = block
        if block >= wanted or kind == "planar":
            return


def _pass_grids(problem: Problem, rows: int, cols: int) -> Iterator[tuple[int, int]]:
    """Ways to cut a PE's tile in time, coarse first."""
    height, width = problem.stationary_plane
    return _cuts(max(1, ceil_div(height, rows)), max(1, ceil_div(width, cols)))


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


def _least_entries(problem: Problem, config: Config) -> int:
    """Accumulator entries without which a layer-phase cannot run."""
    if problem.is_wgrad:
        return problem.output_plane[0] * problem.output_plane[1]
    return min(
        held_outputs(problem, config.mapping.tile_rule, rows * passes[0], cols * passes[1])
        for _, _, rows, cols, _ in _splits(problem, config)
        for passes in _pass_grids(problem, rows, cols)
    )


def _wgrad_plans(
    problem: Problem,
    config: Config,
    dataflow: str,
    kind: str,
    samples: int,
    rows: int,
    cols: int,
    rest: int,
) -> Iterator[Plan]:
    kernel = problem.output_plane[0] * problem.output_plane[1]
    entries = config.pe.accumulator_entries // kernel  # (k, c) pairs held at once
    per_output = problem.output_channels // problem.groups
    per_input = problem.stationary_channels // problem.groups
    if entries < 1:
        return
    passes = (1, 1)
    if kind == "mixed" and config.policy.load_balance == "sorted":
        passes = _unit_passes(problem, samples, rows, cols)
    for outputs, inputs in _channel_splits(problem, kind, rest):
        tall = ceil_div(
            per_output, max(1, outputs // problem.groups) if problem.groups > 1 else outputs
        )
        wide = ceil_div(per_input, inputs)
        for block_outputs in _block_sizes(tall, entries, dataflow):
            yield Plan(
                problem=problem,
                dataflow=dataflow,
                kind=kind,
                samples=samples,
                rows=rows,
                cols=cols,
                outputs=outputs,
                inputs=inputs,
                passes=passes,
                block_outputs=block_outputs,
                block_inputs=min(wide, max(1, entries // block_outputs)),
                tile_rule="exact",
            )


def _unit_passes(problem: Problem, samples: int, rows: int, cols: int) -> tuple[int, int]:
    """Passes that cut the tiles of wgrad into enough units for each PE to be dealt several."""
    plane = problem.streamed_plane
    tile = max(1, ceil_div(plane[0], rows)), max(1, ceil_div(plane[1], cols))
    for passes in _cuts(*tile):
        if problem.batch_size * passes[0] * passes[1] >= UNITS_PER_SPLIT * samples:
            break
    return passes


def _channel_splits(problem: Problem, kind: str, rest: int) -> Iterator[tuple[int, int]]:
    per_input = problem.stationary_channels // problem.groups
    if kind in ("planar", "sample"):
        yield 1, 1
        return
    outputs = 1
    seen = set()
    while outputs <= min(rest, problem.output_channels):
        pair = (outputs, min(rest // outputs, per_input))
        if pair not in seen:
            seen.add(pair)
            yield pair
        outputs *= 2
    top = min(rest, problem.output_channels)
    if (top, min(rest // top, per_input)) not in seen:
        yield top, min(rest // top, per_input)


def _block_sizes(tall: int, entries: int, dataflow: str) -> list[int]:
    """Output channels of an accumulator group worth trying."""
    top = min(tall, entries)
    if dataflow != "positional":
        return [top]
    sizes = {top}
    size = 4
    while size < top:
        sizes.add(size)
        size *= 2
    return sorted(sizes)
