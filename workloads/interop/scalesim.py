"""Topology files of SCALE-Sim: a header, then one layer a line.

Convolutions: name, IFMAP height and width, filter height and width, channels, filters, and a stride
for both directions or one for each. Matrix products: name, M, N, K. Both may end with a sparsity
N:M, by which N of M weights are kept. A name with "DP" in it is a depthwise layer, whose filters
are counted per channel. There is no padding: the IFMAP contains it. SCALE-Sim's
``topology_utils.py`` (version 3.0.0) rounds the number of windows up, so that the last one may
stick out of the IFMAP; here an IFMAP ends where its last window does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from workloads.errors import LayerError, one_line
from workloads.interop.imported import ImportedLayer, with_own_names
from workloads.layer import Operand
from workloads.shape import LayerShape
from workloads.tables import Row, read_table

COLUMNS = (
    "Layer name",
    "IFMAP Height",
    "IFMAP Width",
    "Filter Height",
    "Filter Width",
    "Channels",
    "Num Filter",
    "Strides",
)
STRIDES = ("Stride height", "Stride width")
PRODUCT = ("Layer name", "M", "N", "K")
SPARSITY = "Sparsity"
DEPTHWISE = "DP"


def _word(name: str) -> str:
    """A column's name without case, spaces, signs and plural; height and width as one letter."""
    letters = re.sub("[^a-z0-9]", "", name.casefold())
    return letters.replace("height", "h").replace("width", "w").removesuffix("s")


SPELLINGS = {_word(name): name for name in (*COLUMNS, *STRIDES, *PRODUCT, SPARSITY)}
SPELLINGS |= dict.fromkeys(("layer", "name"), COLUMNS[0])
SPELLINGS |= dict.fromkeys(("sparsityratio", "nm"), SPARSITY)


def read_topology(path: str | Path) -> list[ImportedLayer]:
    """Read the layers of a topology file: convolutions, or matrix products.

    Raises:
        LayerError, ShapeError: a bad file or line; the message names file, line and column.
    """
    table = read_table(path, canonical=_column_name, last_column=SPARSITY)
    products = set(PRODUCT[1:]) & set(table.columns)
    strides = STRIDES if set(STRIDES) & set(table.columns) else (COLUMNS[-1],) * 2
    columns = PRODUCT if products else (*COLUMNS[:-1], *dict.fromkeys(strides))
    table.check_columns(required=columns, optional=(SPARSITY,))
    return with_own_names(
        ImportedLayer(
            name=row.name(COLUMNS[0]),
            shape=_product(row) if products else _convolution(row, *strides),
            densities=_densities(row),
        )
        for row in table.rows
    )


def is_topology(path: str | Path) -> bool:
    """Whether a table's columns are SCALE-Sim's: all but the name, or most of them.

    Raises:
        LayerError: the file cannot be read as a table.
    """
    columns = set(read_table(path, canonical=_column_name, last_column=SPARSITY).columns)
    others = set(COLUMNS[1:])
    return set(PRODUCT[1:]) <= columns or 2 * len(others & columns) > len(others)


def _convolution(row: Row, stride_height: str, stride_width: str) -> LayerShape:
    height, width, r, s, channels, filters = map(row.whole, COLUMNS[1:-1])
    down, right = row.whole(stride_height), row.whole(stride_width)
    groups = channels if DEPTHWISE in row.name(COLUMNS[0]) else 1
    return row.shape(
        C=channels,
        H=whole_windows(height, r, down),
        W=whole_windows(width, s, right),
        K=filters * groups,
        R=r,
        S=s,
        stride=(down, right),
        groups=groups,
    )


def _product(row: Row) -> LayerShape:
    """M x K times K x N: a fully connected layer from K to N features on M positions."""
    m, n, k = map(row.whole, PRODUCT[1:])
    return row.shape(C=k, H=m, W=1, K=n, R=1, S=1)


def _densities(row: Row) -> dict[Operand, float]:
    """Of the weights, where the line says that N of each M are kept."""
    if not row.has(SPARSITY):
        return {}
    text = row.cells[SPARSITY]
    match = re.fullmatch(r"([0-9]{1,4}) *: *([0-9]{1,4})", text)
    if match is None or not 0 < int(match[1]) <= int(match[2]):
        raise LayerError(
            f"{row.where}, column {SPARSITY}: must be N:M with N from 1 to M, as 2:4, "
            f"got {one_line(text)!r:.80}"
        )
    return {"weight": int(match[1]) / int(match[2])}


def _column_name(written: str) -> str:
    """The name of a column, however it is capitalised, spaced or shortened."""
    return SPELLINGS.get(_word(written), written)


def whole_windows(size: int, window: int, stride: int) -> int:
    """A plane's size, up to the end of the window that SCALE-Sim counts as its last."""
    return size + (window - size) % stride if size > window and stride > 0 else size


def topology_text(layers: Sequence[tuple[str, LayerShape]]) -> str:
    """The text of a topology file; padding that a window reaches becomes part of the IFMAP.

    Raises:
        LayerError: a layer that the format cannot hold.
    """
    lines = [", ".join(COLUMNS)]
    for name, shape in layers:
        depthwise = shape.groups > 1 and shape.groups == shape.C
        rules = (
            ("name without a comma", "," not in name),
            ("the same stride in both directions", shape.stride[0] == shape.stride[1]),
            ("dilation 1", shape.dilation == (1, 1)),
            ("groups 1 or one a channel", shape.groups == 1 or depthwise),
            (
                f"{DEPTHWISE!r} in its name only when depthwise",
                shape.groups > 1 or DEPTHWISE not in name,
            ),
        )
        for rule, holds in rules:
            if not holds:
                raise LayerError(f"layer {name!r}: SCALE-Sim needs {rule}, got {shape}")
        label = name if DEPTHWISE in name or not depthwise else f"{name}_{DEPTHWISE}"
        sizes = (
            (shape.P - 1) * shape.stride[0] + shape.R,
            (shape.Q - 1) * shape.stride[1] + shape.S,
            shape.R,
            shape.S,
            shape.C,
            shape.K // shape.groups,
            shape.stride[0],
        )
        lines.append(", ".join([label, *map(str, sizes)]))
    # SCALE-Sim drops what follows a line's last comma.
    return "".join(f"{line},\n" for line in lines)
