"""A folder of masks: a table of layers and one npy file an operand, in which zero means absent.

``layers.csv`` (see :mod:`workloads.interop.layer_table`) has the shapes; ``LAYER.activation.npy``
[n, C, H, W], ``LAYER.gradient.npy`` [n, K, P, Q] and ``LAYER.weight.npy`` [K, C / groups, R, S] the
masks. A layer needs an activation or a gradient; without weights it is dense.
"""

from __future__ import annotations

import tokenize
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import GscnError, LayerError, one_line, reason
from workloads.interop.imported import ImportedLayer
from workloads.interop.layer_table import read_layer_table
from workloads.layer import OPERANDS, Layer, layer_from_arrays

TABLE_NAME = "layers.csv"
# What numpy raises about headers that are not what they should be.
_HEADER_ERRORS = (
    *(OSError, ValueError, OverflowError, TypeError, SyntaxError, LookupError, MemoryError),
    *(Warning, tokenize.TokenError),
)


def read_npy_folder(folder: str | Path) -> list[Layer]:
    """Read a folder's layers in the order of its table; their values are not kept.

    The first layer needs no input gradient. Files are never unpickled.

    Raises:
        LayerError, ShapeError: a bad table or array, or an npy file that is no layer's; the message
            names the file.
    """
    table = read_layer_table(Path(folder) / TABLE_NAME)
    known = {f"{layer.name}.{operand}.npy" for layer in table for operand in OPERANDS}
    for path in sorted(Path(folder).glob("*.npy")):
        if path.name not in known:
            raise LayerError(
                f"{one_line(path)}: must be called LAYER.OPERAND.npy for a layer of {TABLE_NAME} "
                f"and an operand of {', '.join(OPERANDS)}"
            )
    return [_read_layer(Path(folder), line, index > 0) for index, line in enumerate(table)]


def _read_layer(folder: Path, line: ImportedLayer, input_gradient: bool) -> Layer:
    if line.densities:
        raise LayerError(
            f"{folder / TABLE_NAME}: layer {line.name!r} must have no density beside its masks, "
            f"got one of {next(iter(line.densities))}"
        )
    paths = {operand: folder / f"{line.name}.{operand}.npy" for operand in OPERANDS}
    arrays = {operand: _read_array(path) for operand, path in paths.items() if path.exists()}
    try:
        layer = layer_from_arrays(
            line.name,
            activation=arrays.get("activation"),
            gradient=arrays.get("gradient"),
            weight=arrays.get("weight"),
            shape=line.shape,
            input_gradient=input_gradient,
        )
    except GscnError as error:
        raise type(error)(f"{folder}: {error}") from None
    return replace(layer, stored_values={})


def _read_array(path: Path) -> NDArray[Any]:
    """The array of an npy file, mapped: a header that promises too much allocates nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns about some odd headers
            return np.lib.format.open_memmap(path, mode="r")
    except _HEADER_ERRORS as error:
        raise LayerError(
            f"{one_line(path)}: cannot be read as npy without pickles: {reason(error)[:200]}"
        ) from None
