"""What is split over the PEs: each mapping kind is a function that proposes splits.

Ours are named in :mod:`gscn_sim.config.names`; another package adds one by an entry point of the
group ``gscn_sim.mapping_kinds``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gscn_sim.config.names import AUTO, MAPPING_KINDS
from gscn_sim.config.view import key
from gscn_sim.problem.geometry import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class MappingSpace:
    """All of a machine's configuration that legal plans depend on."""

    pe_rows: int = key("array.pe_rows")
    pe_cols: int = key("array.pe_cols")
    accumulator_entries: int = key("pe.accumulator_entries")
    kind: str = key("mapping.kind")
    tile_rule: str = key("mapping.tile_rule")
    group_outputs: int = key("mapping.group_outputs")
    load_balance: str = key("policy.load_balance")

    @property
    def num_pes(self) -> int:
        """PEs of the array."""
        return self.pe_rows * self.pe_cols


class Split(NamedTuple):
    """PEs by samples, tile rows and tile columns, and how many are left for channels.

    ``passes`` tells whether a PE's tile may be cut in time until several output channels fit, and
    its accumulators left in part empty; ``channels`` whether the PEs left are shared out over
    channels; ``units`` whether tiles of summed outputs are cut into more units than PEs, to be
    dealt evenly.
    """

    kind: str
    samples: int
    rows: int
    cols: int
    rest: int
    passes: bool = True
    channels: bool = True
    units: bool = False


def planar(problem: Problem, space: MappingSpace) -> Iterator[Split]:
    """SCNN's: the plane is cut over the whole grid of PEs, one sample after another."""
    yield Split("planar", 1, space.pe_rows, space.pe_cols, 1, passes=False, channels=False)


def sample(problem: Problem, space: MappingSpace) -> Iterator[Split]:
    """Each PE has samples of its own."""
    yield Split("sample", min(problem.batch_size, space.num_pes), 1, 1, 1, channels=False)


def channel(problem: Problem, space: MappingSpace) -> Iterator[Split]:
    """Each PE has channels of its own."""
    yield Split("channel", 1, 1, 1, space.num_pes)


def mixed(problem: Problem, space: MappingSpace) -> Iterator[Split]:
    """Samples, tiles and channels at once, in every sensible proportion."""
    pes = space.num_pes
    plane = problem.streamed_plane if problem.is_reduction else problem.stationary_plane
    dealt = problem.is_reduction and space.load_balance == "sorted"
    seen = set()
    for samples in reversed(_sample_splits(problem.batch_size, pes)):
        for rows, cols in _grids(pes // samples, plane):
            parts = samples * rows * cols
            if not dealt or parts not in seen:  # else units are dealt to as many PEs either way
                seen.add(parts)
                yield Split("mixed", samples, rows, cols, pes // parts, units=True)


def splits(problem: Problem, space: MappingSpace, kind: str | None = None) -> Iterator[Split]:
    """Splits of the wanted kind, or of all kinds in turn; ``kind`` overrules ``mapping.kind``."""
    wanted = kind or space.kind
    for name in MAPPING_KINDS.names() if wanted == AUTO else (wanted,):
        yield from MAPPING_KINDS[name](problem, space)


def _sample_splits(batch: int, pes: int) -> list[int]:
    top = min(batch, pes)
    found = {top}
    split = 1
    while split < top:
        found.add(split)
        split *= 2
    return sorted(found)


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
