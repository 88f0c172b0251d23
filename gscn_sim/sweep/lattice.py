"""A grid of designs as numbers: what depends on some sections only is worked out once for these.

A design is its place in the grid, the last axis fastest, so that millions of them are an array. A
*table* has what a function of the design says for every combination of the axes that it depends on.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.problem.geometry import Ints
from gscn_sim.sweep.axes import Axis
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.expressions import Expression
from gscn_sim.sweep.space import CONFIG_KEY, Params, Space

MOST = 50_000_000
"""Designs of a lattice: a few numbers of each are in memory."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Values for each combination of some axes' values; ``valid``: whether a design has these.

    ``axes`` [(place, size, stride)]: the place of the axis in the lattice, its values, and its
    stride in ``columns``, [combinations] each.
    """

    axes: tuple[tuple[int, int, int], ...]
    columns: tuple[NDArray[Any], ...]
    valid: NDArray[np.bool_]

    def rows(self, positions: Ints) -> Ints:
        """Which combination each design has."""
        found = np.zeros(len(positions), np.int64)
        for place, size, stride in self.axes:
            found += positions // place % size * stride
        return found


class Lattice:
    """All combinations of a space's axes, before constraints.

    Raises:
        SpaceError: too many, a range whose values nothing lists, or designs brought to a size,
            where every section depends on every axis.
    """

    def __init__(self, space: Space) -> None:
        if space.iso:
            raise SpaceError("designs at equal size (--iso) cannot be proved: leave one out")
        self.space = space
        self._values = [axis.values() for axis in space.axes]
        self.size = math.prod(map(len, self._values))
        if self.size > MOST:
            raise SpaceError(f"the grid has {self.size:,} points, at most {MOST:,} can be proved")
        sizes = [len(values) for values in self._values]
        self._tables: list[Table] | None = None
        self._places = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]

    def params(self, position: int) -> Params:
        """The values of the axes at one point."""
        return {
            axis.key: values[position // place % len(values)]
            for axis, values, place in zip(self.space.axes, self._values, self._places, strict=True)
        }

    def allowed(self, positions: Ints) -> NDArray[np.bool_]:
        """Which designs meet all constraints."""
        found = np.ones(len(positions), np.bool_)
        self._tables = self._tables or list(self._constraints())
        for table in self._tables:
            found &= table.columns[0][table.rows(positions)].astype(bool)
        return found

    def _constraints(self) -> Iterable[Table]:
        for expression in self.space.constraints:
            # A combination that no machine can have becomes a row with its error, as in a grid.
            allows = _Allows(self.space, expression)
            reads_clock = expression.reads_clock
            yield self.table(expression.sections, allows, (True,), reads_clock=reads_clock)

    def table(
        self,
        sections: Iterable[str],
        read: Callable[[Config], Sequence[Any]],
        invalid: Sequence[Any] | None = None,
        *,
        reads_clock: bool = True,
    ) -> Table:
        """What ``read`` says of a design, by all axes of the sections that it reads.

        ``invalid``: what stands where no machine has the values; by default the first that is read.
        ``reads_clock``: whether the clock, which sizes do not depend on, is read of ``array``.
        """
        part, axes = self._part(frozenset(sections), reads_clock)
        rows: list[Sequence[Any] | None] = []
        for values in itertools.product(*(self._values[i] for i in axes)):
            params = dict(zip((self.space.axes[i].key for i in axes), values, strict=True))
            try:
                rows.append(read(part.design(params)))
            except ConfigError:
                rows.append(invalid)
        stand_in = next((row for row in rows if row is not None), None)
        if stand_in is None:
            raise SpaceError("no machine can have any of the values of the space")
        filled = [stand_in if row is None else row for row in rows]
        sizes = [len(self._values[i]) for i in axes]
        strides = [math.prod(sizes[n + 1 :]) for n in range(len(sizes))]
        places = [self._places[i] for i in axes]
        return Table(
            axes=tuple(zip(places, sizes, strides, strict=True)),
            columns=tuple(np.array(column) for column in zip(*filled, strict=True)),
            valid=np.array([row is not None for row in rows]),
        )

    def _part(self, sections: frozenset[str], reads_clock: bool) -> tuple[Space, list[int]]:
        """The space without the axes and derived keys that these sections do not depend on."""
        needed = set(sections)
        while True:
            derived = [(k, e) for k, e in self.space.derived if _section(k) in needed]
            more = needed.union(*(expression.sections for _, expression in derived))
            if more == needed:
                break
            needed = more
        without = () if reads_clock or derived else ("array.clock_ghz",)
        axes = [
            i
            for i, axis in enumerate(self.space.axes)
            if _reaches(axis, needed) and axis.key not in without
        ]
        kept = tuple(self.space.axes[i] for i in axes)
        fixed = {
            k: v for k, v in self.space.fixed.items() if k == CONFIG_KEY or _section(k) in needed
        }
        return (
            dataclasses.replace(
                self.space, axes=kept, fixed=fixed, derived=tuple(derived), constraints=()
            ),
            axes,
        )


@dataclass(frozen=True)
class _Allows:
    space: Space
    expression: Expression

    def __call__(self, config: Config) -> tuple[bool]:
        return (dataclasses.replace(self.space, constraints=(self.expression,)).allows(config),)


def _reaches(axis: Axis, sections: set[str]) -> bool:
    return axis.key == CONFIG_KEY or _section(axis.key) in sections


def _section(key: str) -> str:
    return key.partition(".")[0]
