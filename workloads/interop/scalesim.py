"""Topology files of SCALE-Sim (convolutions): a header, then one layer a line.

Cells: name, IFMAP height and width, filter height and width, channels, filters, one stride for both
directions, and in version 3 an N:M sparsity that is left alone here. A name with "DP" in it is a
depthwise layer, whose filters are counted per channel. There is no padding: the IFMAP contains it.
Its ``topology_utils.py`` (version 3.0.0) rounds the number of windows up, so that the last one may
stick out of the IFMAP; here an IFMAP ends where its last window does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workloads.errors import LayerError
from workloads.interop.rows import Row, read_cells
from workloads.shape import LayerShape

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
DEPTHWISE = "DP"


def read_topology(path: str | Path) -> list[tuple[str, LayerShape]]:
    """Read the names and shapes of a topology file's layers.

    Raises:
        LayerError, ShapeError: a bad file or line; the message names file, line and column.
    """
    layers = []
    for number, (where, cells) in enumerate(read_cells(path)):
        if number == 0:
            continue
        row = Row(where=where, cells=dict(zip(COLUMNS, cells, strict=False)))
        name = row.name(COLUMNS[0])
        height, width, r, s, channels, filters, stride = map(row.whole, COLUMNS[1:])
        groups = channels if DEPTHWISE in name else 1
        shape = row.shape(
            C=channels,
            H=whole_windows(height, r, stride),
            W=whole_windows(width, s, stride),
            K=filters * groups,
            R=r,
            S=s,
            stride=(stride, stride),
            groups=groups,
        )
        layers.append((name, shape))
    if not layers:
        raise LayerError(f"{path}: must hold a header and at least one layer, got no layer")
    return layers


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
