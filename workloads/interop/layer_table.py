"""Tables of layers: shapes and, if known, the densities of their operands.

Columns ``layer, C, H, W, K, R, S``; optional ``stride_h``, ``stride_w``, ``pad_h``, ``pad_w``,
``dilation_h``, ``dilation_w``, ``groups``, ``activation_density``, ``gradient_density``,
``weight_density``. What such a file may look like: :mod:`workloads.tables`.
"""

from __future__ import annotations

from pathlib import Path

from workloads.interop.imported import ImportedLayer
from workloads.layer import Operand
from workloads.tables import Row, read_table

SIZES = ("C", "H", "W", "K", "R", "S")
REQUIRED = ("layer", *SIZES)
GEOMETRY = {
    **{f"stride_{axis}": 1 for axis in "hw"},
    **{f"pad_{axis}": 0 for axis in "hw"},
    **{f"dilation_{axis}": 1 for axis in "hw"},
    "groups": 1,
}
DENSITIES: tuple[Operand, ...] = ("activation", "gradient", "weight")
SYNONYMS = {"dil_h": "dilation_h", "dil_w": "dilation_w"}


def column_name(written: str) -> str:
    """The name by which a column is known: as it is written, or what a short form stands for."""
    return SYNONYMS.get(written, written)


def read_layer_table(path: str | Path) -> list[ImportedLayer]:
    """Read a table of layers.

    Raises:
        LayerError, ShapeError: a bad file or line; the message names file, line and column.
    """
    table = read_table(path, canonical=column_name)
    table.check_columns(
        required=REQUIRED,
        optional=(*GEOMETRY, *(f"{operand}_density" for operand in DENSITIES)),
    )
    return [_layer(row) for row in table.rows]


def _layer(row: Row) -> ImportedLayer:
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
    return ImportedLayer(name=row.name("layer"), shape=shape, densities=densities)
