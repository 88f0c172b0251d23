"""Halo: partial sums that belong to a neighbour's tile."""

from __future__ import annotations

from gscn_sim.mapping.plan import Plan
from gscn_sim.mapping.tiles import Region, padded_tile_size


def halo_sums(plan: Plan, tile_rule: str) -> int:
    """Partial sums one output channel exchanges over the busiest of the eight neighbour links."""
    grid = plan.rows * plan.passes[0], plan.cols * plan.passes[1]
    sides = [
        _padded_side(plan, axis, parts) if tile_rule == "padded" else _side(plan, axis)
        for axis, parts in enumerate(grid)
    ]
    ys, xs = sides
    return max(ys[i] * xs[j] for i in range(3) for j in range(3) if (i, j) != (1, 1))


def _padded_side(plan: Plan, axis: int, parts: int) -> tuple[int, int, int]:
    """Outputs below, inside and above a tile of the padded plane, along an axis."""
    shape = plan.problem.shape
    pad, kernel = shape.padding[axis], (shape.R, shape.S)[axis]
    return max(0, kernel - 1 - pad), padded_tile_size(plan.problem, axis, parts), pad


def _side(plan: Plan, axis: int) -> tuple[int, int, int]:
    """Most outputs below, inside and above any tile, along an axis."""
    low = middle = high = 0
    for tile in plan.tiles:
        if tile.is_empty:
            continue
        reached, owned = _along(tile.reached, axis), _along(tile.owned, axis)
        low = max(low, owned[0] - reached[0])
        high = max(high, reached[1] - owned[1])
        middle = max(middle, owned[1] - owned[0])
    return low, middle, high


def _along(region: Region, axis: int) -> tuple[int, int]:
    return region[2 * axis], region[2 * axis + 1]
