"""Plain CSV tables of layers: shapes and, if known, the densities of their operands.

Columns ``layer, C, H, W, K, R, S``; optional ``stride_h``, ``stride_w``, ``pad_h``, ``pad_w``,
``dilation_h``, ``dilation_w``, ``groups``, ``activation_density``, ``gradient_density``,
``weight_density``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workloads.errors import LayerError
from workloads.interop.rows import Row, read_cells
from workloads.layer import Operand
from workloads.shape import LayerShape

SIZES = ("C", "H", "W", "K", "R", "S")
REQUIRED = ("layer", *SIZES)
GEOMETRY = {
    **{f"stride_{axis}": 1 for axis in "hw"},
    **{f"pad_{axis}": 0 for axis in "hw"},
    **{f"dilation_{axis}": 1 for axis in "hw"},
    "groups": 1,
}
DENSITIES: tuple[Operand, ...] = ("activation", "gradient", "weight")


@dataclass(frozen=True, kw_only=True)
class TableLayer:
    """One line: a name, a shape and those densities that the line states."""

    name: str
    shape: LayerShape
    densities: dict[Operand, float]


def read_layer_table(path: str | Path) -> list[TableLayer]:
    """Read a table of layers.

    Raises:
        LayerError, ShapeError: a bad file or line; the message names file, line and column.
    """
    lines = read_cells(path)
    _, header = next(lines, ("", []))
    known = (*REQUIRED, *GEOMETRY, *(f"{operand}_density" for operand in DENSITIES))
    if missing := [name for name in REQUIRED if name not in header]:
        raise LayerError(f"{path}, line 1: must have column {', '.join(missing)}")
    if unknown := [name for name in header if name not in known]:
        raise LayerError(
            f"{path}, line 1: columns may be {', '.join(known)}, got {unknown[0]!r:.80}"
        )
    layers = []
    for where, cells in lines:
        row = Row(where=where, cells=dict(zip(header, cells, strict=False)))
        sizes = {name: row.whole(name) for name in SIZES}
        geometry = {name: row.whole(name, default) for name, default in GEOMETRY.items()}
        shape = row.shape(
            **sizes,
            stride=(geometry["stride_h"], geometry["stride_w"]),
            padding=(geometry["pad_h"], geometry["pad_w"]),
            dilation=(geometry["dilation_h"], geometry["dilation_w"]),
            groups=geometry["groups"],
        )
        densities = {
            operand: row.density(f"{operand}_density", 1.0)
            for operand in DENSITIES
            if row.has(f"{operand}_density")
        }
        layers.append(TableLayer(name=row.name("layer"), shape=shape, densities=densities))
    if not layers:
        raise LayerError(f"{path}: must hold at least one layer, got none")
    return layers
